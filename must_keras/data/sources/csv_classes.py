"""Images with classes in a CSV file beside them."""

from __future__ import annotations

import codecs
import csv
import io
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from must_keras.data import names
from must_keras.data.io.annotation_fields import shown
from must_keras.data.io.folders import Path, existing_folder, label_digest, picture_files
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.data.stored import class_label
from must_keras.errors import UserError, check_classes
from must_keras.experiment import nearest

_DELIMITERS = (",", ";", "\t")


class CsvClasses(ImageFiles):
    """The pictures of a folder, and a CSV file with a header that says the class of some of them.

    Columns are separated by commas, semicolons or tabs, whichever gives both columns. Names are
    compared as people read them: see `names.Names`.

    Args:
        name: of the source.
        images: the images' folder.
        csv_file: the table; a picture without a row is not labeled.
        head: the head that the classes label; None: images alone.
        classes: names in the order of the indices; None: those in the file, sorted.
        file_column: names a picture by its path relative to `images`.
        class_column: names its class; empty: not labeled.
        bits: that pixels of more than 8 bits use; see images.read_image.

    Raises:
        UserError: the file cannot be read or lacks a column; a row names no picture, one that was
            named before, or no class.
    """

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        csv_file: Path,
        head: str | None,
        classes: Sequence[str] | None = None,
        file_column: str = "file",
        class_column: str = "class",
        bits: int | None = None,
    ):
        root, self._csv = existing_folder(images), pathlib.Path(csv_file)
        files = picture_files(root)
        rows = _read(self._csv, file_column, class_column)
        known = names.Names(files)
        first: dict[str, int] = {}
        class_of: dict[str, tuple[int, str]] = {}
        for number, text, class_name in rows:
            where = f"{self._csv}, line {number}"
            file = _found(known, text, where)
            if file is None:
                raise UserError(f"{where}: there is no picture {text!r} in {root}")
            if file in first:
                raise UserError(
                    f"{where}: {text!r} is also on line {first[file]}: a picture has one row"
                )
            first[file] = number
            if class_name:
                class_of[file] = (number, class_name)
        if classes is not None:
            check_classes(f"source {name!r}", classes)
        else:
            # One spelling of those that read the same.
            classes = sorted(
                {names.as_read(c): c for _, c in sorted(class_of.values(), reverse=True)}.values()
            )
        class_names = tuple(classes)
        if not class_names:
            raise UserError(f"{self._csv} names no class")
        of_name = names.Names(class_names)
        indices = {c: of_name.index_in(c, class_names) for c in {c for _, c in class_of.values()}}
        for number, class_name in class_of.values():
            if indices[class_name] is None:
                raise UserError(
                    f"{self._csv}, line {number}: no class {class_name!r}; "
                    f"{nearest(class_name, class_names)}"
                )
        self._class_of = {file: indices[c] for file, (_, c) in class_of.items()}
        label_spaces = spaces(head, LabelSpace("classes", class_names))
        super().__init__(name=name, root=root, files=files, label_spaces=label_spaces, bits=bits)

    def labels(self, index: int) -> dict[str, Stored]:
        found = self._class_of.get(self._files[index])
        if found is None:
            return {}
        return {
            head: class_label(found, len(space.classes))
            for head, space in self.label_spaces.items()
        }

    def folders(self) -> frozenset[pathlib.Path]:
        return super().folders() | {self._root}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "files": self._image_digest,
            "csv": label_digest(self._csv.parent, [self._csv.name]),
        } | self.describe_reading()


def _found(known: names.Names, text: str, where: str) -> str | None:
    """The picture that a row names: its path as it stands, or without spaces at its ends."""
    try:
        found = known.find(text)
        return known.find(text.strip()) if found is None else found
    except UserError as error:
        raise UserError(f"{where}: {error}") from None


def _read(path: pathlib.Path, file_column: str, class_column: str) -> list[tuple[int, str, str]]:
    """(line number, file, class) of every row."""
    text = _text(path)
    wanted = (file_column, class_column)
    headers = {delimiter: _header(path, text, delimiter) for delimiter in _DELIMITERS}
    # Where none has both columns, the messages are about commas.
    delimiter = next((d for d, names_ in headers.items() if {*wanted} <= {*names_}), ",")
    columns = headers[delimiter]
    for column in wanted:
        if len(columns) == 1 and column not in columns:
            raise UserError(
                f"{path} has one column, {columns[0]!r}: expected columns separated by commas, "
                f"semicolons or tabs, and {file_column!r} and {class_column!r} in the first line"
            )
        if column not in columns:
            raise UserError(f"{path} has no column {column!r}; {nearest(column, columns)}")
        if columns.count(column) > 1:
            raise UserError(f"{path} has {columns.count(column)} columns {column!r}, expected one")
    places = [columns.index(column) for column in wanted]
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found = []
    try:
        next(rows)
        for row in rows:
            # Empty cells behind the last column are what spreadsheets write.
            if any(row) and (len(row) < len(columns) or any(row[len(columns) :])):
                raise UserError(
                    f"{path}, line {rows.line_num}: {len(row)} fields, expected {len(columns)} as "
                    f"in the first line ({shown(row)})"
                )
            if any(row):
                found.append((rows.line_num, row[places[0]], row[places[1]].strip()))
    except csv.Error as error:
        raise UserError(f"{path}, line {rows.line_num}: not CSV: {error}") from None
    return found


def _header(path: pathlib.Path, text: str, delimiter: str) -> list[str]:
    first = re.split(r"\r\n|\r|\n", text, maxsplit=1)[:1]
    try:
        return [name.strip() for name in next(csv.reader(first, delimiter=delimiter), [])]
    except csv.Error as error:
        raise UserError(f"{path}, line 1: not CSV: {error}") from None


def _text(path: pathlib.Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with its mark, as spreadsheets write it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return data.decode("utf-16" if is_wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} is not CSV in UTF-8: line {line} has the byte "
            f"0x{data[error.start]:02x}; save the table as UTF-8"
        ) from None
