"""Images with classes in a CSV file beside them."""

from __future__ import annotations

import csv
import pathlib
from collections.abc import Sequence
from typing import Any

from must_keras.data.folders import (
    Path,
    content_digest,
    existing_folder,
    label_digest,
    picture_files,
)
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.data.stored import class_label
from must_keras.errors import UserError
from must_keras.experiment import nearest


class CsvClasses(ImageFiles):
    """The pictures of a folder, and a CSV file with a header that says the class of some of them.

    Args:
        name: of the source.
        images: the images' folder.
        csv_file: the table; a picture without a row is not labelled.
        head: the head that the classes label; None: images alone.
        classes: names in the order of the indices; None: those in the file, sorted.
        file_column: names a picture by its path relative to `images`.
        class_column: names its class; empty: not labelled.

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
    ):
        root, self._csv = existing_folder(images), pathlib.Path(csv_file)
        files = picture_files(root)
        rows = _read(self._csv, file_column, class_column)
        known, first = set(files), {}
        for number, file, _ in rows:
            where = f"{self._csv}, line {number}"
            if file not in known:
                raise UserError(f"{where}: there is no picture {file!r} in {root}")
            if file in first:
                raise UserError(f"{where}: {file!r} is also on line {first[file]}")
            first[file] = number
        names = tuple(sorted({c for _, _, c in rows if c}) if classes is None else classes)
        if not names:
            raise UserError(f"{self._csv} names no class")
        for number, _, class_name in rows:
            if class_name and class_name not in names:
                raise UserError(
                    f"{self._csv}, line {number}: no class {class_name!r}; "
                    f"{nearest(class_name, names)}"
                )
        self._class_of = {file: names.index(c) for _, file, c in rows if c}
        label_spaces = spaces(head, LabelSpace("classes", names))
        super().__init__(name=name, root=root, files=files, label_spaces=label_spaces)

    def labels(self, index: int) -> dict[str, Stored]:
        found = self._class_of.get(self._files[index])
        if found is None:
            return {}
        return {
            head: class_label(found, len(space.classes))
            for head, space in self.label_spaces.items()
        }

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "files": content_digest(self._root, self._files),
            "csv": label_digest(self._csv.parent, [self._csv.name]),
        }


def _read(path: pathlib.Path, file_column: str, class_column: str) -> list[tuple[int, str, str]]:
    """(line number, file, class) of every row."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            for column in (file_column, class_column):
                if len(columns) == 1 and column not in columns:
                    raise UserError(
                        f"{path} has one column, {columns[0]!r}: expected columns separated by "
                        "commas"
                    )
                if column not in columns:
                    raise UserError(f"{path} has no column {column!r}; {nearest(column, columns)}")
            return [
                (
                    reader.line_num,
                    (row[file_column] or "").strip(),
                    (row[class_column] or "").strip(),
                )
                for row in reader
            ]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} is not CSV in UTF-8: {error}") from None
