"""The losses of Mask R-CNN, [B] float32 each, with the recipe's numbers as normalizers.

Targets of rows that do not count may be anything finite: their terms are replaced by zero.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from keras import ops

from must_keras.ops import boxes as box_ops
from must_keras.ops import masks as mask_ops
from must_keras.ops.sampling import take
from must_keras.tasks.detection.targets import Regions, anchor_roles, match, sample_anchors

Tensor = Any

# Of (dy, dx, dh, dw) in the second stage (Fast R-CNN's public implementations).
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_RPN_DELTA, _BOX_DELTA = 1.0 / 9.0, 1.0


def huber(error: Tensor, *, delta: float) -> Tensor:
    """error^2 / 2 up to `delta`, then delta |error| - delta^2 / 2; of every element."""
    size = ops.abs(error)
    inner = ops.minimum(size, delta)
    return 0.5 * inner * inner + delta * (size - inner)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """-t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)) of every element, for any finite x."""
    return ops.relu(logits) - logits * targets + ops.softplus(-ops.abs(logits))


def _total(terms: Tensor, counts: Tensor) -> Tensor:
    """Sum over everything but the images of the terms, [B, S, ...], of rows that count, [B, S]."""
    counts = ops.reshape(counts, ops.shape(counts) + (1,) * (len(terms.shape) - 2))
    return ops.sum(ops.where(counts, terms, 0.0), axis=tuple(range(1, len(terms.shape))))


def rpn_loss(
    scores: Tensor,
    deltas: Tensor,
    anchors: Tensor,
    label: Mapping[str, Tensor],
    keys: Tensor,
    *,
    area: Tensor,
    count: int,
) -> Tensor:
    """Cross-entropy of sampled anchors and Huber loss (1/9) of the positive ones, over `count`.

    Args:
        scores: [B, A] logits.
        deltas: [B, A, 4].
        anchors: [A, 4].
        label: the label.
        keys: [B] int32.
        area: [B, 4], the picture without padding.
        count: anchors sampled an image, and the normalizer of both sums.
    """
    matches = match(anchors, label, area=area)
    positives, negatives = sample_anchors(*anchor_roles(matches), keys, count=count)
    score_loss = _total(
        sigmoid_cross_entropy(take(scores, positives.indices), 1.0), positives.chosen
    ) + _total(sigmoid_cross_entropy(take(scores, negatives.indices), 0.0), negatives.chosen)
    boxes = take(label["boxes"], take(matches.index, positives.indices))
    target = box_ops.encode(boxes, ops.take(anchors, positives.indices, axis=0))
    error = huber(take(deltas, positives.indices) - target, delta=_RPN_DELTA)
    return (score_loss + _total(error, positives.chosen)) / count


def box_loss(
    scores: Tensor,
    deltas: Tensor,
    regions: Regions,
    label: Mapping[str, Tensor],
    *,
    count: int,
) -> Tensor:
    """Cross-entropy of sampled regions and Huber loss (1) of the foreground's, over `count`.

    Args:
        scores: [B, S, K + 1] logits, 0 is background.
        deltas: [B, S, K + 1, 4]; only those of the true class have a loss.
        regions: the regions.
        label: the label.
        count: the normalizer of both sums: the recipe's number of regions.
    """
    one_hot = ops.one_hot(regions.classes, scores.shape[-1], dtype=scores.dtype)
    entropy = ops.logsumexp(scores, axis=-1) - ops.sum(scores * one_hot, axis=-1)
    target = box_ops.encode(take(label["boxes"], regions.index), regions.boxes, weights=BOX_WEIGHTS)
    own = ops.sum(deltas * one_hot[..., None], axis=2)
    error = huber(own - target, delta=_BOX_DELTA)
    is_object = regions.chosen & (regions.classes > 0)
    return (_total(entropy, regions.chosen) + _total(error, is_object)) / count


def mask_targets(boxes: Tensor, index: Tensor, label: Mapping[str, Tensor], *, size: int) -> Tensor:
    """The matched objects' masks as regions see them: [B, M, size, size] float32, 0 or 1.

    Args:
        boxes: [B, M, 4], the regions.
        index: [B, M] int32, the matched true boxes.
        label: the label.
        size: pixels a side.
    """
    own = take(label["boxes"], index)
    seen = mask_ops.crop(take(label["masks"], index), own, boxes, size=size)
    return ops.cast(seen >= 0.5, seen.dtype)


def mask_loss(logits: Tensor, targets: Tensor, counts: Tensor) -> Tensor:
    """Cross-entropy, the mean over pixels and then over the regions that count.

    Args:
        logits: [B, M, S, S].
        targets: the same, 0 or 1.
        counts: [B, M] bool, foreground regions whose objects have masks.
    """
    entropy = ops.mean(sigmoid_cross_entropy(logits, targets), axis=(2, 3))
    number = ops.sum(ops.cast(counts, entropy.dtype), axis=1)
    return _total(entropy, counts) / ops.maximum(number, 1.0)
