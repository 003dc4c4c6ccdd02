"""What a stored label contains, and what of it a network of some input size can learn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class Framing(NamedTuple):
    """How large a network receives a whole image.

    Attributes:
        original: (height, width) of the upright image in pixels.
        size: sides of the network's input in pixels.
        scale: largest side of the image relative to the largest one that fits; an augmentation
            may enlarge it beyond 1.
    """

    original: tuple[int, int]
    size: int
    scale: float = 1.0

    @property
    def visible(self) -> tuple[float, float]:
        """(height, width) of the whole image in pixels of the input, before it is cropped."""
        height, width = self.original
        factor = self.size / max(height, width) * self.scale
        return max(height * factor, 1.0), max(width * factor, 1.0)


class Lost(NamedTuple):
    """Why a part of a stored label teaches nothing.

    Attributes:
        why: the end of "12 objects are ...".
        advice: what a user can do about it, or "".
        usual: a smaller lost share of the objects is usual.
    """

    why: str
    advice: str = ""
    usual: float = 0.1


class LabelContent(NamedTuple):
    """What a stored label contains, and what of it a network can learn.

    Attributes:
        total: number of units (see `Task.content_unit`), with those that teach nothing.
        found: [K] units of each class, [1] where there are no classes; without ignored ones.
        usable: [K] what remains of `found` at the network's input size; below 1: nothing.
        lost: {why: number of units}.
    """

    total: int
    found: np.ndarray
    usable: np.ndarray
    lost: Mapping[Lost, int]
