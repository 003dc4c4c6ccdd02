"""What the tasks' pictures for people share: size and colors."""

from __future__ import annotations

import colorsys
import functools
import importlib.util
import pathlib

import numpy as np
from PIL import ImageFont

_SHORTEST_SIDE = 160
# Pixels of the longer side beyond which nothing is enlarged: a line of 1 x 100,000 stays one.
_LONGEST_SIDE = 4096
# Hues that follow each other by the golden ratio never come close.
_GOLDEN = 0.618034


@functools.cache
def font(size: int = 10) -> ImageFont.FreeTypeFont:
    """A font with the letters of most languages: Pillow's own has few accents."""
    folder = pathlib.Path(importlib.util.find_spec("matplotlib").origin).parent
    return ImageFont.truetype(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def enlargement(height: int, width: int) -> int:
    """The whole factor by which a small picture grows so that a person can see it."""
    wanted = -(-_SHORTEST_SIDE // min(height, width))
    return max(1, min(wanted, _LONGEST_SIDE // max(height, width)))


def enlarge(picture: np.ndarray) -> np.ndarray:
    """A picture, [H, W, 3] uint8, times its `enlargement`."""
    factor = enlargement(*picture.shape[:2])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def palette(num_colors: int) -> np.ndarray:
    """[num_colors, 3] uint8 RGB; neighbors differ clearly, in hue and in light."""
    hues = (np.arange(num_colors) * _GOLDEN) % 1.0
    light = np.where(np.arange(num_colors) % 2, 0.65, 0.48)
    colors = [colorsys.hls_to_rgb(h, level, 0.85) for h, level in zip(hues, light, strict=True)]
    return np.round(255 * np.array(colors)).astype(np.uint8)
