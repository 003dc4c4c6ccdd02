"""Tables beside images: the column that names the images, and the one that names their splits."""

import csv
import io
import itertools
import pathlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

from must_keras.data.names import Names, stem
from must_keras.data.sources import Source
from must_keras.errors import listed, not_allowed
from must_keras.inspection.answers import Answers, Question
from must_keras.inspection.found import TRAIN, WHOLE, Findings, FoundSet, Part, part
from must_keras.inspection.kinds import Kind
from must_keras.inspection.tree import Tree, split_named, split_of

SPLIT_COLUMNS = ("split", "subset", "fold", "partition")
# The statement that no column names the splits.
_NO_COLUMN = "none"
_BOX_COLUMNS = ("xmin", "xmax", "bbox", "x_min", "x1")
_MAX_ROWS = 200
# Folders between a table and its images, at most.
_MAX_DEPTH = 2


class ImageTable(NamedTuple):
    """The first rows of a table that names images.

    Attributes:
        path: of the file.
        images: the folder of the images.
        file_column: names the images.
        suffix: what the names of the images end with and the table leaves out.
        columns: {name of another column: its first values}.

    Example:
        ImageTable(path, folder, "file", "", {"class": ("elm", "oak")})
    """

    path: pathlib.Path
    images: pathlib.Path
    file_column: str
    suffix: str
    columns: Mapping[str, tuple[str, ...]]

    def stated_column(self, answers: Answers) -> str | None:
        """Return the column that a person states for the labels, or None.

        Raises:
            UserError: there is no such column.
        """
        stated, allowed = answers.at(self.path, "class"), [self.file_column, *self.columns]
        if stated is not None and stated not in allowed:
            where = f"{self.path}:class={stated}: there is no such column"
            raise not_allowed(where, stated, allowed)
        return stated


