"""Random access to TFRecord files, which have none."""

from __future__ import annotations

import os
import pathlib
import struct
from collections.abc import Sequence

import numpy as np

from must_keras.errors import DataError

# A record is its length (8 bytes, little-endian), a checksum (4), the payload, a checksum (4).
_HEADER, _FOOTER = 12, 4


class Records:
    """The records of some TFRecord files, by their position.

    The files are scanned once, from header to header. Safe to use from several threads.

    Args:
        paths: the shards, in order.

    Raises:
        DataError: a file ends in the middle of a record.
    """

    def __init__(self, paths: Sequence[pathlib.Path]):
        self._paths = [pathlib.Path(path) for path in paths]
        entries = [
            (shard, offset, length)
            for shard, path in enumerate(self._paths)
            for offset, length in _scan(path)
        ]
        self._index = np.array(entries, np.int64).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self._index)

    def read(self, index: int) -> bytes:
        """The payload of one record."""
        shard, offset, length = (int(v) for v in self._index[index])
        descriptor = os.open(self._paths[shard], os.O_RDONLY)
        try:
            return os.pread(descriptor, length, offset)
        finally:
            os.close(descriptor)


def _scan(path: pathlib.Path) -> list[tuple[int, int]]:
    """(offset, length) of each payload."""
    found, position, end = [], 0, path.stat().st_size
    with path.open("rb") as file:
        while position < end:
            file.seek(position)
            header = file.read(_HEADER)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else end
            if position + _HEADER + length + _FOOTER > end:
                raise DataError(f"{path} ends in the middle of record {len(found)}")
            found.append((position + _HEADER, length))
            position += _HEADER + length + _FOOTER
    return found
