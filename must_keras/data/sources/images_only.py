"""A folder of images and nothing else: a pool for the teachers to label."""

from __future__ import annotations

import pathlib
from typing import Any

from must_keras.data.io.folders import Path, existing_folder, picture_files
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import Stored


class ImagesOnly(ImageFiles):
    """The pictures of a folder and of the folders in it, sorted by path.

    Args:
        name: of the source.
        root: the folder.
        bits: that pixels of more than 8 bits use; see images.read_image.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """

    def __init__(self, *, name: str, root: Path, bits: int | None = None):
        folder = existing_folder(root)
        super().__init__(
            name=name, root=folder, files=picture_files(folder), label_spaces={}, bits=bits
        )

    def labels(self, index: int) -> dict[str, Stored]:
        return {}

    def folders(self) -> frozenset[pathlib.Path]:
        return super().folders() | {self._root}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "files": self._image_digest,
        } | self.describe_reading()