class LabelTable(NamedTuple):
    """A table of labels as the source that reads it.

    Attributes:
        path: of the file.
        images: the folder of the images.
        target: the class of the source.
        columns: its arguments beside those of images, file and split.
        split_column: names the splits of the images; "" where none does.
        splits: {split: the text that stands for it in that column}.
        unsplit: number of rows without a text in it.
        about: what a person should know of the labels.

    Example:
        LabelTable(path, folder, CsvClasses, {"class_column": "species"}).parts("")
    """

    path: pathlib.Path
    images: pathlib.Path
    target: Callable[..., Source]
    columns: Mapping[str, Any]
    split_column: str = ""
    splits: Mapping[str, str] = {}
    unsplit: int = 0
    about: tuple[str, ...] = ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know."""
        if not self.unsplit:
            return self.about
        of_rows = f"images of rows without a {self.split_column} ({self.unsplit}) are not used"
        return (*self.about, of_rows)

    def parts(self, split: str, **arguments: Any) -> dict[str, Part]:
        """Return {split: its source}: those of the split column, or all of the given split."""
        source = {"images": self.images, "csv_file": self.path, **self.columns, **arguments}
        if not self.splits:
            return {split: part(self.target, **source)}
        source["split_column"] = self.split_column
        return {one: part(self.target, **source, split=text) for one, text in self.splits.items()}


def find_sets(
    tree: Tree,
    answers: Answers,
    read: Callable[[Tree, pathlib.Path, Answers, Findings], LabelTable | None],
    *,
    kind: Kind,
    form: str,
) -> Findings:
    """Return the labeled sets of tables: one for each, or one of several that are its splits.

    Args:
        tree: the folders.
        answers: of the user.
        read: returns the table of a file, called with the findings to add to; None for others.
        kind: of the labels.
        form: how they are stored, for a person.

    Example:
        find_sets(tree, answers, read, kind=Classes(), form="CSV of classes").sets
    """
    found, groups = Findings(), dict[str, dict[str, LabelTable]]()
    for folder in tree:
        for path in folder.files(".csv", ".tsv"):
            table = read(tree, path, answers, found)
            if table is not None:
                named = split_of(tree.relative(path))
                groups.setdefault(named.key, {})[named.split] = table
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
                kind=kind,
                form=form,
                place=tables[0].path if len(parts) == 1 else tables[0].path.parent,
                parts=sources,
                takes_classes=True,
                remarks=tuple(dict.fromkeys(text for table in tables for text in table.remarks)),
            )
        )
    return found


def image_table(
    tree: Tree, path: pathlib.Path, answers: Answers, found: Findings
) -> ImageTable | None:
    """Return a table that names images; None for others, of which those of boxes are noted."""
    rows = _rows(path)
    if len(rows) < 2 or answers.at(path, "kind") == "skip":
        return None
    header, columns = [name.strip() for name in rows[0]], list(zip(*rows[1:], strict=False))
    if set(map(str.lower, header)) & set(_BOX_COLUMNS):
        found.unused[path] = "boxes in CSV are not read: convert them to COCO JSON"
        return None
    place = _file_column(tree, path, columns)
    if place is None:
        return None
    images, index, suffix = place
    others = {name: columns[i] for i, name in enumerate(header[: len(columns)]) if i != index}
    return ImageTable(path, images, header[index], suffix, others)


def with_splits(
    table: LabelTable, columns: Collection[str], answers: Answers, found: Findings
) -> LabelTable | None:
    """Return a table with the column that names splits, if one does; None where that is asked.

    Args:
        table: of the labels.
        columns: its columns of images and labels.
        answers: of the user.
        found: takes the question.
    """
    path, (header, *rows) = table.path, _rows(table.path, max_rows=None)
    header = [name.strip() for name in header]
    texts = {
        name: sorted({value.strip() for value in values} - {""})
        for name, values in zip(header, itertools.zip_longest(*rows, fillvalue=""), strict=False)
        if name not in columns
    }
    stated = answers.at(path, "split")
    if stated == _NO_COLUMN:
        return table
    if stated is not None and stated not in texts:
        allowed = [*texts, _NO_COLUMN]
        raise not_allowed(f"{path}:split={stated}: there is no such column", stated, allowed)
    fitting = [name for name, values in texts.items() if splits_of(values)]
    named = [name for name in texts if name.lower() in SPLIT_COLUMNS]
    of_splits = [stated] if stated else fitting or named
    if not of_splits:
        return table
    shown = ", ".join(of_splits)
    if len(of_splits) > 1:
        text = f"which of its columns {shown} names the splits?"
        found.questions.append(Question(path, text, "split", (*of_splits, _NO_COLUMN)))
        found.explained.add(table.images)
        return None
    splits = splits_of(texts[of_splits[0]])
    if not splits:
        values = listed(texts[of_splits[0]])
        text = (
            f"its column {shown} has the values {values}, and splits are called train, val and "
            "test, once each: write these names, or split at random"
        )
        found.questions.append(Question(path, text, "split", (_NO_COLUMN,)))
        found.explained.add(table.images)
        return None
    place = header.index(of_splits[0])
    unsplit = sum(not "".join(row[place : place + 1]).strip() for row in rows)
    return table._replace(split_column=of_splits[0], splits=splits, unsplit=unsplit)


def splits_of(texts: list[str]) -> dict[str, str]:
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
) -> tuple[pathlib.Path, int, str] | None:
    """Return the nearest folder in which the names of a column are images, the column, a suffix.

    The suffix is what most names of images end with, where the column leaves it out.
    """
    near = [one.path for one in tree.below(path.parent) if _depth(one.path, path) <= _MAX_DEPTH]
    for folder in sorted(near, key=lambda one: len(one.parts)):
        below = [
            (one.path / name).relative_to(folder).as_posix()
            for one in tree.below(folder)
            for name in one.pictures
        ]
        known, suffixes = Names(below), {stem(name): name[len(stem(name)) :] for name in below}
        for index, values in enumerate(columns):
            if sum(known.find(value) is not None for value in values) > len(values) / 2:
                return folder, index, ""
            without = Counter(suffixes[value] for value in values if value in suffixes)
            if without.total() > len(values) / 2:
                return folder, index, without.most_common(1)[0][0]
    return None


def _depth(folder: pathlib.Path, table: pathlib.Path) -> int:
    return len(folder.parts) - len(table.parent.parts)
