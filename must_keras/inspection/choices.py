"""Numbers of a recipe that follow from the data: sizes, steps, anchors, room for boxes."""

import math
from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

from must_keras.tasks.detection.head import LEVELS

# Sides of the network's input in pixels, multiples of 32.
_SMALLEST, _LARGEST, _DIVISOR = 64, 256, 32
# Passes over the training images, and limits of the steps that make them.
_PASSES = 20
TEACHER, STUDENT, TRANSFER = (200, 4000), (400, 16_000), (100, 2000)
BATCH = 8
# A box is found by an anchor of a similar side: within a factor of about sqrt(2).
_OCTAVE, _LARGEST_SCALE = 2.0, 8.0
# Widths of a detector for a CPU; the defaults of Detection are the paper's.
CPU_DETECTOR = {
    "rpn_channels": 64, "num_candidates": 256, "num_regions": 32, "box_channels": 32,
    "box_units": 128, "mask_channels": 32,
}  # fmt: skip


def input_size(long_sides: Sequence[int]) -> int:
    """Return the sides of the network's input in pixels.

    Args:
        long_sides: median of the longer sides of the images of each set.
    """
    largest = max(long_sides, default=_LARGEST)
    return int(np.clip(_DIVISOR * round(largest / _DIVISOR), _SMALLEST, _LARGEST))


class Steps(NamedTuple):
    """A number of optimizer steps, and why.

    Example:
        Steps.of(900, TEACHER).steps  # 2250
    """

    steps: int
    reason: str

    @classmethod
    def of(cls, num_images: int, limits: tuple[int, int]) -> Self:
        """Return the steps for 20 passes over training images, within limits."""
        steps = int(np.clip(50 * math.ceil(_PASSES * num_images / BATCH / 50), *limits))
        return cls(steps, f"{steps * BATCH / num_images:.0f} passes over {num_images} images")


def room_for_boxes(most: int) -> int:
    """Return the number of boxes of an image that are kept: a quarter more than were counted."""
    return max(16, 8 * math.ceil(1.25 * most / 8))


def range_of_sides(boxes: np.ndarray) -> tuple[float, float]:
    """Return sqrt(area) between which the middle 80 % of boxes are, [N, 4] in pixels."""
    low, high = np.quantile(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)), (0.1, 0.9))
    return float(low), float(high)


def anchor_scales_for(boxes: np.ndarray, size: int) -> tuple[float, ...]:
    """Return the sides of square anchors in strides of their level.

    The level of the smallest stride has an anchor for the smaller boxes; levels double, so that
    one scale covers all larger ones. A second scale, of half an octave more, is added where boxes
    of one level vary.

    Args:
        boxes: [N, 4] (ymin, xmin, ymax, xmax) in pixels of the network's input.
        size: sides of the input in pixels.
    """
    if not len(boxes):
        return (2.0,)
    stride = 2 ** int(LEVELS[0][1:])
    low, high = range_of_sides(boxes)
    # Smaller anchors than a stride leave gaps between their neighbors; larger ones than half of the
    # input belong to higher levels.
    largest = min(_LARGEST_SCALE, size / 2 / stride)
    scale = round(float(np.clip(low * math.sqrt(2) / stride, 1.0, largest)) * 4) / 4
    spread = high / max(low, 1.0)
    return (scale,) if spread < _OCTAVE else (scale, round(scale * math.sqrt(2), 2))
