"""A table of classes beside images."""

import csv
import io
import itertools
import pathlib
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from must_keras.data.names import Names, stem
from must_keras.data.sources import CsvClasses
from must_keras.errors import listed, not_allowed
from must_keras.inspection.answers import Answers, Question
from must_keras.inspection.found import TRAIN, WHOLE, Findings, FoundSet, Part, part
from must_keras.inspection.kinds import Classes
from must_keras.inspection.tree import Tree, split_named, split_of

_CLASS_COLUMNS = ("class", "label", "species", "category", "target", "tag", "breed", "kind", "name")
_SPLIT_COLUMNS = ("split", "subset", "fold", "partition")
# The statement that no column names the splits.
_NO_COLUMN = "none"
_BOX_COLUMNS = ("xmin", "xmax", "bbox", "x_min", "x1")
_MAX_ROWS = 200
# Folders between a table and its images, at most.
_MAX_DEPTH = 2


class _Table(NamedTuple):
    """A table, the folder of its images, and its columns.

    Attributes:
        path: of the file.
        images: the folder.
        file_column: names the images.
        class_column: names their classes.
        split_column: names their splits; "" where none does.
        splits: {split: the text that stands for it in that column}.
        unsplit: number of rows without a text in it.
    """

    path: pathlib.Path
    images: pathlib.Path
    file_column: str
    class_column: str
    split_column: str = ""
    splits: Mapping[str, str] = {}
    unsplit: int = 0

    def remarks(self) -> list[str]:
        """Return what a person should know."""
        if not self.unsplit:
            return []
        return [f"images of rows without a {self.split_column} ({self.unsplit}) are not used"]

    def parts(self, split: str, **arguments: Any) -> dict[str, Part]:
        """Return {split: its source}: those of the split column, or all of the given split."""
        columns = {"file_column": self.file_column, "class_column": self.class_column}
        source = {"images": self.images, "csv_file": self.path, **columns, **arguments}
        if not self.splits:
            return {split: part(CsvClasses, **source)}
        source["split_column"] = self.split_column
        return {one: part(CsvClasses, **source, split=text) for one, text in self.splits.items()}


