"""Boxes: (ymin, xmin, ymax, xmax), continuous and half-open, in any one unit of length.

Keras' own functions compute the same in float32 whatever their arguments are.
"""

from __future__ import annotations

import math
from typing import Any

from keras import ops

Tensor = Any

# A scale delta of log(1000 / 16) makes an anchor 62 times larger: no box inside a picture needs
# more, and its exponential stays finite (the bound of Fast R-CNN's public implementations).
_LARGEST_SCALE = math.log(1000.0 / 16.0)
# No side is taken for shorter when scales are compared.
_SHORTEST = 1e-7


def area(boxes: Tensor) -> Tensor:
    """Areas [...] of boxes [..., 4]; 0 where a side is not positive."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Intersection over union of every pair.

    Args:
        boxes: [N, 4] or [B, N, 4].
        others: [M, 4] or [B, M, 4].

    Returns:
        [N, M] or [B, N, M] in [0, 1]; 0 for two boxes without area.
    """
    common = _intersection(boxes, others)
    union = area(boxes)[..., None] + area(others)[..., None, :] - common
    return ops.where(union > 0.0, common / ops.where(union > 0.0, union, 1.0), 0.0)


def coverage(boxes: Tensor, regions: Tensor) -> Tensor:
    """The share of every box's own area that lies in each region: [B, N, M] in [0, 1].

    It is pycocotools' overlap with a crowd. A box without area is covered by nothing.

    Args:
        boxes: [N, 4] or [B, N, 4].
        regions: [B, M, 4].
    """
    own = area(boxes)[..., None]
    return ops.where(own > 0.0, _intersection(boxes, regions) / ops.where(own > 0.0, own, 1.0), 0.0)


def _intersection(boxes: Tensor, others: Tensor) -> Tensor:
    """The area that every pair has in common; side by side, which halves the memory."""
    ymin, xmin, ymax, xmax = (boxes[..., :, None, i] for i in range(4))
    top, left, bottom, right = (others[..., None, :, i] for i in range(4))
    height = ops.maximum(ops.minimum(ymax, bottom) - ops.maximum(ymin, top), 0.0)
    width = ops.maximum(ops.minimum(xmax, right) - ops.maximum(xmin, left), 0.0)
    return height * width


def encode(
    boxes: Tensor, anchors: Tensor, *, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Deltas (dy, dx, dh, dw) that move anchors onto boxes: the inverse of `decode`.

    dy = w0 (center_y - anchor's) / anchor's height, dh = w2 log(height / anchor's height), and
    the same for x (R-CNN, arXiv 1311.2524, appendix C). Finite for boxes without area too.

    Args:
        boxes: [..., N, 4].
        anchors: [N, 4] or as `boxes`.
        weights: factors of (dy, dx, dh, dw).
    """
    (center, side), (middle, length) = _center_and_sides(boxes), _center_and_sides(anchors)
    side, length = ops.maximum(side, _SHORTEST), ops.maximum(length, _SHORTEST)
    deltas = ops.concatenate([(center - middle) / length, ops.log(side / length)], axis=-1)
    return deltas * ops.convert_to_tensor(weights, dtype=deltas.dtype)


def decode(
    deltas: Tensor, anchors: Tensor, *, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Boxes [..., N, 4] that deltas [..., N, 4] make of anchors, [N, 4] or as `deltas`.

    The scales are limited to 62.5 times the anchor's side.
    """
    middle, length = _center_and_sides(anchors)
    deltas = deltas / ops.convert_to_tensor(weights, dtype=deltas.dtype)
    center = deltas[..., :2] * length + middle
    half = 0.5 * ops.exp(ops.minimum(deltas[..., 2:], _LARGEST_SCALE)) * length
    return ops.concatenate([center - half, center + half], axis=-1)


def _center_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """[..., 2] each, (y, x)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return 0.5 * (low + high), high - low


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Boxes [..., 4] cut to the rectangle `limits`, a box [..., 4] that broadcasts to them.

    A box outside of it keeps no area.
    """
    low, high = limits[..., :2], limits[..., 2:]
    first = ops.minimum(ops.maximum(boxes[..., :2], low), high)
    second = ops.minimum(ops.maximum(boxes[..., 2:], low), high)
    return ops.concatenate([first, second], axis=-1)
