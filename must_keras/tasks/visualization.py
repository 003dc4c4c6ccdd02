"""What a task shows of labels and predictions, their legend, and primitives: font, size, colors."""

import abc
import colorsys
import functools
import importlib.util
import pathlib
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import numpy as np
from PIL import ImageFont

from must_keras.tasks.parts import Arrays, Part

_SHORTEST_SIDE = 160
# Pixels of the longer side beyond which nothing is enlarged: a line of 1 x 100,000 stays one.
_LONGEST_SIDE = 4096
# Letters are as high as this share of a picture's shorter side, and at least so many pixels.
_LETTER_SHARE, _MIN_LETTER = 1 / 28, 10
# Hues that follow each other by the golden ratio never come close.
_GOLDEN = 0.618034


@functools.cache
def font(size: int = 10) -> ImageFont.FreeTypeFont:
    """Return a font with the letters of most languages: Pillow's own has few accents."""
    folder = pathlib.Path(importlib.util.find_spec("matplotlib").origin).parent
    return ImageFont.truetype(folder / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf", size)


def letter_size(height: int, width: int) -> int:
    """Return the pixels of letters that can be read in a picture, whatever its size."""
    return max(_MIN_LETTER, round(_LETTER_SHARE * min(height, width)))


def line_width(height: int, width: int) -> int:
    """Return the pixels of a line in a picture: a tenth of a letter, as in bold type."""
    return max(1, round(letter_size(height, width) / 10))


def text_color(background: Sequence[int]) -> tuple[int, int, int]:
    """Return black or white, RGB: the one that can be read on a background, RGB."""
    light = np.dot(np.asarray(background, float), (0.3, 0.59, 0.11))
    return (255, 255, 255) if light < 115 else (0, 0, 0)


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


class Swatch(NamedTuple):
    """A name with the color, RGB, in which pictures show what has it.

    Example:
        >>> Swatch("road", (200, 30, 30)).name
        'road'
    """

    name: str
    color: tuple[int, int, int]


class ColorBar(NamedTuple):
    """The colors of a quantity in one picture, and the values at some of them.

    Attributes:
        colors: [N, 3] uint8 RGB, from left to right.
        ticks: the text at the left end, in the middle, and at the right end.

    Example:
        ColorBar(colors=np.uint8([[0, 0, 0], [255, 255, 255]]), ticks=("1 m", "2 m", "3 m"))
    """

    colors: np.ndarray
    ticks: tuple[str, str, str]


def class_swatches(
    classes: Sequence[str], shown: Sequence[np.ndarray] | None = None
) -> list[Swatch]:
    """Return the swatches of classes with their colors of `palette`.

    Args:
        classes: names, in the order of the indices.
        shown: arrays of indices, the most frequent of which come first; indices of no class do not
            count. None: all classes, in their order.
    """
    colors, order = palette(len(classes)).tolist(), range(len(classes))
    if shown is not None:
        indices = np.concatenate([np.zeros(0, int), *(np.ravel(one).astype(int) for one in shown)])
        known = indices[(indices >= 0) & (indices < len(classes))]
        counts = np.bincount(known, minlength=len(classes))
        order = [k for k in np.argsort(-counts, kind="stable") if counts[k]]
    return [Swatch(classes[k], tuple(colors[k])) for k in order]


class Visualization(Part, abc.ABC):
    """Pictures of labels and predictions, and how to read their colors.

    Example:
        Depth(name="distance").visualization.legend  # "near is yellow, far is blue"
    """

    legend: ClassVar[str] = ""
    """How to read the colors, where a reader cannot guess it."""

    @abc.abstractmethod
    def visualize(self, image: np.ndarray, shown: Arrays) -> np.ndarray:
        """Return a picture, [H, W, 3] uint8, of one image's label or prediction."""

    def swatches(self, *shown: Arrays) -> list[Swatch]:
        """Return the colors that have a name, of those in some labels or predictions; here none.

        Args:
            shown: each of one image, as `visualize` takes it. None at all: every such color.
        """
        return []

    def color_bar(self, shown: Arrays) -> ColorBar | None:
        """Return the scale of a picture whose colors are quantities; here None."""
        return None
