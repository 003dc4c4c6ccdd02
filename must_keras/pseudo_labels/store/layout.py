"""The files of a label column.

labels-train.tfrecord-00000-of-00003   TFRecord shards of fixed index ranges
index-00000-of-00003.npy               beside each shard: where its records are
started.json                           what the labels are made from
features.json, dataset_info.json       make a TFDS data set of it
ledger.json                            written last: what is in the column
"""

from __future__ import annotations

import hashlib
import os
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from must_keras import arrays, errors
from must_keras.errors import DataError, UserError
from must_keras.files import find_json

LEDGER = "ledger.json"
SPLIT = "train"
_SHARD = "labels-" + SPLIT + ".tfrecord-{:05d}-of-{:05d}"
_INDEX = "index-{:05d}-of-{:05d}.npy"
# A TFRecord: length (8 bytes), its checksum (4), the payload, its checksum (4).
HEADER = 12
FOOTER = 4

# One entry a record: the payload's place in its shard in bytes, the first 8 bytes of the SHA-256
# of the image's id (so that a column is compared with a source without reading the shards), and
# whether the record is empty.
_LEDGER_FORM = {"records": int, "empty": int, "shards": list, "teacher_sha256": str}
INDEX_DTYPE = np.dtype([("offset", "<i8"), ("length", "<i8"), ("id_hash", "<u8"), ("empty", "?")])


class Shard(NamedTuple):
    """A shard and its range of records, [first, first + count)."""

    name: str
    index_name: str
    first: int
    count: int


def shards_of(num_records: int, records_per_shard: int) -> list[Shard]:
    """All shards of a column, in order; the last may be smaller."""
    total = -(-num_records // records_per_shard)
    return [
        Shard(
            _SHARD.format(i, total),
            _INDEX.format(i, total),
            i * records_per_shard,
            min(records_per_shard, num_records - i * records_per_shard),
        )
        for i in range(total)
    ]


def id_hash(image_id: str) -> int:
    """The first 8 bytes of the SHA-256 of an image's id, little-endian."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "little")


def load_index(folder: pathlib.Path, shard: Shard) -> np.ndarray | None:
    """The index of a shard, [count] of INDEX_DTYPE; None where there is no whole one."""
    path = folder / shard.index_name
    try:
        index = arrays.read_array(path, INDEX_DTYPE, (shard.count,), remedy=_remedy(folder))
    except (DataError, UserError):
        return None
    offsets, lengths = index["offset"], index["length"]
    # Records lie one behind the other: no other place is read, nor more bytes than the shard has.
    follow = offsets[1:] == offsets[:-1] + lengths[:-1] + FOOTER + HEADER
    right = offsets[0] == HEADER and lengths.min() >= 0 and follow.all()
    return index if right else None


def first_difference(index: np.ndarray, image_id: Callable[[int], str]) -> int | None:
    """The first place whose id is not that of the image there; None where all agree."""
    for place, expected in enumerate(index["id_hash"].tolist()):
        if id_hash(image_id(place)) != expected:
            return place
    return None


def has_indexed_size(folder: pathlib.Path, shard: Shard, index: np.ndarray | None) -> bool:
    """Whether a shard is there, with the number of bytes that its index expects."""
    try:
        size = os.stat(folder / shard.name).st_size
    except OSError:
        return False
    return index is not None and size == int(index["offset"][-1] + index["length"][-1]) + FOOTER


def load_ledger(folder: pathlib.Path) -> dict[str, Any] | None:
    """What ledger.json says; None while the column is not finished.

    Raises:
        DataError: it cannot be right.
    """
    path = folder / LEDGER
    ledger = find_json(path, form=_LEDGER_FORM, remedy=_remedy(folder))
    if ledger is None:
        return None
    records, shards = ledger["records"], ledger["shards"]
    for number, shard in enumerate(shards):
        for key, kind in (("name", str), ("first", int), ("count", int), ("sha256", str)):
            value = shard.get(key) if isinstance(shard, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise damaged(path, f"shard {number} has {key} = {value!r}")
    count = shards[0]["count"] if shards else 0
    # Their number first: a list of all shards of 10^18 records would fill the memory.
    is_whole = (
        count > 0
        and -(-records // count) == len(shards)
        and [(shard["name"], shard["first"], shard["count"]) for shard in shards]
        == [(s.name, s.first, s.count) for s in shards_of(records, count)]
    )
    if not is_whole:
        raise damaged(path, "its shards are not those of its records")
    return ledger


def damaged(path: pathlib.Path, what: str) -> DataError:
    """The error that says which file of a column is damaged, and the way out."""
    return errors.damaged(path, what, remedy=_remedy(path.parent))


def _remedy(folder: pathlib.Path) -> str:
    return f"delete {folder} to label again"
