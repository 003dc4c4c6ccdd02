"""Images in the order in which they were once listed, whatever has come and gone since."""

from __future__ import annotations

import functools
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from must_keras.data.sources.source import Source, Stored, without_keys
from must_keras.errors import UserError
from must_keras.files import file_sha256


class ListedFile(NamedTuple):
    """An image's file when it was listed.

    Attributes:
        image_id: of the image.
        size: bytes.
        sha256: of the bytes.
    """

    image_id: str
    size: int
    sha256: str

    @classmethod
    def of(cls, source: Source, index: int) -> ListedFile:
        """The entry of an image that has a file.

        Raises:
            UserError: the file cannot be read.
        """
        file = source.file(index)
        try:
            return cls(source.image_id(index), file.stat().st_size, file_sha256(file))
        except OSError as error:
            raise UserError(f"{file} cannot be read: {error.strerror}") from error


@functools.lru_cache(maxsize=1 << 16)
def _sha256_of(file: pathlib.Path, size: int, modified: int) -> str:
    """Of a file's bytes; read again only when its size or time has changed."""
    del size, modified
    return file_sha256(file)


class ListedFiles(Source):
    """The images of a source that a list names, in its order.

    An image that the source no longer has, or whose file has other bytes now, is gone: it has no
    label and cannot be read.

    Args:
        source: where the images are.
        files: the list.
        name: of the images.

    Attributes:
        files: the list.
        of: the name of the source.
    """

    def __init__(self, source: Source, files: Sequence[ListedFile], *, name: str):
        self.name, self.of = name, source.name
        self.label_spaces, self.has_scores = source.label_spaces, source.has_scores
        self._source, self.files = source, tuple(files)
        self._places = {source.image_id(i): i for i in range(len(source))}

    def __len__(self) -> int:
        return len(self.files)

    def image_id(self, index: int) -> str:
        return self.files[index].image_id

    def file(self, index: int) -> pathlib.Path | None:
        place = self._places.get(self.files[index].image_id)
        return None if place is None else self._source.file(place)

    def is_gone(self, index: int) -> bool:
        return self._why_gone(index) is not None

    def is_missing(self, index: int) -> bool:
        """Whether the file is not there or of another size: `is_gone` without reading it."""
        file = self.file(index)
        return file is None or not file.is_file() or file.stat().st_size != self.files[index].size

    def image(self, index: int) -> np.ndarray:
        reason = self._why_gone(index)
        if reason is not None:
            raise UserError(reason)
        return self._source.image(self._place(index))

    def labels(self, index: int) -> dict[str, Stored]:
        return {} if self.is_gone(index) else self._source.labels(self._place(index))

    def _place(self, index: int) -> int:
        return self._places[self.files[index].image_id]

    def _why_gone(self, index: int) -> str | None:
        listed, file = self.files[index], self.file(index)
        if file is None or not file.is_file():
            return f"source {self.name!r}: {listed.image_id} is gone since it was listed"
        state = file.stat()
        if state.st_size == listed.size and listed.sha256 == _sha256_of(
            file, state.st_size, state.st_mtime_ns
        ):
            return None
        return f"{file} has changed since it was listed"

    def describe(self) -> dict[str, Any]:
        # The list says which images there are.
        images = ("files", "images", "indices")
        labels = without_keys(self._source.describe(), images) if self.label_spaces else None
        return self.describe_images() | {"label_spaces": self.label_spaces, "labels": labels}

    def describe_images(self) -> dict[str, Any]:
        files = hashlib.sha256(json.dumps(self.files).encode()).hexdigest()
        return {"name": self.name, "files": files}
