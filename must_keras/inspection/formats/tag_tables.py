"""A table of tags beside images: a column for each tag, or one column with all of them."""

import pathlib
from collections.abc import Sequence
from typing import Any

from must_keras.data.sources import CsvTags
from must_keras.inspection.answers import Answers
from must_keras.inspection.csv_tables import (
    SPLIT_COLUMNS,
    ImageTable,
    LabelTable,
    find_sets,
    image_table,
    splits_of,
    with_splits,
)
from must_keras.inspection.formats.class_tables import CLASS_COLUMNS
from must_keras.inspection.found import Findings
from must_keras.inspection.kinds import ImageTags
from must_keras.inspection.tree import Tree

_TAG_COLUMNS = ("tags", "labels", "attributes", "keywords", "findings")
# What cells of a tag's own column are, with ".0" or without.
_CELLS = {"", "-1", "0", "1"}
# Between the tags of one cell, and of which no name of a class consists.
_SEPARATORS = ("|", ";")


class TagTables:
    """CSV files with a column of images, and their tags.

    Example:
        TagTables().find(Tree.of(pathlib.Path("scenes")), Answers({})).sets
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        return find_sets(tree, answers, _table, kind=ImageTags(), form="CSV of tags")


def _table(tree: Tree, path: pathlib.Path, answers: Answers, found: Findings) -> LabelTable | None:
    """Return a table of tags; None for others."""
    images = image_table(tree, path, answers, found)
    if images is None:
        return None
    named = {"file_column": images.file_column, "suffix": images.suffix}
    stated = images.stated_column(answers)
    column = stated or _list_column(images)
    about: tuple[str, ...] = ()
    if column is not None:
        separator = _separator(images.columns[column])
        if separator is None:
            return None
        columns: dict[str, Any] = {"tags_column": column, "separator": separator}
    else:
        tags = _tag_columns(images)
        if len(tags) < 2:
            return None
        columns = {"classes": tags}
        about = _remarks(images, tags)
    table = LabelTable(path, images.images, CsvTags, named | columns, about=about)
    labels = (column,) if column is not None else columns["classes"]
    return with_splits(table, (images.file_column, *labels), answers, found)


def _list_column(table: ImageTable) -> str | None:
    """Return the column that lists the tags of an image; None where none does."""
    for name, values in table.columns.items():
        is_list = any(sign in value for value in values for sign in _SEPARATORS)
        if name.lower() in _TAG_COLUMNS or (name.lower() in CLASS_COLUMNS and is_list):
            return name
    return None


def _separator(values: Sequence[str]) -> str | None:
    """Return what stands between the tags of a cell; None where a cell has one name.

    Spaces and commas count where the words between them recur: names may have them, too.
    """
    for sign in (*_SEPARATORS, ",", " "):
        if not any(sign in value.strip() for value in values):
            continue
        words = {word.strip() for value in values for word in value.split(sign)}
        if sign in _SEPARATORS or len(words) < len({value.strip() for value in values}):
            return sign
    return None


def _tag_columns(table: ImageTable) -> tuple[str, ...]:
    """Return the columns of zeros and ones, where no column is called that of classes or lists."""
    if {*map(str.lower, table.columns)} & {*CLASS_COLUMNS, *_TAG_COLUMNS}:
        return ()
    return tuple(name for name, values in table.columns.items() if _are_marks(values))


def _are_marks(values: Sequence[str]) -> bool:
    found = {value.strip().removesuffix(".0") for value in values}
    return found <= _CELLS and bool(found & {"0", "1"})


def _remarks(table: ImageTable, tags: Sequence[str]) -> tuple[str, ...]:
    """Return what a person should know."""
    found = []
    others = [
        name
        for name, values in table.columns.items()
        if name not in tags and name.lower() not in SPLIT_COLUMNS
        if not splits_of(sorted({value.strip() for value in values} - {""}))
    ]
    if others:
        found.append(f"its columns {', '.join(others)} are not read")
    marks = zip(*(table.columns[name] for name in tags), strict=True)
    if all(sum(cell.strip() in ("1", "1.0") for cell in row) == 1 for row in marks):
        found.append(
            "each image has exactly one of its tags; for one class an image write a column of "
            "classes"
        )
    return tuple(found)
