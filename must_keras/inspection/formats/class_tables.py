"""A table of classes beside images."""

import csv
import io
import pathlib
from collections import defaultdict
from typing import NamedTuple

from must_keras.data.names import Names, stem
from must_keras.data.sources import CsvClasses
from must_keras.errors import not_allowed
from must_keras.inspection.answers import Answers
from must_keras.inspection.found import Findings, FoundSet, Part, part
from must_keras.inspection.kinds import Classes
from must_keras.inspection.tree import Tree, split_of

_CLASS_COLUMNS = ("class", "label", "species", "category", "target", "tag", "breed", "kind", "name")
_BOX_COLUMNS = ("xmin", "xmax", "bbox", "x_min", "x1")
_MAX_ROWS = 200
# Folders between a table and its images, at most.
_MAX_DEPTH = 2


class _Table(NamedTuple):
    """A table, the folder of its images, and its columns."""

    path: pathlib.Path
    images: pathlib.Path
    file_column: str
    class_column: str


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
            if len({table.images for table in tables}) < len(tables):
                for table in tables:
                    found.unused[table.path] = (
                        "several tables are about one folder of images: give the images of each "
                        "split a folder of their own"
                    )
                continue
            found.explained |= {table.images for table in tables}
            found.sets.append(
                FoundSet(
                    kind=Classes(),
                    form="CSV of classes",
                    place=tables[0].path if len(parts) == 1 else tables[0].path.parent,
                    parts={split: _part(table) for split, table in parts.items()},
                    takes_classes=True,
                )
            )
        return found


def _part(table: _Table) -> Part:
    columns = {"file_column": table.file_column, "class_column": table.class_column}
    return part(CsvClasses, images=table.images, csv_file=table.path, **columns)


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
    return _Table(path, images, header[index], column)


def _rows(path: pathlib.Path) -> list[list[str]]:
    """Return the first rows of a table; [] where the file is none."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        text = "".join(line for line, _ in zip(file, range(_MAX_ROWS + 1), strict=False))
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
