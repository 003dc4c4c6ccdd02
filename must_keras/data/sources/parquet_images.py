"""Images in Parquet files, as Hugging Face datasets are stored."""

import collections
import pathlib
import threading
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from must_keras.data.io.folders import Path, files_of
from must_keras.data.io.images import read_image_bytes
from must_keras.data.io.notices import Notices
from must_keras.data.io.parquet_files import class_names, image_columns, opened
from must_keras.data.io.pixel_bits import check_bits
from must_keras.data.sources.source import LabelSpace, Source, Stored, class_label, spaces
from must_keras.errors import UserError, check_classes, listed, not_allowed
from must_keras.files import list_sha256

# Groups of rows that are kept: neighbors in a file are often read one after the other.
_MAX_GROUPS = 2


class _Group(NamedTuple):
    """A group of rows: its file, its number there, and the number of its first row there."""

    path: pathlib.Path
    number: int
    first: int


class ParquetImages(Source):
    """The images in Parquet files with a column of encoded images, in the order of their rows.

    The column is as Hugging Face's `Image`: a struct with "bytes"; or plain binary. A column of
    labels, whole numbers with the names that Hugging Face's `ClassLabel` writes, or texts, gives
    the class of each image; null, or -1, is not labeled. Nothing is downloaded.

    A file is read by groups of rows, of which the last few are kept: images in random order cost
    the decoding of a group each, so files with small groups (100 rows) are read fastest.

    An image's id is "<name of the file without .parquet>/<row>".

    Args:
        name: of the source.
        files: the files, a folder whose .parquet files they are, sorted, or a pattern of their
            names, `beans/train-*.parquet`.
        image: the column of images.
        label: the column of labels; None: images alone.
        head: the head that the labels are for; default: the source's name.
        classes: names in the order of the indices; None: those of `ClassLabel`, else the texts in
            the files, sorted.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Raises:
        UserError: a file is absent, truncated or no Parquet file, has no such column, has no row,
            or a label has no class.

    Example:
        mk.ParquetImages(name="beans", files="beans/train", label="labels", head="beans")
    """

    def __init__(
        self,
        *,
        name: str,
        files: Path | Sequence[Path],
        image: str = "image",
        label: str | None = None,
        head: str | None = "",
        classes: Sequence[str] | None = None,
        bits: int | None = None,
    ):
        check_bits(f"source {name!r}", bits)
        self.name, self._image, self._bits = name, image, bits
        self._notices = Notices(f"source {name!r}")
        self._groups: list[_Group] = []
        counts, labels, names = [], [], None
        self._paths = _paths(files)
        for path in self._paths:
            with opened(path) as file:
                _check_column(path, file.schema_arrow, image)
                first = 0
                for number in range(file.num_row_groups):
                    self._groups.append(_Group(path, number, first))
                    counts.append(file.metadata.row_group(number).num_rows)
                    first += counts[-1]
                if label is not None:
                    _check_has(path, file.schema_arrow, label, "label")
                    labels += file.read(columns=[label]).column(0).to_pylist()
                    names = names or class_names(file.schema_arrow, label)
        self._firsts = np.cumsum([0, *counts])
        if not len(self):
            raise UserError.at(self._paths[0], "has no row")
        self._classes = self._indices(labels, names if classes is None else classes)
        self._kept: collections.OrderedDict[int, list[Any]] = collections.OrderedDict()
        self._lock = threading.Lock()
        found = {} if label is None else spaces(head, LabelSpace("classes", self._names), name=name)
        self.label_spaces = found

    def _indices(self, labels: Sequence[Any], names: Sequence[str] | None) -> np.ndarray:
        """Return the class of each image, -1 of those that have none."""
        if names is None:
            names = sorted({label for label in labels if isinstance(label, str)})
            odd = next((one for one in labels if not isinstance(one, str | None)), None)
            if odd is not None:
                problem = f": label {odd!r} has no name, and no file names it; set classes="
                raise UserError.at(self._paths[0], problem, key="classes")
        else:
            check_classes(f"source {self.name!r}", tuple(names))
        self._names = tuple(names)
        index_of = {label: index for index, label in enumerate(self._names)}
        index_of |= {index: index for index in range(len(self._names))} | {None: -1, -1: -1}
        for place, label in enumerate(labels):
            if label not in index_of:
                where = f"{self.image_id(place)}: label {label!r}"
                raise not_allowed(where, label, self._names)
        return np.array([index_of[label] for label in labels], np.int64)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def _locate(self, index: int) -> tuple[int, int]:
        """Return the number of an image's group, and its row there."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in source {self.name!r}")
        group = int(self._firsts.searchsorted(index, side="right")) - 1
        return group, index - int(self._firsts[group])

    def image_id(self, index: int) -> str:
        group, row = self._locate(index)
        path, _, first = self._groups[group]
        return f"{path.name.removesuffix('.parquet')}/{first + row}"

    def folders(self) -> frozenset[pathlib.Path]:
        return frozenset(path.parent for path in self._paths)

    def image(self, index: int) -> np.ndarray:
        group, row = self._locate(index)
        found = self._rows(group)[row]
        data = found.get("bytes") if isinstance(found, dict) else found
        path, _, first = self._groups[group]
        where = f"{path}, row {first + row}"
        if not data:
            raise UserError(f"{where} has no bytes of an image: it is empty, or a path alone")
        return read_image_bytes(data, where, bits=self._bits, notices=self._notices)

    def _rows(self, group: int) -> list[Any]:
        """Return the images of a group of rows."""
        with self._lock:
            if group in self._kept:
                self._kept.move_to_end(group)
                return self._kept[group]
        path, number, _ = self._groups[group]
        with opened(path) as file:
            rows = file.read_row_group(number, columns=[self._image]).column(0).to_pylist()
        with self._lock:
            self._kept[group] = rows
            while len(self._kept) > _MAX_GROUPS:
                self._kept.popitem(last=False)
        return rows

    def labels(self, index: int) -> dict[str, Stored]:
        if not self.labeled_heads(index):
            return {}
        label = class_label(int(self._classes[index]), len(self._names))
        return dict.fromkeys(self.label_spaces, label)

    def labeled_heads(self, index: int) -> Collection[str]:
        is_labeled = bool(self.label_spaces) and self._classes[index] >= 0
        return self.label_spaces.keys() if is_labeled else ()

    def describe(self) -> dict[str, Any]:
        files = [[path.name, path.stat().st_size] for path in self._paths]
        bits = {} if self._bits is None else {"bits": self._bits}
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "files": list_sha256(files),
            "image": self._image,
            "labels": list_sha256(self._classes.tolist()),
        } | bits


def _check_has(path: pathlib.Path, schema: Any, column: str, key: str) -> None:
    if column not in schema.names:
        raise not_allowed(f"{path} has no column {column!r}", column, schema.names, key=key)


def _check_column(path: pathlib.Path, schema: Any, column: str) -> None:
    """Raise UserError unless a column holds encoded images."""
    images = image_columns(schema)
    if column in images:
        return
    found = f"images are in {listed(images)}; set image=" if images else "none has images"
    kind = f"of {schema.field(column).type}" if column in schema.names else "absent"
    columns = listed(schema.names, limit=10)
    raise UserError.at(
        path,
        f": the column {column!r} is {kind}, expected encoded images, a struct with 'bytes' or "
        f"binary; its columns are {columns}: {found}",
        key="image",
        allowed=images,
    )


def _paths(files: Path | Sequence[Path]) -> list[pathlib.Path]:
    paths = files_of(files, suffix=".parquet", noun="Parquet file", key="files")
    names = [path.name for path in paths]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError.of("", "files", twice, "two files have this name: rename one")
    return paths
