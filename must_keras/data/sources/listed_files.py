"""Images in the order in which they were once listed, whatever has come and gone since."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from must_keras.data.sources.source import Source, Stored
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


class ListedFiles(Source):
    """The images of a source that a list names, in its order.

    An image that the source no longer has, or whose file has another size now, cannot be read.

    Args:
        source: where the images are.
        files: the list.
        name: of the images.
    """

    def __init__(self, source: Source, files: Sequence[ListedFile], *, name: str):
        self.name = name
        self.label_spaces = source.label_spaces
        self._source, self._files = source, tuple(files)
        self._places = {source.image_id(i): i for i in range(len(source))}

    def __len__(self) -> int:
        return len(self._files)

    def image_id(self, index: int) -> str:
        return self._files[index].image_id

    def file(self, index: int) -> pathlib.Path | None:
        place = self._places.get(self._files[index].image_id)
        return None if place is None else self._source.file(place)

    def image(self, index: int) -> np.ndarray:
        listed, file = self._files[index], self.file(index)
        if file is None or not file.is_file():
            raise UserError(f"source {self.name!r}: {listed.image_id} is gone since it was listed")
        size = file.stat().st_size
        if size != listed.size:
            raise UserError(
                f"{file} has changed since it was listed: {size} bytes, then {listed.size}"
            )
        return self._source.image(self._places[listed.image_id])

    def labels(self, index: int) -> dict[str, Stored]:
        place = self._places.get(self._files[index].image_id)
        return {} if place is None else self._source.labels(place)

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "files": hashlib.sha256(json.dumps(self._files).encode()).hexdigest(),
        }
