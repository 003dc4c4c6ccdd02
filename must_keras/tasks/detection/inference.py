"""From scores and deltas to boxes: proposals of the first stage, detections of the second."""

from __future__ import annotations

from typing import Any, NamedTuple

from keras import ops

from must_keras.ops import boxes as box_ops
from must_keras.ops.nms import suppress
from must_keras.ops.sampling import take
from must_keras.tasks.detection.losses import BOX_WEIGHTS

Tensor = Any

_NONE = -float("inf")


class Detections(NamedTuple):
    """Objects of each image by descending score.

    Attributes:
        boxes: [B, D, 4] in pixels, 0 where there is none.
        scores: [B, D], 0 where there is none.
        classes: [B, D] int32, -1 where there is none.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor


def propose(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    area: Tensor,
    *,
    level_counts: list[int],
    num_candidates: int,
    num_proposals: int,
    threshold: float,
) -> tuple[Tensor, Tensor]:
    """Where objects may be; no gradient passes.

    Args:
        scores: [B, A] logits.
        deltas: [B, A, 4].
        anchors: [A, 4].
        area: [B, 4], to which proposals are clipped.
        level_counts: the anchors of each level, in their order.
        num_candidates: how many of each level enter non-maximum suppression.
        num_proposals: P, of all levels together.
        threshold: IoU above which the lower one of two proposals of a level is dropped.

    Returns:
        boxes [B, P, 4], and [B, P] bool: False where there is no proposal. By descending score; P
        is at most the number of candidates.
    """
    scores, deltas = ops.stop_gradient(scores), ops.stop_gradient(deltas)
    boxes_of, scores_of = [], []
    start = 0
    # Level by level: the memory of suppression grows with the square of the candidates.
    for count in level_counts:
        top, index = ops.top_k(scores[:, start : start + count], min(num_candidates, count))
        index = ops.cast(index, "int32") + start
        boxes = box_ops.decode(take(deltas, index), ops.take(anchors, index, axis=0))
        boxes = box_ops.clip(boxes, area[:, None, :])
        top = ops.where(box_ops.area(boxes) > 0.0, top, _NONE)
        number = min(num_proposals, top.shape[1])
        index, present = suppress(boxes, top, threshold=threshold, max_outputs=number)
        boxes_of.append(take(boxes, index))
        scores_of.append(ops.where(present, take(top, index), _NONE))
        start += count
    boxes, scores = ops.concatenate(boxes_of, axis=1), ops.concatenate(scores_of, axis=1)
    scores, index = ops.top_k(scores, min(num_proposals, boxes.shape[1]))
    return take(boxes, index), scores > _NONE


def detect(
    scores: Tensor,
    deltas: Tensor,
    proposals: Tensor,
    present: Tensor,
    area: Tensor,
    *,
    floor: float,
    num_candidates: int,
    num_detections: int,
    threshold: float,
) -> Detections:
    """The objects that the second stage sees: non-maximum suppression in each class.

    Args:
        scores: [B, P, K + 1] logits, 0 is background.
        deltas: [B, P, K + 1, 4].
        proposals: [B, P, 4].
        present: [B, P] bool.
        area: [B, 4], to which boxes are clipped.
        floor: lowest probability.
        num_candidates: how many pairs of box and class enter non-maximum suppression.
        num_detections: D.
        threshold: IoU above which the lower one of two boxes of a class is dropped.
    """
    num_proposals, num_classes = scores.shape[1], scores.shape[2] - 1
    chance = ops.softmax(scores, axis=-1)[:, :, 1:]
    chance = ops.where(present[:, :, None] & (chance >= floor), chance, _NONE)
    count = num_proposals * num_classes
    chance, pair = ops.top_k(ops.reshape(chance, (-1, count)), min(num_candidates, count))
    pair = ops.cast(pair, "int32")
    proposal, classes = pair // num_classes, pair % num_classes
    # The deltas of background come first among each proposal's.
    own = ops.reshape(deltas, (-1, num_proposals * (num_classes + 1), 4))
    own = take(own, proposal * (num_classes + 1) + classes + 1)
    boxes = box_ops.decode(own, take(proposals, proposal), weights=BOX_WEIGHTS)
    boxes = box_ops.clip(boxes, area[:, None, :])
    chance = ops.where(box_ops.area(boxes) > 0.0, chance, _NONE)
    index, kept = suppress(
        boxes, chance, threshold=threshold, max_outputs=num_detections, groups=classes
    )
    return Detections(
        boxes=ops.where(kept[:, :, None], take(boxes, index), 0.0),
        scores=ops.where(kept, take(chance, index), 0.0),
        classes=ops.where(kept, take(classes, index), -1),
    )
