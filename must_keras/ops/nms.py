"""Greedy non-maximum suppression for a batch, with outputs of a fixed size."""

from __future__ import annotations

from typing import Any

from keras import ops

from must_keras.ops import boxes as box_ops
from must_keras.ops.sampling import take

Tensor = Any


def suppress(
    boxes: Tensor,
    scores: Tensor,
    *,
    threshold: float,
    max_outputs: int,
    groups: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The boxes that remain when each, in the order of scores, removes those that overlap it.

    Equal scores: the lower index goes first. Greedy suppression is the only solution of
    "i is kept if and only if no kept j before i overlaps it"; starting with all kept, k rounds of
    that rule settle everything that depends on chains of at most k boxes, so that a few rounds of
    one matrix product replace a loop over boxes. Memory is B N^2.

    Args:
        boxes: [B, N, 4]; N is static.
        scores: [B, N]; -inf: no box.
        threshold: a box goes where its IoU with a kept one is greater than this.
        max_outputs: M.
        groups: [B, N] int32 (classes): only boxes of one group touch each other. None: all do.

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
    overlaps = box_ops.iou(boxes, boxes) > threshold
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

    kept, _ = ops.while_loop(
        lambda _, changed: changed,
        step,
        (present, ops.convert_to_tensor(True)),
        maximum_iterations=num_boxes,
    )
    # top_k keeps the order of equal values: the kept ones come first, by descending score.
    count = min(max_outputs, num_boxes)
    flags, places = ops.top_k(ops.cast(kept, "float32"), count)
    indices, kept = take(order, ops.cast(places, "int32")), flags > 0.0
    missing = [[0, 0], [0, max_outputs - count]]
    indices = ops.pad(ops.where(kept, indices, 0), missing)
    return indices, ops.pad(kept, missing, constant_values=False)
