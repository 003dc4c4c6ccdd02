"""How well anchors and boxes overlap, and the anchors that fit the boxes of a training set."""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from must_keras.tasks.detection.head import level_sizes

SCALES = tuple(round(2.0 ** (k / 4), 2) for k in range(-4, 13))
"""Scales to choose from: quarters of an octave from 0.5 to 8 strides."""

RATIOS = (1.0, 2.0, 0.5)
"""The usual width / height of anchors."""

_MAX_SCALES = 3
# An increase of the mean best IoU that is worth further anchors, or other ratios than the usual.
_MIN_GAIN = 0.03
# As many boxes stand for more.
_MAX_BOXES = 5000
# Options whose means are so close overlap the boxes equally well.
_EQUAL = 0.01
# Means are rounded, so that their last bits, which depend on the machine, decide nothing.
_DIGITS = 6


class Anchors(NamedTuple):
    """The anchors of a cell.

    Attributes:
        scales: sqrt(area) in strides of the level.
        ratios: width / height; every scale has all of them.

    Example:
        Anchors(scales=(1.0, 2.0), ratios=(1.0,))
    """

    scales: tuple[float, ...]
    ratios: tuple[float, ...]


def best_ious(boxes: np.ndarray, anchors: Anchors, *, size: int) -> np.ndarray:
    """Return the IoU of each box with the best anchor of an input, [N] float64.

    Of anchors with the same sides on one level, the one with the nearest center overlaps a box
    most, so that only one place of each level is compared: 5 x scales x ratios IoUs a box.

    Args:
        boxes: [N, 4] (ymin, xmin, ymax, xmax) in pixels of the input, with an area.
        anchors: of every cell; see `head.anchor_grid`.
        size: sides of the input in pixels.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    low, high = boxes[:, None, :2], boxes[:, None, 2:]
    area = (high - low).prod(axis=-1)
    shapes = itertools.product(anchors.scales, anchors.ratios)
    shapes = np.array([(scale / ratio**0.5, scale * ratio**0.5) for scale, ratio in shapes])
    best = np.zeros(len(boxes))
    for level, cells in level_sizes((size, size)).items():
        stride = 2 ** int(level[1:])
        cell = np.clip((low + high) // (2 * stride), 0, np.array(cells) - 1)
        center, sides = (cell + 0.5) * stride, shapes * stride
        shared = np.minimum(high, center + sides / 2) - np.maximum(low, center - sides / 2)
        shared = np.maximum(shared, 0.0).prod(axis=-1)
        iou = shared / (area + sides.prod(axis=-1) - shared)
        best = np.maximum(best, iou.max(axis=1))
    return best


def evenly(boxes: np.ndarray) -> np.ndarray:
    """Return at most 5,000 boxes, evenly spread over [N, 4]: they stand for the others."""
    number = min(len(boxes), _MAX_BOXES)
    return boxes[np.linspace(0, max(len(boxes) - 1, 0), number).round().astype(int)]


def fit_anchors(boxes: np.ndarray, *, size: int) -> Anchors:
    """Return the anchors that overlap the boxes of a training set best.

    The scales are those of `SCALES` that maximize the mean, over the boxes, of the IoU with the
    best anchor; all combinations of one, two and three are compared. A further scale has to raise
    the mean by 0.03. Of combinations within 0.01 of the best, the one with the largest product is
    taken: large objects are found more easily, so that their anchors count more. The ratios are
    the usual ones, unless the middles of three equally large groups of the boxes' own ratios raise
    the mean by 0.03.

    A function of the boxes alone, and nothing is random. At most 5,000 boxes are read, evenly
    spread.

    Args:
        boxes: [N, 4], at least one, in pixels of the input, with an area.
        size: sides of the input in pixels.

    Reference: the dimension clusters of YOLO9000 (arXiv 1612.08242), anchors that maximize the
    mean IoU with the training boxes. There k-means forms free shapes for one level, compared as if
    box and anchor had one center. Here every level has the same shapes in its own strides, so that
    a few scales are compared in all combinations, and boxes keep their places: small anchors leave
    gaps between the cells.
    """
    boxes = evenly(np.asarray(boxes, np.float64).reshape(-1, 4))
    usual, mean = _best_of(boxes, RATIOS, size=size)
    own, own_mean = _best_of(boxes, _own_ratios(boxes), size=size)
    return own if own_mean >= mean + _MIN_GAIN else usual


def _own_ratios(boxes: np.ndarray) -> tuple[float, ...]:
    """Return the middles of three equally large groups of width / height, each once."""
    sides = boxes[:, 2:] - boxes[:, :2]
    ratios = np.quantile(sides[:, 1] / sides[:, 0], (1 / 2, 5 / 6, 1 / 6), method="nearest")
    return tuple(dict.fromkeys(max(round(float(ratio), 2), 0.01) for ratio in ratios))


def _best_of(boxes: np.ndarray, ratios: tuple[float, ...], *, size: int) -> tuple[Anchors, float]:
    """Return the best anchors of some ratios, and the largest mean of the boxes' best IoUs."""
    columns = [best_ious(boxes, Anchors((scale,), ratios), size=size) for scale in SCALES]
    chosen: Sequence[int] = ()
    mean = 0.0
    for number in range(1, _MAX_SCALES + 1):
        options = list(itertools.combinations(range(len(SCALES)), number))
        means = [
            round(float(np.max([columns[i] for i in option], axis=0).mean()), _DIGITS)
            for option in options
        ]
        highest = max(means)
        if chosen and highest < mean + _MIN_GAIN:
            break
        mean = highest
        good = (o for o, m in zip(options, means, strict=True) if m >= highest - _EQUAL)
        chosen = max(good, key=lambda option: math.prod(SCALES[i] for i in option))
    return Anchors(tuple(SCALES[i] for i in chosen), ratios), mean