class ClassTables:
    """CSV files with a column of images and one of classes.

    Example:
        ClassTables().find(Tree.of(pathlib.Path("tags")), Answers({})).sets
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found, groups = Findings(), defaultdict[str, dict[str, _Table]](dict)
        for folder in tree:
            for path in folder.files(".csv", ".tsv"):
                table = _table(tree, path, answers, found)
                if table is not None:
                    named = split_of(tree.relative(path))
                    groups[named.key][named.split] = table
        for parts in groups.values():
            tables = list(parts.values())
            found.explained |= {table.images for table in tables}
            if len(tables) > 1:
                # Each table is a split.
                tables = [table._replace(split_column="", splits={}, unsplit=0) for table in tables]
            shares = len({table.images for table in tables}) < len(tables)
            listed_only = {"listed_only": True} if shares else {}
            sources = {}
            for split, table in zip(parts, tables, strict=True):
                sources |= table.parts(split, **listed_only)
            found.sets.append(
                FoundSet(
                    kind=Classes(),
                    form="CSV of classes",
                    place=tables[0].path if len(parts) == 1 else tables[0].path.parent,
                    parts=sources,
                    takes_classes=True,
                    remarks=tuple(text for table in tables for text in table.remarks()),
                )
            )
        return found


def _table(tree: Tree, path: pathlib.Path, answers: Answers, found: Findings) -> _Table | None:
    """Return a table of classes; None for others, of which those about images are noted."""
    rows = _rows(path)
    if len(rows) < 2:
        return None
    header, columns = [name.strip() for name in rows[0]], list(zip(*rows[1:], strict=False))
    if set(map(str.lower, header)) & set(_BOX_COLUMNS):
        found.unused[path] = "boxes in CSV are not read: convert them to COCO JSON"
        return None
    place = _file_column(tree, path, columns)
    if place is None:
        return None
    images, index = place
    if index < 0:
        found.unused[path] = "it names images without their suffix: write file names, a.jpg"
        return None
    stated = answers.at(path, "class")
    if stated is not None and stated not in header:
        raise not_allowed(f"{path}:class={stated}: there is no such column", stated, header)
    named = [name for name in _CLASS_COLUMNS for known in header if known.lower() == name]
    column = stated or next((n for n in header if n.lower() in named[:1]), None)
    if column is None:
        others = ", ".join(name for i, name in enumerate(header) if i != index)
        found.unused[path] = (
            f"it names images and has the columns {others}, none of which is called class or "
            f"label; if one is, add the argument '{path}:class=<column>'"
        )
        return None
    table = _Table(path, images, header[index], column)
    return _with_splits(table, answers, found)


def _with_splits(table: _Table, answers: Answers, found: Findings) -> _Table | None:
    """Return a table with the column that names splits, if one does; None where that is asked."""
    path, (header, *rows) = table.path, _rows(table.path, max_rows=None)
    header = [name.strip() for name in header]
    texts = {
        name: sorted({value.strip() for value in values} - {""})
        for name, values in zip(header, itertools.zip_longest(*rows, fillvalue=""), strict=False)
        if name not in (table.file_column, table.class_column)
    }
    stated = answers.at(path, "split")
    if stated == _NO_COLUMN:
        return table
    if stated is not None and stated not in texts:
        allowed = [*texts, _NO_COLUMN]
        raise not_allowed(f"{path}:split={stated}: there is no such column", stated, allowed)
    fitting = [name for name, values in texts.items() if _splits(values)]
    named = [name for name in texts if name.lower() in _SPLIT_COLUMNS]
    columns = [stated] if stated else fitting or named
    if not columns:
        return table
    shown = ", ".join(columns)
    if len(columns) > 1:
        text = f"which of its columns {shown} names the splits?"
        found.questions.append(Question(path, text, "split", (*columns, _NO_COLUMN)))
        found.explained.add(table.images)
        return None
    splits = _splits(texts[columns[0]])
    if not splits:
        values = listed(texts[columns[0]])
        text = (
            f"its column {shown} has the values {values}, and splits are called train, val and "
            "test, once each: write these names, or split at random"
        )
        found.questions.append(Question(path, text, "split", (_NO_COLUMN,)))
        found.explained.add(table.images)
        return None
    place = header.index(columns[0])
    unsplit = sum(not "".join(row[place : place + 1]).strip() for row in rows)
    return table._replace(split_column=columns[0], splits=splits, unsplit=unsplit)


def _splits(texts: list[str]) -> dict[str, str]:
    """Return {split: its text} where all texts of a column name splits, training among them."""
    splits = {split_named(text): text for text in texts}
    is_split = TRAIN in splits and WHOLE not in splits and 1 < len(splits) == len(texts)
    return splits if is_split else {}


def _rows(path: pathlib.Path, max_rows: int | None = _MAX_ROWS) -> list[list[str]]:
    """Return the header and the first rows of a table, or all; [] where the file is none."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        text = "".join(itertools.islice(file, None if max_rows is None else max_rows + 1))
    found = []
    for delimiter in (",", ";", "\t"):
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
        found.append([row for row in rows if row])
    return max(found, key=lambda rows: len(rows[0]) if rows else 0)


def _file_column(
    tree: Tree, path: pathlib.Path, columns: list[tuple[str, ...]]
) -> tuple[pathlib.Path, int] | None:
    """Return the nearest folder in which the names of a column are images, and the column.

    The column is -1 where only names without their suffix are found.
    """
    near = [one.path for one in tree.below(path.parent) if _depth(one.path, path) <= _MAX_DEPTH]
    for folder in sorted(near, key=lambda one: len(one.parts)):
        below = [
            (one.path / name).relative_to(folder).as_posix()
            for one in tree.below(folder)
            for name in one.pictures
        ]
        known, stems = Names(below), set(map(stem, below))
        for index, values in enumerate(columns):
            if sum(known.find(value) is not None for value in values) > len(values) / 2:
                return folder, index
            if sum(value in stems for value in values) > len(values) / 2:
                return folder, -1
    return None


def _depth(folder: pathlib.Path, table: pathlib.Path) -> int:
    return len(folder.parts) - len(table.parent.parts)
