"""Boxes and non-maximum suppression.

Boxes are (ymin, xmin, ymax, xmax), continuous and half-open, in any one unit of length.

Keras' own functions compute the same in float32 whatever their arguments are.
"""

import math

from keras import ops

from must_keras.ops import Tensor
from must_keras.ops.sampling import take

# A scale delta of log(1000 / 16) makes an anchor 62 times larger: no box inside an image needs
# more, and its exponential stays finite (the bound of Fast R-CNN's public implementations).
_MAX_SCALE = math.log(1000.0 / 16.0)
# Factors of (dy, dx, dh, dw).
Weights = tuple[float, float, float, float]
_EQUAL = (1.0, 1.0, 1.0, 1.0)
# Shorter sides count as this long when scales are compared.
_MIN_SIDE = 1e-7


def area(boxes: Tensor) -> Tensor:
    """Return areas [...] of boxes [..., 4]; 0 where a side is not positive."""
    sides = ops.maximum(boxes[..., 2:] - boxes[..., :2], 0.0)
    return sides[..., 0] * sides[..., 1]


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the intersection over union of every pair.

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
    """Return the share of every box's own area that lies in each region: [B, N, M] in [0, 1].

    It is pycocotools' overlap with a crowd. A box without area is covered by nothing.

    Args:
        boxes: [N, 4] or [B, N, 4].
        regions: [B, M, 4].
    """
    own = area(boxes)[..., None]
    return ops.where(own > 0.0, _intersection(boxes, regions) / ops.where(own > 0.0, own, 1.0), 0.0)


def _intersection(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the common area of every pair; side by side, which halves the memory."""
    ymin, xmin, ymax, xmax = (boxes[..., :, None, i] for i in range(4))
    top, left, bottom, right = (others[..., None, :, i] for i in range(4))
    height = ops.maximum(ops.minimum(ymax, bottom) - ops.maximum(ymin, top), 0.0)
    width = ops.maximum(ops.minimum(xmax, right) - ops.maximum(xmin, left), 0.0)
    return height * width


def encode(boxes: Tensor, anchors: Tensor, *, weights: Weights = _EQUAL) -> Tensor:
    """Return the deltas (dy, dx, dh, dw) that move anchors onto boxes: the inverse of `decode`.

    dy = w0 (center_y - anchor's) / anchor's height, dh = w2 log(height / anchor's height), and
    the same for x (R-CNN, arXiv 1311.2524, appendix C). Finite for boxes without area too.

    Args:
        boxes: [..., N, 4].
        anchors: [N, 4] or as `boxes`.
        weights: factors of (dy, dx, dh, dw).
    """
    (center, side), (middle, length) = _center_and_sides(boxes), _center_and_sides(anchors)
    side, length = ops.maximum(side, _MIN_SIDE), ops.maximum(length, _MIN_SIDE)
    deltas = ops.concatenate([(center - middle) / length, ops.log(side / length)], axis=-1)
    return deltas * ops.convert_to_tensor(weights, dtype=deltas.dtype)


def decode(deltas: Tensor, anchors: Tensor, *, weights: Weights = _EQUAL) -> Tensor:
    """Return the boxes [..., N, 4] that deltas [..., N, 4] make of anchors, [N, 4] or as `deltas`.

    The scales are limited to 62.5 times the anchor's side.
    """
    middle, length = _center_and_sides(anchors)
    deltas = deltas / ops.convert_to_tensor(weights, dtype=deltas.dtype)
    center = deltas[..., :2] * length + middle
    half = 0.5 * ops.exp(ops.minimum(deltas[..., 2:], _MAX_SCALE)) * length
    return ops.concatenate([center - half, center + half], axis=-1)


def _center_and_sides(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return centers and sides, [..., 2] each, (y, x)."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return 0.5 * (low + high), high - low


def clip(boxes: Tensor, limits: Tensor) -> Tensor:
    """Return boxes [..., 4] clipped to `limits`, a box [..., 4] that broadcasts to them.

    A box outside of it keeps no area.
    """
    low, high = limits[..., :2], limits[..., 2:]
    first = ops.minimum(ops.maximum(boxes[..., :2], low), high)
    second = ops.minimum(ops.maximum(boxes[..., 2:], low), high)
    return ops.concatenate([first, second], axis=-1)


def suppress(
    boxes: Tensor,
    scores: Tensor,
    *,
    threshold: float,
    max_outputs: int,
    groups: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Return the boxes that remain when each, by descending score, removes those that overlap it.

    Equal scores: the lower index goes first. Greedy suppression is the only solution of
    "i is kept if and only if no kept j before i overlaps it"; starting with all kept, k rounds of
    that rule settle everything that depends on chains of at most k boxes, so that a few rounds of
    one matrix product replace a loop over boxes. Memory is B N^2.

    Args:
        boxes: [B, N, 4]; N is static.
        scores: [B, N]; -inf for no box.
        threshold: a box goes where its IoU with a kept one is greater than this.
        max_outputs: M.
        groups: [B, N] int32 (classes): only boxes of one group touch each other; None for one.

    Returns:
        indices: [B, M] int32 into N, by descending score; 0 where there is none.
        kept: [B, M] bool, False where fewer than M remain. The True come first.
    """
    num_boxes = boxes.shape[1]
    # Nothing here is differentiable, and a loop under a gradient tape is costly.
    boxes, scores = ops.stop_gradient(boxes), ops.stop_gradient(scores)
    scores, order = ops.top_k(scores, num_boxes)
    order = ops.cast(order, "int32")
    boxes = take(boxes, order)
    overlaps = iou(boxes, boxes) > threshold
    if groups is not None:
        groups = take(groups, order)
        overlaps = overlaps & (groups[:, :, None] == groups[:, None, :])
    position = ops.arange(num_boxes, dtype="int32")
    # removes[b, i, j] is 1 where j, if kept, removes i.
    removes = ops.cast(overlaps & (position[None, :] < position[:, None]), "float32")
    present = scores > -float("inf")

    def step(kept: Tensor, _: Tensor) -> tuple[Tensor, Tensor]:
        hit = ops.matmul(removes, ops.cast(kept, "float32")[:, :, None])[:, :, 0] > 0.0
        after = present & ~hit
        return after, ops.any(after != kept)

    start = (present, ops.convert_to_tensor(True))
    kept, _ = ops.while_loop(lambda _, changed: changed, step, start, maximum_iterations=num_boxes)
    # top_k keeps the order of equal values: the kept ones come first, by descending score.
    count = min(max_outputs, num_boxes)
    flags, places = ops.top_k(ops.cast(kept, "float32"), count)
    indices, kept = take(order, ops.cast(places, "int32")), flags > 0.0
    missing = [[0, 0], [0, max_outputs - count]]
    indices = ops.pad(ops.where(kept, indices, 0), missing)
    return indices, ops.pad(kept, missing, constant_values=False)
