"""Anchors: the boxes that proposals start from."""

from __future__ import annotations

import math

import numpy as np

LEVELS = ("P3", "P4", "P5", "P6", "P7")
# The image size in pixels to which the paper's sizes belong.
_REFERENCE_SIZE = 640.0


def relative_size(size: tuple[int, int]) -> float:
    """The longer side of an input of (H, W) pixels relative to the paper's 640."""
    return max(size) / _REFERENCE_SIZE


def level_sizes(size: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """{level: (h, w)} cells of an input of (H, W) pixels; the stride of level l is 2^l."""
    strides = {level: 2 ** int(level[1:]) for level in LEVELS}
    return {level: (math.ceil(size[0] / s), math.ceil(size[1] / s)) for level, s in strides.items()}


def level_counts(size: tuple[int, int], anchors_per_cell: int) -> list[int]:
    """The number of anchors of each level."""
    return [h * w * anchors_per_cell for h, w in level_sizes(size).values()]


def anchor_grid(
    size: tuple[int, int], *, scales: tuple[float, ...], ratios: tuple[float, ...]
) -> np.ndarray:
    """All anchors of an input, in pixels: [A, 4] float32, not clipped.

    The order is level, row, column, scale, ratio: that of the proposal network's outputs.

    Args:
        size: (H, W) of the input.
        scales: sqrt(area) of the anchors in strides.
        ratios: width / height; the area does not depend on it.
    """
    shapes = [(scale / ratio**0.5, scale * ratio**0.5) for scale in scales for ratio in ratios]
    sides = np.asarray(shapes, np.float64)
    anchors = []
    for level, (h, w) in level_sizes(size).items():
        stride = 2 ** int(level[1:])
        y, x = np.meshgrid(np.arange(h) + 0.5, np.arange(w) + 0.5, indexing="ij")
        centers = np.stack([y, x], axis=-1)[:, :, None, :]
        boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1) * stride
        anchors.append(boxes.reshape(-1, 4))
    return np.concatenate(anchors).astype(np.float32)
