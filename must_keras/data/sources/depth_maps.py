"""Images with depth: counts of millimeters or another unit, or floats."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.data.io.depth_codes import DepthValues
from must_keras.data.io.folders import SUFFIXES, Path
from must_keras.data.io.images import read_array, read_exr, read_numbers
from must_keras.data.sources.paired import PairedFolders
from must_keras.data.sources.source import LabelSpace


class DepthMaps(PairedFolders):
    """Images, and depths of the same names: along the camera's axis, 0 where unknown.

    A depth is a 16-bit PNG, a TIFF of 16 bits or of 32-bit floats, a NumPy array (.npy) [h, w], or
    an OpenEXR file of one channel or with a channel "Z". What is not finite or not positive is
    unknown, and so is the largest number of 16 bits (65535) and of other types, see `unknown`.

    Args:
        name: of the source.
        images: the images' folder.
        depths: the depths' folder; an image without a depth is not labeled.
        head: the head that they label, in meters; None: images alone.
        depth_scale: 0.001 where the files count millimeters; 1 / 5000 in TUM's, 1 / 256 in
            KITTI's; 1 where floats are meters.
        unknown: numbers, as in the files, that stand for unknown besides what is not finite or not
            positive; None: 65535 of 16 bits, 65504 of half floats, the largest of 32 bits, and of
            floats 1e9 and more; () for none of them.
        bits: that the images' pixels use; see images.read_image.

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
        depth_scale: float = 0.001,
        unknown: Sequence[float] | None = None,
        bits: int | None = None,
    ):
        self._values = DepthValues(f"source {name!r}", depth_scale, unknown)
        super().__init__(
            name=name,
            images=images,
            labels=depths,
            head=head,
            space=LabelSpace("metric"),
            bits=bits,
        )

    def describe(self) -> dict[str, Any]:
        unit = {"depth_scale": self._values.depth_scale}
        return super().describe() | unit | self._values.describe()

    def read_label(self, path: pathlib.Path) -> np.ndarray:
        read = {".npy": read_array, ".exr": read_exr}.get(path.suffix.lower(), read_numbers)
        return self._values.meters(read(path), where=str(path), notices=self.notices)
