"""Tables with a header: CSV files as spreadsheets and programs write them."""

import codecs
import csv
import io
import pathlib
import re
from collections.abc import Mapping, Sequence

from must_keras.data.io.annotation_fields import shown
from must_keras.data.io.text_files import decoded, read_bytes
from must_keras.data.names import Names
from must_keras.errors import UserError, not_allowed

_DELIMITERS = (",", ";", "\t")


class Table:
    """A CSV file whose first line names its columns.

    Columns are separated by commas, semicolons or tabs, whichever gives all columns that are asked
    for. Text is UTF-8, or UTF-16 with its mark.

    Args:
        path: of the file.
        columns: names that it must have, each once.

    Attributes:
        columns: names of all its columns.

    Raises:
        UserError: it cannot be read or lacks a column.

    Example:
        for line, (file, label) in Table("tags.csv", ("file", "class")).rows(("file", "class")):
            print(f"line {line}: {file} is {label}")
    """

    def __init__(self, path: pathlib.Path, columns: Sequence[str]):
        self._path = path
        data = read_bytes(path)
        is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        self._text = decoded(path, data, "utf-16" if is_wide else "utf-8-sig")
        headers = {delimiter: self._header(delimiter) for delimiter in _DELIMITERS}
        # Where none has all columns, the messages are about commas.
        found = (d for d, names in headers.items() if {*columns} <= {*names})
        self._delimiter = next(found, ",")
        self.columns = tuple(headers[self._delimiter])
        for column in columns:
            self._check(column, columns)

    def _header(self, delimiter: str) -> list[str]:
        first = re.split(r"\r\n|\r|\n", self._text, maxsplit=1)[:1]
        try:
            return [name.strip() for name in next(csv.reader(first, delimiter=delimiter), [])]
        except csv.Error as error:
            raise UserError.at(self._path, f", line 1: not CSV: {error}") from None

    def _check(self, column: str, columns: Sequence[str]) -> None:
        found, path = self.columns, self._path
        if len(found) == 1 and column not in found:
            wanted = " and ".join(repr(name) for name in columns)
            raise UserError(
                f"{path} has one column, {found[0]!r}: expected columns separated by commas, "
                f"semicolons or tabs, and {wanted} in the first line"
            )
        if column not in found:
            raise not_allowed(f"{path} has no column {column!r}", column, found)
        if found.count(column) > 1:
            raise UserError(f"{path} has {found.count(column)} columns {column!r}, expected one")

    def rows(self, columns: Sequence[str]) -> list[tuple[int, list[str]]]:
        """Return (line number, the values of some columns) of every row that is not empty.

        The first column names a file, whose spaces stay; those around other values do not.

        Raises:
            UserError: a row has another number of fields than the first line.
        """
        places = [self.columns.index(column) for column in columns]
        reader = csv.reader(
            io.StringIO(self._text, newline=""), delimiter=self._delimiter, strict=True
        )
        count, found = len(self.columns), []
        try:
            next(reader)
            for row in reader:
                # Empty cells behind the last column are what spreadsheets write.
                if any(row) and (len(row) < count or any(row[count:])):
                    raise UserError(
                        f"{self._path}, line {reader.line_num}: {len(row)} fields, expected "
                        f"{count} as in the first line ({shown(row)})"
                    )
                if any(row):
                    file, *others = (row[place] for place in places)
                    found.append((reader.line_num, [file, *map(str.strip, others)]))
        except csv.Error as error:
            where = f", line {reader.line_num}: not CSV: {error}"
            raise UserError.at(self._path, where) from None
        return found

    def by_picture(
        self, columns: Sequence[str], files: Sequence[str], root: pathlib.Path, *, suffix: str = ""
    ) -> dict[str, tuple[int, list[str]]]:
        """Return {picture: (line number, values of the columns after the first)} of all rows.

        Args:
            columns: the first names the pictures, as people read them: see `names.Names`.
            files: the pictures, as paths below root.
            root: their folder.
            suffix: what their names end with and the table leaves out.

        Raises:
            UserError: a row names no picture, or one that was named before.
        """
        known = Names(files)
        found: dict[str, tuple[int, list[str]]] = {}
        for line, (text, *values) in self.rows(columns):
            where = f"{self._path}, line {line}"
            try:
                file = known.find(text + suffix)
            except UserError as error:
                raise UserError(f"{where}: {error}") from None
            if file is None:
                problem = f"{where}: there is no picture {text + suffix!r} in {root}"
                raise UserError(problem, path=root)
            if file in found:
                other = found[file][0]
                raise UserError(f"{where}: {text!r} is also on line {other}: a picture has one row")
            found[file] = (line, values)
        return found

    def of_split(
        self, split: str, column: str, rows: Mapping[str, tuple[int, Sequence[str]]]
    ) -> list[str]:
        """Return the pictures whose rows are of a split, in the order of their names.

        Args:
            split: the text that stands for it.
            column: names the splits.
            rows: of `by_picture`, whose last value is that column's.

        Raises:
            UserError: there is none.
        """
        split_of = {file: values[-1] for file, (_, values) in rows.items()}
        files = sorted(file for file, text in split_of.items() if text == split)
        if not files:
            where = f"{self._path}, column {column!r}: no picture is of split={split}"
            raise not_allowed(where, split, sorted(set(split_of.values())), key="split")
        return files
