"""Images in tar archives: a pool in shards, as WebDataset has it."""

import pathlib
import posixpath
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.data.io.folders import SUFFIXES, Path, files_of
from must_keras.data.io.images import read_image_bytes
from must_keras.data.io.notices import Notices
from must_keras.data.io.pixel_bits import check_bits
from must_keras.data.io.tar_files import TarIndex
from must_keras.data.sources.source import Source, Stored
from must_keras.errors import UserError
from must_keras.files import list_sha256


class TarShards(Source):
    """The pictures in tar archives, in the order of the archives and of their files.

    The headers of the archives are read once, at the start; each picture is then read where it
    lies. Other files in them, labels for example, are not read. An image's id is
    "<name of the archive without .tar>/<name in it>".

    Args:
        name: of the source.
        shards: the archives, which are not compressed, a folder whose .tar files they are, or a
            pattern of their names, `shards/train-*.tar`.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Raises:
        UserError: an archive is absent, compressed, truncated or none; there is no picture in it;
            or two have one name.

    Example:
        mk.Pool(source=mk.TarShards(name="web", shards="shards"))
    """

    def __init__(self, *, name: str, shards: Path | Sequence[Path], bits: int | None = None):
        check_bits(f"source {name!r}", bits)
        self.name, self.label_spaces, self._bits = name, {}, bits
        self._notices = Notices(f"source {name!r}")
        paths = files_of(shards, suffix=".tar", noun="archive", key="shards")
        self._shards = [TarIndex(path, _is_picture) for path in paths]
        self._stems = [shard.path.name.removesuffix(".tar") for shard in self._shards]
        twice = next((s for s in self._stems if self._stems.count(s) > 1), None)
        if twice is not None:
            raise UserError(f"source {name!r}: two archives are called {twice!r}: rename one")
        for shard in self._shards:
            if not len(shard):
                raise UserError.at(shard.path, f"holds no picture ({', '.join(SUFFIXES[:4])}, ...)")
        self._firsts = np.cumsum([0, *map(len, self._shards)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def _locate(self, index: int) -> tuple[int, int]:
        """Return the number of an image's archive, and its place there."""
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in source {self.name!r}")
        shard = int(self._firsts.searchsorted(index, side="right")) - 1
        return shard, index - int(self._firsts[shard])

    def image_id(self, index: int) -> str:
        shard, place = self._locate(index)
        return posixpath.join(self._stems[shard], self._shards[shard].names[place])

    def folders(self) -> frozenset[pathlib.Path]:
        return frozenset(shard.path.parent for shard in self._shards)

    def image(self, index: int) -> np.ndarray:
        shard, place = self._locate(index)
        archive = self._shards[shard]
        where = f"{archive.path}: {archive.names[place]}"
        data = archive.read(place)
        return read_image_bytes(data, where, bits=self._bits, notices=self._notices)

    def labels(self, index: int) -> dict[str, Stored]:
        return {}

    def describe(self) -> dict[str, Any]:
        files = (
            [stem, name, shard.size(place)]
            for stem, shard in zip(self._stems, self._shards, strict=True)
            for place, name in enumerate(shard.names)
        )
        bits = {} if self._bits is None else {"bits": self._bits}
        return {"name": self.name, "files": list_sha256(files)} | bits


def _is_picture(name: str) -> bool:
    is_hidden = posixpath.basename(name).startswith(".")
    return name.lower().endswith(SUFFIXES) and not is_hidden
