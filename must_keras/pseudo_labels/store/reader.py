"""Reads a pseudo-label dataset by position, and verifies one."""

import functools
import os
import pathlib
from typing import Any

import numpy as np

from must_keras.data.io.records import Records
from must_keras.data.sources import Source
from must_keras.errors import DataError, UserError
from must_keras.pseudo_labels.store import layout
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Spec


class PseudoLabelReader:
    """The records of one teacher for every image of a source, record i of image i.

    Threads may read at the same time; no file stays open. 25 bytes a record are kept in memory.

    The task specifies what a record consists of: no class or module is looked up by a name in the
    folder, which may be a stranger's.

    Args:
        folder: of a complete dataset.
        source: the images that it must belong to.
        task: whose records they are.

    Attributes:
        folder: of the dataset.
        source: the images.
        ledger: content of ledger.json.

    Raises:
        UserError: the dataset is not complete, or belongs to other images.
        DataError: files are missing or damaged.

    Example:
        reader = PseudoLabelReader("runs/scenes/labels/boxes/pool", source, task)
        task.records.to_label(reader.read(int(reader.filled[0])), 0.5)
    """

    def __init__(self, folder: str | os.PathLike[str], source: Source, task: Task):
        self.folder, self.source = pathlib.Path(folder), source
        self.ledger = layout.load_ledger(self.folder)
        if self.ledger is None:
            raise UserError.at(
                self.folder, f"has no {layout.LEDGER}: run --stage=label until it is finished"
            )
        self._specs = dict(task.records.spec())
        entries, count = [], self.ledger["shards"][0]["count"]
        shards = layout.shards_of(self.folder, self.ledger["records"], count)
        for shard in shards:
            index = shard.load_index()
            if index is None:
                raise layout.damaged(shard.index_path, "it is missing or not whole")
            entries.append(index)
        self._records = Records([shard.path for shard in shards], entries)
        self.check(source)

    def __len__(self) -> int:
        return len(self._records)

    def is_empty(self, index: int) -> bool:
        """Return whether an image has no record: it could not be read, or was not labeled."""
        return bool(self._records.locate(index)[1]["empty"])

    @functools.cached_property
    def filled(self) -> np.ndarray:
        """Positions of the records that are not empty."""
        empty = np.concatenate([entries["empty"] for entries in self._records.entries])
        return np.flatnonzero(~empty)

    def read(self, index: int) -> dict[str, Any]:
        """Return a record: {part: array of its spec's shape and dtype}.

        A scalar of dtype "bytes" is `bytes`, an array of them has dtype object.

        Raises:
            ValueError: the record is empty.
            DataError: the shard is damaged.
        """
        path, entry = self._records.locate(index)
        if entry["empty"]:
            raise ValueError(f"record {index} of {self.folder} is empty")
        try:
            image_id, parts = layout.parse(self._records.read(index), self._specs)
        except Exception as error:
            raise layout.damaged(path, f"record {index} cannot be read ({error})") from error
        if layout.id_hash(image_id) != int(entry["id_hash"]) or parts is None:
            raise layout.damaged(path, f"record {index} is not the one that its index describes")
        return parts

    @functools.cached_property
    def specs(self) -> dict[str, Spec]:
        """{part: Spec} of a record, without optional parts that this dataset was written without.

        An empty dataset has all of them.
        """
        if not len(self.filled):
            return self._specs
        found = self.read(int(self.filled[0]))
        return {name: spec for name, spec in self._specs.items() if name in found}

    def read_or_blank(self, index: int) -> dict[str, Any]:
        """Return `read`, or zeros for an empty record, of length 0 along a variable axis."""
        return layout.blank(self.specs) if self.is_empty(index) else self.read(index)

    def check(self, source: Source) -> None:
        """Raise UserError unless the dataset belongs to exactly these images, in their order."""
        if len(source) != len(self):
            raise UserError(
                f"{self.folder} has labels of {len(self)} images, the source has {len(source)}: "
                "choose another --workdir, or delete that folder to label again"
            )
        first = 0
        for entries in self._records.entries:
            index = layout.first_difference(entries, source, first)
            if index is not None:
                raise UserError(
                    f"{self.folder}: record {index} is not of image {source.image_id(index)!r}; "
                    "the source's images or their order changed: choose another --workdir, or "
                    "delete that folder to label again"
                )
            first += len(entries)


def verify(folder: str | os.PathLike[str], source: Source) -> list[str]:
    """Read all of a dataset and return what is wrong with it, a line each; [] if all is well.

    Compares every shard with the ledger's checksum, its index with the shard, the ids with the
    source's and the counts with the ledger's. `PseudoLabelWriter` writes a damaged shard again.
    """
    folder = pathlib.Path(folder)
    try:
        ledger = layout.load_ledger(folder)
    except DataError as error:
        return [str(error)]
    if ledger is None:
        return [f"{folder} has no {layout.LEDGER}: it is not finished"]
    problems, empty = [], 0
    if len(source) != ledger["records"]:
        problems.append(f"{ledger['records']} records, the source has {len(source)} images")
    shards = layout.shards_of(folder, ledger["records"], ledger["shards"][0]["count"])
    for shard, entry in zip(shards, ledger["shards"], strict=True):
        problem = shard.problem(entry["sha256"])
        if problem is not None:
            problems.append(problem)
            continue
        index = shard.load_index()
        empty += int(index["empty"].sum())
        common = index[: max(0, len(source) - shard.first)]
        number = layout.first_difference(common, source, shard.first)
        if number is not None:
            problems.append(
                f"{shard.path.name}: record {number} is not of image {source.image_id(number)!r}"
            )
    if not problems and empty != ledger["empty"]:
        problems.append(f"{empty} empty records, the ledger has {ledger['empty']}")
    return problems
