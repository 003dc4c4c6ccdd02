"""What a task shows of labels and predictions, and primitives: font, enlargement, colors."""

import abc
import colorsys
import functools
import importlib.util
import pathlib
from typing import ClassVar

import numpy as np
from PIL import ImageFont

from must_keras.tasks.parts import Arrays, Part

_SHORTEST_SIDE = 160
# Pixels of the longer side beyond which nothing is enlarged: a line of 1 x 100,000 stays one.
_LONGEST_SIDE = 4096
# Hues that follow each other by the golden ratio never come close.
_GOLDEN = 0.618034


@functools.cache
def font(size: int = 10) -> ImageFont.FreeTypeFont:
    """Return a font with the letters of most languages: Pillow's own has few accents."""
    folder = pathlib.Path(importlib.util.find_spec("matplotlib").origin).parent
    return ImageFont.truetype(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def enlargement(height: int, width: int) -> int:
    """Return the whole factor that makes a small picture large enough for a person."""
    wanted = -(-_SHORTEST_SIDE // min(height, width))
    return max(1, min(wanted, _LONGEST_SIDE // max(height, width)))


def enlarge(picture: np.ndarray) -> np.ndarray:
    """Return a picture, [H, W, 3] uint8, times its `enlargement`."""
    factor = enlargement(*picture.shape[:2])
    return picture.repeat(factor, axis=0).repeat(factor, axis=1)


def palette(num_colors: int) -> np.ndarray:
    """Return colors, [num_colors, 3] uint8 RGB; neighbors differ clearly in hue and light."""
    hues = (np.arange(num_colors) * _GOLDEN) % 1.0
    light = np.where(np.arange(num_colors) % 2, 0.65, 0.48)
    colors = [colorsys.hls_to_rgb(h, level, 0.85) for h, level in zip(hues, light, strict=True)]
    return np.round(255 * np.array(colors)).astype(np.uint8)


class Visualization(Part, abc.ABC):
    """Pictures of labels and predictions.

    Example:
        Depth(name="distance").visualization.legend  # "near is yellow, far is blue"
    """

    legend: ClassVar[str] = ""
    """How to read the colors, where a reader cannot guess it."""

    @abc.abstractmethod
    def visualize(self, image: np.ndarray, shown: Arrays) -> np.ndarray:
        """Return a picture, [H, W, 3] uint8, of one image's label or prediction."""
