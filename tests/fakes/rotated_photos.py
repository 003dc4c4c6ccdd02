"""Pictures that are stored turned, with the EXIF orientation that turns them upright."""

import pathlib

import numpy as np
from PIL import Image

ORIENTATIONS = tuple(range(1, 9))
# What each orientation undoes, as the EXIF standard (2.3, table 6) has it.
_STORED_FROM_UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: np.swapaxes(a, 0, 1),
    6: lambda a: np.rot90(a),
    7: lambda a: np.swapaxes(a[::-1, ::-1], 0, 1),
    8: lambda a: np.rot90(a, -1),
}


def save_turned(path: pathlib.Path, upright: np.ndarray, orientation: int) -> tuple[int, int]:
    """Store a picture turned; the (height, width) of its pixels as stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = np.ascontiguousarray(_STORED_FROM_UPRIGHT[orientation](upright))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stored).save(path, exif=exif)
    return stored.shape[:2]
