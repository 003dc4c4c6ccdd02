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
        DataError: a file is not there, or ends in the middle of a record.
    """

    def __init__(self, paths: Sequence[pathlib.Path]):
        self._paths = [pathlib.Path(path) for path in paths]
        found = [_scan(path) for path in self._paths]
        shards = np.repeat(np.arange(len(found)), [len(entries) for entries in found])
        self._index = np.column_stack(
            [shards, np.concatenate([np.zeros((0, 2), np.int64), *found])]
        )

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


def _scan(path: pathlib.Path) -> np.ndarray:
    """[n, 2] int64: offset and length of each payload."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    found, position, end = [], 0, path.stat().st_size
    with path.open("rb", buffering=0) as file:  # A buffer would read what is jumped over.
        while position < end:
            file.seek(position)
            header = file.read(_HEADER)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == _HEADER else end
            if position + _HEADER + length + _FOOTER > end:
                raise DataError(f"{path} ends in the middle of record {len(found)}")
            found.append((position + _HEADER, length))
            position += _HEADER + length + _FOOTER
    return np.array(found, np.int64).reshape(-1, 2)
