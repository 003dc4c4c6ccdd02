"""ROIAlign over a pyramid: a fixed grid of features for every region, by gathers only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from must_keras.ops import boxes as box_ops
from must_keras.ops.precision import full

Tensor = Any

# Samples a side of each bin, averaged: Mask R-CNN's 2 x 2.
_SAMPLES = 2
# The level of a region whose side is `unit` (Feature Pyramid Networks, arXiv 1612.03144, eq. 1).
_CANONICAL_LEVEL = 4


def region_levels(boxes: Tensor, *, unit: float, lowest: int, highest: int) -> Tensor:
    """Return the pyramid level of each region: floor(log2(sqrt(area) / unit)) + 4, clipped.

    Args:
        boxes: [..., 4].
        unit: side, in the boxes' unit, of the smallest region of level 4.
        lowest: first level.
        highest: last level.

    Returns:
        [...] int32; a region of zero area has the lowest level.
    """
    # The logarithm of 0 is not finite.
    side = ops.maximum(ops.sqrt(box_ops.area(boxes)) / unit, 1e-9)
    # The tolerance keeps a side of exactly 2^k units on its own level.
    level = ops.floor(ops.log2(side) + 1e-6) + _CANONICAL_LEVEL
    return ops.cast(ops.clip(level, lowest, highest), "int32")


def _corners(low: Tensor, high: Tensor, stride: Tensor, cells: Tensor, size: int):
    """Return two neighboring cells and their weights for every sample of one axis.

    Half-pixel centers: the position p of the input is p / stride - 0.5 in cells. Positions beyond
    the outermost centers take the outermost cells.

    Returns:
        indices and weights, [N, size, 2 samples * 2 cells], int32 and float32; the weights of a
        bin add up to 1.
    """
    count = size * _SAMPLES
    share = (ops.arange(count, dtype=full()) + 0.5) / count
    position = low[:, None] + share * (high - low)[:, None]
    last = ops.cast(cells, full())[:, None] - 1.0
    place = ops.minimum(ops.maximum(position / stride[:, None] - 0.5, 0.0), last)
    first = ops.floor(place)
    weight = place - first
    second = ops.minimum(first + 1.0, last)
    shape = (-1, size, 2 * _SAMPLES)
    indices = ops.reshape(ops.stack([first, second], axis=-1), shape)
    weights = ops.reshape(ops.stack([1.0 - weight, weight], axis=-1), shape) / _SAMPLES
    return ops.cast(indices, "int32"), weights


def roi_align(
    pyramid: Mapping[str, Tensor], boxes: Tensor, image: Tensor, *, size: int, unit: float
) -> Tensor:
    """Return the features of regions, each from the pyramid level of its size.

    Every bin is the mean of 2 x 2 bilinear samples at regular places (Mask R-CNN,
    arXiv 1703.06870). No gradient reaches the boxes.

    Args:
        pyramid: {"P3": [B, h, w, C], ...} of neighboring levels; level l has stride 2^l. Shapes
            but B are static.
        boxes: [N, 4] in pixels of the input.
        image: [N] int32 in [0, B), the image of each box.
        size: bins a side.
        unit: see `region_levels`.

    Returns:
        [N, size, size, C] of the features' dtype.

    Example:
        pyramid = {"P3": np.zeros((1, 8, 8, 16)), "P4": np.zeros((1, 4, 4, 16))}
        boxes, image = np.array([[0.0, 0.0, 32.0, 32.0]]), np.array([0])
        roi_align(pyramid, boxes, image, size=7, unit=224.0).shape  # (1, 7, 7, 16)

    """
    levels = sorted(int(name[1:]) for name in pyramid)
    maps = [pyramid[f"P{level}"] for level in levels]
    heights, widths = ([m.shape[axis] for m in maps] for axis in (1, 2))
    channels = maps[0].shape[-1]
    num_cells = [h * w for h, w in zip(heights, widths, strict=True)]
    starts = [sum(num_cells[:i]) for i in range(len(levels))]
    table = ops.concatenate(
        [ops.reshape(m, (-1, n, channels)) for m, n in zip(maps, num_cells, strict=True)], axis=1
    )
    table = ops.reshape(table, (-1, channels))

    boxes = ops.stop_gradient(ops.cast(boxes, full()))
    level = region_levels(boxes, unit=unit, lowest=levels[0], highest=levels[-1]) - levels[0]

    def of_level(values: list[int], dtype: str) -> Tensor:
        return ops.take(ops.convert_to_tensor(values, dtype=dtype), level)

    stride = of_level([2**n for n in levels], full())
    height, width = of_level(heights, "int32"), of_level(widths, "int32")
    rows, row_weights = _corners(boxes[:, 0], boxes[:, 2], stride, height, size)
    columns, column_weights = _corners(boxes[:, 1], boxes[:, 3], stride, width, size)
    start = ops.cast(image, "int32") * sum(num_cells) + of_level(starts, "int32")
    # [N, size, 1, 4, 1] with [N, 1, size, 1, 4].
    index = start[:, None, None, None, None] + (
        rows[:, :, None, :, None] * width[:, None, None, None, None] + columns[:, None, :, None, :]
    )
    weight = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    points = (2 * _SAMPLES) ** 2
    values = ops.take(table, ops.reshape(index, (-1, points)), axis=0)
    weight = ops.cast(ops.reshape(weight, (-1, 1, points)), values.dtype)
    return ops.reshape(ops.matmul(weight, values), (-1, size, size, channels))
