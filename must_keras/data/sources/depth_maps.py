"""Images with depth: counts of millimetres or another unit, or floats."""

from __future__ import annotations

import pathlib
from typing import Any

import numpy as np

from must_keras.data.folders import SUFFIXES, Path
from must_keras.data.images import read_array, read_exr, read_numbers
from must_keras.data.sources.paired import PairedFolders
from must_keras.data.sources.source import LabelSpace
from must_keras.errors import UserError

# Medians outside of this are most often counts in another unit.
_LIKELY_METRES = (0.02, 1000.0)


class DepthMaps(PairedFolders):
    """Images, and depths of the same names: along the camera's axis, 0 where unknown.

    A depth is a 16-bit PNG, a TIFF of 16 bits or of 32-bit floats, a NumPy array (.npy) [h, w], or
    an OpenEXR file of one channel or with a channel "Z". What is not finite or not positive is
    unknown.

    Args:
        name: of the source.
        images: the images' folder.
        depths: the depths' folder; an image without a depth is not labelled.
        head: the head that they label, in metres; None: images alone.
        metres_per_count: 0.001 where the files count millimetres; 1 / 5000 in TUM's, 1 / 256 in
            KITTI's; 1 where floats are metres.

    Raises:
        UserError: see PairedFolders; or a depth file has 8 bits a pixel, or its median is nearer
            than 2 cm or farther than 1 km: it looks like another unit.
    """

    label_key = "depth"
    label_suffixes = (*SUFFIXES, ".npy", ".exr")

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
        super().__init__(
            name=name, images=images, labels=depths, head=head, space=LabelSpace("metric")
        )
        self._metres_per_count = float(metres_per_count)

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"metres_per_count": self._metres_per_count}

    def read_label(self, path: pathlib.Path) -> np.ndarray:
        read = {".npy": read_array, ".exr": read_exr}.get(path.suffix.lower(), read_numbers)
        counts = read(path)
        if counts.dtype.itemsize < 2:
            raise UserError(f"{path} has 8 bits a pixel: expected a depth of 16 bits or floats")
        depth = counts.astype(np.float32) * np.float32(self._metres_per_count)
        known = np.isfinite(depth) & (depth > 0)
        if known.any():
            median = float(np.median(depth[known]))
            nearest, farthest = _LIKELY_METRES
            if not nearest <= median <= farthest:
                raise UserError(
                    f"{path}: its median depth is {median:.3g} m with metres_per_count="
                    f"{self._metres_per_count:g}, which looks like another unit; expected "
                    f"{nearest:g} to {farthest:g} m"
                )
        return np.where(known, depth, np.float32(0))
