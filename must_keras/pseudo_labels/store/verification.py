"""Whether a column on the disk is still what was written."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import numpy as np

from must_keras.errors import DataError
from must_keras.files import file_sha256
from must_keras.pseudo_labels.store import layout, record
from must_keras.pseudo_labels.store.layout import Shard
from must_keras.pseudo_labels.store.reader import Images


def verify(folder: str | os.PathLike[str], source: Images) -> list[str]:
    """Reads all of a column and says what is wrong with it, a line each; [] where all is well.

    Compares every shard with the ledger's checksum, its index with the shard, the ids with the
    source's and the counts with the ledger's. `PseudoLabelWriter` makes a damaged shard again.
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
    shards = layout.shards_of(ledger["records"], ledger["shards"][0]["count"])
    for shard, told in zip(shards, ledger["shards"], strict=True):
        problem = shard_problem(folder, shard, told["sha256"])
        if problem is not None:
            problems.append(problem)
            continue
        index = layout.load_index(folder, shard)
        empty += int(index["empty"].sum())
        common = index[: max(0, len(source) - shard.first)]
        place = layout.first_difference(common, lambda i, s=shard: source.image_id(s.first + i))
        if place is not None:
            number = shard.first + place
            problems.append(
                f"{shard.name}: record {number} is not of image {source.image_id(number)!r}"
            )
    if not problems and empty != ledger["empty"]:
        problems.append(f"{empty} empty records, the ledger says {ledger['empty']}")
    return problems


def shard_problem(folder: pathlib.Path, shard: Shard, sha256: str) -> str | None:
    """What is wrong with a shard or its index; None where both are as they were written."""
    path = folder / shard.name
    if not path.is_file():
        return f"{shard.name} is missing"
    if file_sha256(path) != sha256:
        return f"{shard.name}: its bytes are not those that were written"
    index = layout.load_index(folder, shard)
    entries = np.array(list(_entries(path)), layout.INDEX_DTYPE)
    if index is None or not np.array_equal(index, entries):
        return f"{shard.index_name} does not describe {shard.name}"
    return None


def _entries(path: pathlib.Path) -> Iterator[tuple[int, int, int, bool]]:
    """The index of a shard, from its bytes, which are known to be right."""
    with open(path, "rb") as file:
        while header := file.read(layout.HEADER):
            length = int.from_bytes(header[:8], "little")
            offset = file.tell()
            image_id, is_empty = record.identity(file.read(length))
            yield offset, length, layout.id_hash(image_id), is_empty
            file.seek(layout.FOOTER, os.SEEK_CUR)
