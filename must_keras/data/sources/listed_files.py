"""Images in the order of a list, whatever files have come and gone since it was made."""

import array
import functools
import pathlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple, Self

import numpy as np

from must_keras.data.sources.source import Source, Stored, without_keys
from must_keras.errors import UserError
from must_keras.files import file_sha256, list_sha256

_NO_DIGEST = "0" * 64


class ListedFile(NamedTuple):
    """An image's file when it was listed.

    Attributes:
        image_id: of the image.
        size: bytes.
        sha256: of the bytes.

    Example:
        [ListedFile.of(source, i) for i in range(len(source))]
    """

    image_id: str
    size: int
    sha256: str

    @classmethod
    def of(cls, source: Source, index: int, *, reads: bool = True) -> Self:
        """Return the entry of an image that has a file.

        Args:
            source: of the image.
            index: of the image.
            reads: whether the file is opened; otherwise, as for a cost estimate, its digest is
                zeros.

        Raises:
            UserError: the file cannot be read.
        """
        file = source.file(index)
        try:
            size, digest = file.stat().st_size, file_sha256(file) if reads else _NO_DIGEST
            return cls(source.image_id(index), size, digest)
        except OSError as error:
            raise UserError.at(file, f"cannot be read: {error.strerror}") from error


class ListedFiles(Source):
    """The images of a source that a list names, in its order.

    An image that the source no longer has, or whose file has other bytes now, is gone: it has no
    label and cannot be read. 56 bytes an image are kept in memory besides the source's own.

    Args:
        source: the images.
        files: the list, read once.
        name: of the listed images.

    Attributes:
        of: the name of the source.
        source: the images.

    Example:
        files = [ListedFile.of(photos, i) for i in range(len(photos))]
        ListedFiles(photos, files, name="photos")
    """

    def __init__(self, source: Source, files: Iterable[ListedFile], *, name: str):
        self.name, self.of = name, source.name
        self.label_spaces, self.has_scores = source.label_spaces, source.has_scores
        self.source = source
        known = {source.image_id(i): i for i in range(len(source))}
        places, sizes, digests = array.array("q"), array.array("q"), bytearray()
        # Ids of the images that the source no longer has.
        self._lost: dict[int, str] = {}
        for index, file in enumerate(files):
            places.append(known.get(file.image_id, -1))
            if places[-1] < 0:
                self._lost[index] = file.image_id
            sizes.append(file.size)
            digests += bytes.fromhex(file.sha256)
        self._places, self._sizes = (np.array(values, np.int64) for values in (places, sizes))
        self._sha256 = bytes(digests)
        # The file's time of change when its bytes were found to be the listed ones.
        self._right = np.full(len(places), -1, np.int64)

    def __len__(self) -> int:
        return len(self._places)

    def files(self) -> Iterator[ListedFile]:
        """Return the entries of the list."""
        return map(self._listed, range(len(self)))

    def _listed(self, index: int) -> ListedFile:
        digest = self._sha256[32 * index : 32 * (index + 1)]
        return ListedFile(self.image_id(index), int(self._sizes[index]), digest.hex())

    def image_id(self, index: int) -> str:
        place = int(self._places[index])
        return self.source.image_id(place) if place >= 0 else self._lost[index]

    def file(self, index: int) -> pathlib.Path | None:
        place = int(self._places[index])
        return self.source.file(place) if place >= 0 else None

    def folders(self) -> frozenset[pathlib.Path]:
        return self.source.folders()

    def is_gone(self, index: int) -> bool:
        return self._why_gone(index) is not None

    def is_missing(self, index: int) -> bool:
        """Return whether the file is absent or of another size: `is_gone` without reading it."""
        file = self.file(index)
        return file is None or not file.is_file() or file.stat().st_size != self._sizes[index]

    def image(self, index: int) -> np.ndarray:
        reason = self._why_gone(index)
        if reason is not None:
            raise UserError(reason)
        return self.source.image(int(self._places[index]))

    def labels(self, index: int) -> dict[str, Stored]:
        return {} if self.is_gone(index) else self.source.labels(int(self._places[index]))

    def labeled_heads(self, index: int) -> Collection[str]:
        place = int(self._places[index])
        return self.source.labeled_heads(place) if place >= 0 else ()

    def _why_gone(self, index: int) -> str | None:
        file = self.file(index)
        if file is None or not file.is_file():
            return f"source {self.name!r}: {self.image_id(index)} is gone since it was listed"
        state = file.stat()
        if state.st_size == self._sizes[index]:
            # Read again only when its time has changed.
            if state.st_mtime_ns == self._right[index]:
                return None
            if file_sha256(file) == self._listed(index).sha256:
                self._right[index] = state.st_mtime_ns
                return None
        return f"{file} has changed since it was listed"

    def describe(self) -> dict[str, Any]:
        # The list determines the images, and so how they are read.
        images = ("files", "images", "indices", "tiff")
        labels = without_keys(self.source.describe(), images) if self.label_spaces else None
        return self.describe_images() | {"label_spaces": self.label_spaces, "labels": labels}

    def describe_images(self) -> dict[str, Any]:
        # Of the list alone: images that come or go later change nothing.
        reading = self.source.describe_reading([self.image_id(i) for i in range(len(self))])
        return {"name": self.name, "files": self._list_digest} | reading

    @functools.cached_property
    def _list_digest(self) -> str:
        # Cached: a run describes its sources many times, and a list of a million takes seconds.
        return list_sha256(self.files())


def pool_name(source: Source) -> str:
    """Return the pool's own name, of each of its blocks (see runs.pools)."""
    return source.of if isinstance(source, ListedFiles) else source.name


def unlisted(source: Source) -> Source:
    """Return the source whose files a list names, or the source itself where there is no list."""
    return source.source if isinstance(source, ListedFiles) else source
