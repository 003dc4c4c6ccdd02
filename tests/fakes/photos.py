"""Pictures that resemble photographs in having large and small shapes, and each other in nothing."""

import io

import numpy as np
from PIL import Image


def picture(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """[height, width, 3] uint8."""
    random = np.random.default_rng(seed)
    layers = [
        np.asarray(
            Image.fromarray(random.integers(0, 256, (cells, cells, 3)).astype(np.uint8)).resize(
                (width, height), Image.Resampling.BICUBIC
            ),
            np.float32,
        )
        for cells in (3, 6, 12)
    ]
    return np.round(np.average(layers, axis=0, weights=(4, 2, 1))).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int = 50) -> np.ndarray:
    """The image as it comes out of a JPEG file."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def resized(image: np.ndarray, factor: float) -> np.ndarray:
    """The image times a factor a side."""
    height, width = image.shape[:2]
    size = round(width * factor), round(height * factor)
    return np.asarray(Image.fromarray(image).resize(size))
