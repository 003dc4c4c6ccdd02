"""Random access to the files in tar archives, by an index of their offsets."""

import array
import os
import pathlib
import tarfile
from collections.abc import Callable

from must_keras.errors import UserError

_BLOCK = 512


class TarIndex:
    """The files of one tar archive that are kept, in its order.

    Threads may read at the same time, and no file stays open. Two numbers and a name a file are
    kept in memory.

    Args:
        path: of the archive, which is not compressed.
        is_kept: whether a file of a name is kept.

    Attributes:
        path: of the archive.
        names: of the files that are kept.

    Raises:
        UserError: it is no archive, is compressed or truncated, or has a name twice.

    Example:
        index = TarIndex(pathlib.Path("pool-000.tar"), lambda name: name.endswith(".jpg"))
        index.read(0)[:3]
    """

    def __init__(self, path: pathlib.Path, is_kept: Callable[[str], bool]):
        self.path, self.names = path, list[str]()
        self._offsets, self._sizes = array.array("q"), array.array("q")
        try:
            end, size = self._scan(is_kept), path.stat().st_size
        except FileNotFoundError:
            raise UserError(f"there is no file {path}", path=path) from None
        except OSError as error:
            raise UserError.at(path, f"cannot be read: {error.strerror}") from None
        except tarfile.TarError as error:
            raise UserError.at(path, f"cannot be read as a tar archive: {error}") from None
        # A whole archive ends with two blocks of zeros.
        if end + _BLOCK > size:
            raise UserError.at(
                path, f"is truncated: it ends after {size} bytes, within or right behind a file"
            )
        twice = len(self.names) - len(set(self.names))
        if twice:
            seen: set[str] = set()
            name = next(n for n in self.names if n in seen or seen.add(n))
            raise UserError.at(path, f"has two files {name!r}: different names are expected")

    def _scan(self, is_kept: Callable[[str], bool]) -> int:
        """Index the archive; return where its last member ends."""
        with _opened(self.path) as file:
            end = 0
            for member in file:
                blocks = -(-member.size // _BLOCK) if member.isreg() else 0
                end = member.offset_data + blocks * _BLOCK
                if member.isreg() and is_kept(member.name):
                    self.names.append(member.name.removeprefix("./"))
                    self._offsets.append(member.offset_data)
                    self._sizes.append(member.size)
                # tarfile keeps every member that it has read.
                file.members = []
            return end

    def __len__(self) -> int:
        return len(self.names)

    def size(self, index: int) -> int:
        """Return the bytes of a file."""
        return self._sizes[index]

    def read(self, index: int) -> bytes:
        """Return the content of a file.

        Raises:
            UserError: the archive is gone, or shorter than it was.
        """
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                data = os.pread(descriptor, self._sizes[index], self._offsets[index])
            finally:
                os.close(descriptor)
        except OSError as error:
            raise UserError.at(self.path, f"cannot be read: {error.strerror}") from None
        if len(data) < self._sizes[index]:
            raise UserError.at(self.path, f"has changed: {self.names[index]} is no longer whole")
        return data


def _opened(path: pathlib.Path) -> tarfile.TarFile:
    """Open an archive that is not compressed.

    Raises:
        UserError: it is compressed.
        tarfile.TarError: it is none.
    """
    try:
        return tarfile.open(path, "r:")
    except tarfile.ReadError:
        with path.open("rb") as file:
            start = file.read(4)
        packed = {b"\x1f\x8b": "gunzip", b"BZ": "bunzip2", b"\xfd7": "unxz", b"\x28\xb5": "unzstd"}
        if start[:2] not in packed:
            raise
        command = packed[start[:2]]
        raise UserError.at(
            path, f"is compressed, and cannot be read at any place: {command} it first"
        ) from None
