"""A table of classes beside images."""

import pathlib

from must_keras.data.sources import CsvClasses
from must_keras.inspection.answers import Answers
from must_keras.inspection.csv_tables import LabelTable, find_sets, image_table, with_splits
from must_keras.inspection.found import Findings
from must_keras.inspection.kinds import Classes
from must_keras.inspection.tree import Tree

CLASS_COLUMNS = ("class", "label", "species", "category", "target", "tag", "breed", "kind", "name")


class ClassTables:
    """CSV files with a column of images and one of classes.

    Example:
        ClassTables().find(Tree.of(pathlib.Path("tags")), Answers({})).sets
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        return find_sets(tree, answers, _table, kind=Classes(), form="CSV of classes")


def _table(tree: Tree, path: pathlib.Path, answers: Answers, found: Findings) -> LabelTable | None:
    """Return a table of classes; None for others, of which those about images are noted."""
    images = image_table(tree, path, answers, found)
    if images is None:
        return None
    if images.suffix:
        found.unused[path] = "it names images without their suffix: write file names, a.jpg"
        return None
    named = [name for name in CLASS_COLUMNS for known in images.columns if known.lower() == name]
    first = next((n for n in images.columns if n.lower() in named[:1]), None)
    column = images.stated_column(answers) or first
    if column is None:
        found.unused[path] = (
            f"it names images and has the columns {', '.join(images.columns)}, none of which is "
            f"called class or label; if one is, add the argument '{path}:class=<column>'"
        )
        return None
    columns = {"file_column": images.file_column, "class_column": column}
    table = LabelTable(path, images.images, CsvClasses, columns)
    return with_splits(table, columns.values(), answers, found)
