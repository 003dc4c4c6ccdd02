"""What all sources whose images are files below a folder have in common."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from must_keras.data.images import read_image
from must_keras.data.sources.source import LabelSpace, Source


class ImageFiles(Source):
    """Images by their relative paths, which are their ids; a subclass says what is labelled.

    Args:
        name: of the source.
        root: the images' folder.
        files: relative paths, in the order of the indices.
        label_spaces: see Source.
    """

    def __init__(
        self,
        *,
        name: str,
        root: pathlib.Path,
        files: Sequence[str],
        label_spaces: Mapping[str, LabelSpace],
    ):
        self.name, self.label_spaces = name, label_spaces
        self._root, self._files = root, files

    def __len__(self) -> int:
        return len(self._files)

    def image_id(self, index: int) -> str:
        return self._files[index]

    def file(self, index: int) -> pathlib.Path:
        return self._root / self._files[index]

    def image(self, index: int) -> np.ndarray:
        return read_image(self.file(index))
