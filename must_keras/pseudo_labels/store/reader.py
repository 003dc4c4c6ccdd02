"""Reads a label column by position."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from must_keras.errors import UserError
from must_keras.pseudo_labels.store import layout, record
from must_keras.tasks.base import Spec


class Images(Protocol):
    """What a column is compared with: how many images there are, and their ids."""

    def __len__(self) -> int: ...

    def image_id(self, index: int) -> str:
        """The id of an image."""


class Recorded(Protocol):
    """The task whose records a column contains."""

    def record_spec(self) -> Mapping[str, Spec]:
        """See Task.record_spec."""


class PseudoLabelReader:
    """What one teacher said of every image of a source, record i of image i.

    Threads may read at the same time; no file stays open. 25 bytes a record are kept in memory.

    The task specifies what a record consists of: no class or module is looked up by a name in the
    folder, which may be a stranger's.

    Args:
        folder: of a finished column.
        source: the images that it must belong to.
        task: whose records they are.

    Attributes:
        ledger: what ledger.json says.

    Raises:
        UserError: the column is not finished, or belongs to other images.
        DataError: files are missing or damaged.
    """

    def __init__(self, folder: str | os.PathLike[str], source: Images, task: Recorded):
        self._folder = pathlib.Path(folder)
        self.ledger = layout.load_ledger(self._folder)
        if self.ledger is None:
            raise UserError(
                f"{self._folder} has no {layout.LEDGER}: run --stage=label until it is finished"
            )
        self._specs = dict(task.record_spec())
        shards = self.ledger["shards"]
        self._names = [shard["name"] for shard in shards]
        self._shard_length = shards[0]["count"]
        self._index = _load_indices(self._folder, self.ledger["records"], self._shard_length)
        self.check(source)

    def __len__(self) -> int:
        return len(self._index)

    def is_empty(self, index: int) -> bool:
        """Whether nothing was said of an image: it could not be read, or has no label."""
        return bool(self._index["empty"][self._position(index)])

    @property
    def filled(self) -> np.ndarray:
        """The places of the records that are not empty."""
        return np.flatnonzero(~self._index["empty"])

    def read(self, index: int) -> dict[str, Any]:
        """A record: {part: array of its spec's shape and dtype}.

        A scalar of dtype "bytes" is `bytes`, an array of them has dtype object.

        Raises:
            ValueError: the record is empty.
            DataError: the shard is damaged.
        """
        index = self._position(index)
        entry = self._index[index]
        if entry["empty"]:
            raise ValueError(f"record {index} of {self._folder} is empty")
        path = self._folder / self._names[index // self._shard_length]
        try:
            payload = _read(path, int(entry["offset"]), int(entry["length"]))
            image_id, parts = record.parse(payload, self._specs)
        except Exception as error:
            raise layout.damaged(path, f"record {index} cannot be read ({error})") from error
        if layout.id_hash(image_id) != int(entry["id_hash"]) or parts is None:
            raise layout.damaged(path, f"record {index} is not the one that its index describes")
        return parts

    @functools.cached_property
    def specs(self) -> dict[str, Spec]:
        """{part: Spec} of a record, without optional parts that this column was written without."""
        if not len(self.filled):
            return self._specs
        found = self.read(int(self.filled[0]))
        return {name: spec for name, spec in self._specs.items() if name in found}

    def read_or_blank(self, index: int) -> dict[str, Any]:
        """As `read`; of an empty record zeros, of length 0 along an axis of variable length."""
        return record.blank(self.specs) if self.is_empty(index) else self.read(index)

    def check(self, source: Images) -> None:
        """Raises UserError unless the column belongs to exactly these images, in their order."""
        if len(source) != len(self):
            raise UserError(
                f"{self._folder} has labels of {len(self)} images, the source has {len(source)}: "
                "choose another --workdir, or delete that folder to label again"
            )
        index = layout.first_difference(self._index, source.image_id)
        if index is not None:
            raise UserError(
                f"{self._folder}: record {index} is not of image {source.image_id(index)!r}; "
                "the source's images or their order changed: choose another --workdir, or "
                "delete that folder to label again"
            )

    def _position(self, index: int) -> int:
        if not 0 <= index < len(self._index):
            raise IndexError(f"record {index} of {len(self._index)}")
        return index


def _load_indices(folder: pathlib.Path, num_records: int, shard_length: int) -> np.ndarray:
    indices = []
    for shard in layout.shards_of(num_records, shard_length):
        indices.append(layout.load_index(folder, shard))
        if indices[-1] is None:
            raise layout.damaged(folder / shard.index_name, "it is missing or not whole")
    return np.concatenate(indices)


def _read(path: pathlib.Path, offset: int, length: int) -> bytes:
    """Opens the file each time: the number of open files does not grow with the shards."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.pread(descriptor, length, offset)
    finally:
        os.close(descriptor)
