"""Random access to the records of TFRecord files, by an index of their offsets."""

import os
import pathlib
import struct
from collections.abc import Sequence

import numpy as np

from must_keras.errors import DataError

# A record is its length (8 bytes, little-endian), a checksum (4), the payload, a checksum (4).
HEADER_BYTES, FOOTER_BYTES = 12, 4
# The position of a payload in its file, in bytes.
_ENTRY = np.dtype([("offset", "<i8"), ("length", "<i8")])


class Records:
    """The payloads of some TFRecord files, by their position in all of them.

    Threads may read at the same time, and no file stays open.

    Args:
        paths: the shards, in order.
        entries: for each shard a structured array with the fields "offset" and "length" of each
            payload, in bytes; None to scan the files once, from header to header.

    Attributes:
        entries: the structured arrays.

    Raises:
        DataError: a file that is scanned is absent, or ends in the middle of a record.

    Example:
        records = Records(sorted(folder.glob("scenes-train.tfrecord-*")))
        tf.train.Example.FromString(records.read(0))
    """

    def __init__(
        self, paths: Sequence[pathlib.Path | str], entries: Sequence[np.ndarray] | None = None
    ):
        self._paths = [pathlib.Path(path) for path in paths]
        self.entries = [scan(p) for p in self._paths] if entries is None else list(entries)
        self._firsts = np.cumsum([0, *map(len, self.entries)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def locate(self, index: int) -> tuple[pathlib.Path, np.void]:
        """Return the file of a record, and its entry.

        Raises:
            IndexError: there is no such record.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        shard = self._firsts.searchsorted(index, side="right") - 1
        return self._paths[shard], self.entries[shard][index - self._firsts[shard]]

    def read(self, index: int) -> bytes:
        """Return the payload of a record."""
        path, entry = self.locate(index)
        # Opened each time: the number of open files does not grow with the shards.
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return os.pread(descriptor, int(entry["length"]), int(entry["offset"]))
        finally:
            os.close(descriptor)


def scan(path: pathlib.Path) -> np.ndarray:
    """Return the "offset" and "length" of each payload of a file: a structured array [n].

    Raises:
        DataError: the file is absent, or ends in the middle of a record.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}", path=path)
    found, position, end = [], 0, path.stat().st_size
    with path.open("rb", buffering=0) as file:  # A buffer would read the payloads too.
        while position < end:
            file.seek(position)
            header = file.read(HEADER_BYTES)
            length = struct.unpack("<Q", header[:8])[0] if len(header) == HEADER_BYTES else end
            if position + HEADER_BYTES + length + FOOTER_BYTES > end:
                raise DataError.at(path, f"ends in the middle of record {len(found)}")
            found.append((position + HEADER_BYTES, length))
            position += HEADER_BYTES + length + FOOTER_BYTES
    return np.array(found, _ENTRY)
