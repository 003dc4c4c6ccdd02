"""A folder of images and nothing else: a pool for the teachers to label."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from must_keras.data.folders import Path, content_digest, existing_folder, picture_files
from must_keras.data.images import read_image
from must_keras.data.sources.source import Source, Stored


class ImagesOnly(Source):
    """The pictures of a folder and of the folders in it, sorted by path.

    Args:
        name: of the source.
        root: the folder.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """

    def __init__(self, *, name: str, root: Path):
        self.name = name
        self.label_spaces = {}
        self._root = existing_folder(root)
        self._files = picture_files(root)

    def __len__(self) -> int:
        return len(self._files)

    def image_id(self, index: int) -> str:
        return self._files[index]

    def file(self, index: int) -> pathlib.Path:
        return self._root / self._files[index]

    def image(self, index: int) -> np.ndarray:
        return read_image(self.file(index))

    def labels(self, index: int) -> dict[str, Stored]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "files": content_digest(self._root, self._files)}
