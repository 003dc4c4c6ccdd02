"""Images with tags: a table beside the images."""

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.data import names
from must_keras.data.io.folders import Path, existing_folder, label_digest, picture_files
from must_keras.data.io.tables import Table
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.errors import UserError, check_classes, not_allowed
from must_keras.tasks.tags import UNKNOWN

# {picture: (line number, cells)}
Rows = Mapping[str, tuple[int, Sequence[str]]]
# Cells of a tag's own column.
_CELLS = {"": UNKNOWN, "-1": UNKNOWN, "0": 0.0, "1": 1.0}


class CsvTags(ImageFiles):
    """The pictures of a folder, and a CSV file with the tags of some of them.

    The table has a column for each tag, with 1 where the image has it, 0 where it has not, and
    nothing or -1 where that is unknown; or one column with the names of all tags of the image.
    Names are compared as people read them: see `names.Names`.

    Args:
        name: of the source.
        images: the images' folder.
        csv_file: the table; a picture without a row is not labeled.
        head: the head that the tags label; default: the source's name; None: images alone.
        classes: names of the tags in the order of the indices; None: the columns beside those of
            files and of splits, in their order, or the names in `tags_column`, sorted.
        file_column: names a picture by its path relative to `images`.
        suffix: what pictures' names end with and the table leaves out (".jpg").
        tags_column: the column with all tags of the image; None: a column for each.
        separator: between the tags of that column.
        no_tag: what that column says where the image has none, beside nothing.
        split_column: names the split of a picture, where `split` is given.
        split: the pictures whose rows have this text in `split_column`, and no others; the tags
            are those of all rows. None: all pictures.
        listed_only: whether pictures without a row are left out: a table of each split may be about
            one folder.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Raises:
        UserError: the file cannot be read or lacks a column; a row names no picture, one that was
            named before, or no tag; a cell is no value; no row is of the split.

    Example:
        mk.CsvTags(name="scene", images="photos", csv_file="scene.csv", tags_column="tags")
    """

    searches_root = True

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        csv_file: Path,
        head: str | None = "",
        classes: Sequence[str] | None = None,
        file_column: str = "file",
        suffix: str = "",
        tags_column: str | None = None,
        separator: str = "|",
        no_tag: str = "",
        split_column: str = "split",
        split: str | None = None,
        listed_only: bool = False,
        bits: int | None = None,
    ):
        root, self._csv = existing_folder(images), pathlib.Path(csv_file)
        files = picture_files(root)
        if classes is not None:
            check_classes(f"source {name!r}", classes)
        of_split = () if split is None else (split_column,)
        given = (classes or ()) if tags_column is None else (tags_column,)
        table = Table(self._csv, (file_column, *given, *of_split))
        others = tuple(c for c in table.columns if c not in (file_column, *of_split))
        of_tags = given or others
        rows = table.by_picture((file_column, *of_tags, *of_split), files, root, suffix=suffix)
        if tags_column is None:
            classes, found = of_tags, self._of_columns(rows, of_tags)
        else:
            words = {
                file: (line, [word.strip() for word in cells[0].split(separator)])
                for file, (line, cells) in rows.items()
            }
            classes, found = self._of_lists(words, classes, {"", names.as_read(no_tag)})
        if listed_only:
            files = [file for file in files if file in rows]
        if split is not None:
            kept = set(table.of_split(split, split_column, rows))
            files = [file for file in files if file in kept]
        if not classes:
            raise UserError.at(self._csv, "names no tag")
        # A row in which nothing is known labels nothing.
        self._tags = {file: has for file, has in found.items() if (has != UNKNOWN).any()}
        if not self._tags:
            raise UserError.at(self._csv, "all tags are unknown: no picture is labeled")
        label_spaces = spaces(head, LabelSpace("tags", tuple(classes)), name=name)
        super().__init__(name=name, root=root, files=files, label_spaces=label_spaces, bits=bits)

    def _of_columns(self, rows: Rows, classes: Sequence[str]) -> dict[str, np.ndarray]:
        """Return {picture: [K] values} of a table with a column for each tag."""

        def value(line: int, column: str, cell: str) -> float:
            text = cell.removesuffix(".0")
            if text not in _CELLS:
                raise UserError(
                    f"{self._csv}, line {line}: {column!r} is {cell!r}; allowed are 1, 0, and "
                    "nothing or -1 for unknown"
                )
            return _CELLS[text]

        return {
            file: np.float32([value(line, c, x) for c, x in zip(classes, cells, strict=False)])
            for file, (line, cells) in rows.items()
        }

    def _of_lists(
        self, rows: Rows, classes: Sequence[str] | None, without: Collection[str]
    ) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
        """Return the tags and {picture: [K] values} of rows that list the image's tags."""
        listed = {
            file: (line, [word for word in words if names.as_read(word) not in without])
            for file, (line, words) in rows.items()
        }
        if classes is None:
            every = sorted({word for _, words in listed.values() for word in words}, reverse=True)
            # One spelling of those that read the same.
            classes = sorted({names.as_read(word): word for word in every}.values())
        known = names.Names(classes)

        def value(line: int, words: Sequence[str]) -> np.ndarray:
            has = np.zeros(len(classes), np.float32)
            for word in words:
                index = known.index_in(word, classes)
                if index is None:
                    raise not_allowed(f"{self._csv}, line {line}: no tag {word!r}", word, classes)
                has[index] = 1.0
            return has

        found = {file: value(line, words) for file, (line, words) in listed.items()}
        return tuple(classes), found

    def labels(self, index: int) -> dict[str, Stored]:
        found = self._tags.get(self._files[index])
        return {} if found is None else {head: {"tags": found} for head in self.label_spaces}

    def labeled_heads(self, index: int) -> Collection[str]:
        return self.label_spaces.keys() if self._files[index] in self._tags else ()

    def describe_content(self) -> dict[str, Any]:
        table: Mapping[str, Any] = {"csv": label_digest(self._csv.parent, [self._csv.name])}
        return super().describe_content() | table
