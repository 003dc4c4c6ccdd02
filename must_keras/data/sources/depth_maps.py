"""Images with depth: pictures that count millimetres, or another unit."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from must_keras.data.folders import PairedFolders, Path
from must_keras.data.images import read_numbers
from must_keras.data.sources.source import LabelSpace, Source, Stored, spaces
from must_keras.errors import UserError


class DepthMaps(Source):
    """Images, and 16-bit PNGs of the same names: depth along the camera's axis, 0 where unknown.

    TIFFs of 32-bit floats will do; what is not finite or not positive is unknown.

    Args:
        name: of the source.
        images: the images' folder.
        depths: the depths' folder; an image without a depth is not labelled.
        head: the head that they label, in metres; None: images alone.
        metres_per_count: 0.001 where the files count millimetres; 1 / 5000 in TUM's, 1 / 256 in
            KITTI's; 1 where floats are metres.

    Raises:
        UserError: see PairedFolders; or a depth file has 8 bits a pixel.
    """

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        depths: Path,
        head: str | None,
        metres_per_count: float = 0.001,
    ):
        if not metres_per_count > 0:
            raise UserError(
                f"source {name!r}: metres_per_count must be positive, received {metres_per_count}"
            )
        self.name = name
        self._pairs = PairedFolders(images, depths)
        self._metres_per_count = float(metres_per_count)
        self.label_spaces = spaces(head, LabelSpace("metric"))

    def __len__(self) -> int:
        return len(self._pairs)

    def image_id(self, index: int) -> str:
        return self._pairs.names[index]

    def image(self, index: int) -> np.ndarray:
        return self._pairs.image(index)

    def labels(self, index: int) -> dict[str, Stored]:
        if not self.label_spaces:
            return {}
        found = self._pairs.read_label(index, self._read)
        return {} if found is None else {head: {"depth": found} for head in self.label_spaces}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "metres_per_count": self._metres_per_count,
            **self._pairs.describe(),
        }

    def _read(self, path: pathlib.Path) -> np.ndarray:
        counts = read_numbers(path)
        if counts.dtype.itemsize < 2:
            raise UserError(f"{path} has 8 bits a pixel: expected a depth of 16 bits or floats")
        depth = counts.astype(np.float32) * np.float32(self._metres_per_count)
        return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
