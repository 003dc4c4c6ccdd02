"""Boxes: (ymin, xmin, ymax, xmax), continuous and half-open, float32, in any one unit of length."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

Tensor = Any

# A scale delta of log(1000 / 16) makes an anchor 62 times larger: no box inside a picture needs
# more, and its exponential stays finite (the bound of Fast R-CNN's public implementations).
_LARGEST_SCALE = math.log(1000.0 / 16.0)


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
    return keras.utils.bounding_boxes.compute_iou(boxes, others, bounding_box_format="yxyx")


def coverage(boxes: Tensor, regions: Tensor) -> Tensor:
    """The share of every box's own area that lies in each region: [B, N, M] in [0, 1].

    It is pycocotools' overlap with a crowd. A box without area is covered by nothing.

    Args:
        boxes: [N, 4] or [B, N, 4].
        regions: [B, M, 4].
    """
    own = area(boxes)[..., None]
    # Side by side rather than as pairs of corners: half of the memory.
    ymin, xmin, ymax, xmax = (boxes[..., :, None, i] for i in range(4))
    top, left, bottom, right = (regions[..., None, :, i] for i in range(4))
    height = ops.maximum(ops.minimum(ymax, bottom) - ops.maximum(ymin, top), 0.0)
    width = ops.maximum(ops.minimum(xmax, right) - ops.maximum(xmin, left), 0.0)
    return ops.where(own > 0.0, height * width / ops.where(own > 0.0, own, 1.0), 0.0)


def encode(
    boxes: Tensor, anchors: Tensor, *, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Deltas (dy, dx, dh, dw) that move anchors onto boxes: the inverse of `decode`.

    dy = w0 (centre_y - anchor's) / anchor's height, dh = w2 log(height / anchor's height), and
    the same for x (R-CNN, arXiv 1311.2524, appendix C). Finite for boxes without area too.

    Args:
        boxes: [..., N, 4].
        anchors: [N, 4] or as `boxes`.
        weights: factors of (dy, dx, dh, dw).
    """
    return keras.utils.bounding_boxes.encode_box_to_deltas(
        anchors,
        boxes,
        anchor_format="yxyx",
        box_format="yxyx",
        variance=[1.0 / w for w in weights],
    )


def decode(
    deltas: Tensor, anchors: Tensor, *, weights: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
) -> Tensor:
    """Boxes [..., N, 4] that deltas [..., N, 4] make of anchors, [N, 4] or as `deltas`.

    The scales are limited to 62.5 times the anchor's side.
    """
    deltas = ops.concatenate(
        [deltas[..., :2], ops.minimum(deltas[..., 2:], _LARGEST_SCALE * min(weights[2:]))], axis=-1
    )
    return keras.utils.bounding_boxes.decode_deltas_to_boxes(
        anchors,
        deltas,
        anchor_format="yxyx",
        box_format="yxyx",
        variance=[1.0 / w for w in weights],
    )


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Boxes [..., 4] cut to the rectangle `limits`, a box [..., 4] that broadcasts to them.

    A box outside of it keeps no area.
    """
    low, high = limits[..., :2], limits[..., 2:]
    first = ops.minimum(ops.maximum(boxes[..., :2], low), high)
    second = ops.minimum(ops.maximum(boxes[..., 2:], low), high)
    return ops.concatenate([first, second], axis=-1)
