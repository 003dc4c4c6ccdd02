"""Pictures with the amount of detail of photos, and maps beside them."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 480, 640


def write_photos(folder: pathlib.Path, count: int) -> pathlib.Path:
    """JPEG files of 480 x 640 pixels, four bits a pixel as COCO's have."""
    folder.mkdir(parents=True)
    for i in range(count):
        Image.fromarray(photo(i)).save(folder / f"{i:04}.jpg", quality=90)
    return folder


def photo(number: int) -> np.ndarray:
    """One of these pictures before it is a file, [480, 640, 3] uint8."""
    random = np.random.default_rng(number)
    coarse = random.integers(0, 256, (30, 40, 3)).astype(np.uint8)
    smooth = _enlarged(coarse, Image.Resampling.BICUBIC)
    noisy = smooth + random.normal(0.0, 16.0, smooth.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def write_maps(folder: pathlib.Path, count: int, *, num_classes: int) -> pathlib.Path:
    """PNG files of 480 x 640 pixels, each the number of a class; areas of about 50 pixels."""
    folder.mkdir(parents=True)
    for i in range(count):
        coarse = np.random.default_rng(i).integers(0, num_classes, (10, 13)).astype(np.uint8)
        Image.fromarray(_enlarged(coarse, Image.Resampling.NEAREST)).save(folder / f"{i:04}.png")
    return folder


def _enlarged(coarse: np.ndarray, how: Image.Resampling) -> np.ndarray:
    return np.asarray(Image.fromarray(coarse).resize((WIDTH, HEIGHT), how))
