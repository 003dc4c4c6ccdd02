"""Targets and losses of Mask R-CNN: which anchors and regions are objects, and what they cost.

A label's boxes are true, ignored (crowds, barely visible or truncated objects) or absent. An
ignored box takes negatives away and nothing else: a region of which at least half lies in it is
not background, but stays positive if it matches a true box, as in pycocotools.

Losses are [B] float32 each, with the task's numbers as normalizers. Targets of rows that do not
count may be anything finite: their terms are replaced by zero.

Where a label has weights, all terms of an object are multiplied by its weight: those of anchors
and regions that match it. Terms of background are not, and normalizers stay the task's numbers, so
that a weight lowers the loss. Soft Teacher (arXiv 2106.09018) weights background instead, by the
score that its teacher gives each region as background.
"""

from typing import NamedTuple

from keras import ops

from must_keras.ops import boxes as box_ops
from must_keras.ops import masks as mask_ops
from must_keras.ops.sampling import choose, columns_in_use, take, uniform
from must_keras.tasks.parts import Tensor, Tensors

POSITIVE_IOU, NEGATIVE_IOU, FOREGROUND_IOU = 0.7, 0.3, 0.5
_IGNORED_COVERAGE = 0.5
# Purposes of the random numbers of one key.
_ANCHORS, _FOREGROUND = 201, 202
# Of (dy, dx, dh, dw) in the second stage (Fast R-CNN's public implementations).
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
_RPN_DELTA, _BOX_DELTA = 1.0 / 9.0, 1.0


class Matches(NamedTuple):
    """Overlaps of boxes, [B, A], with a label of N boxes.

    Attributes:
        iou: [B, A], with the best true box; 0 where there is none.
        index: [B, A] int32, that box; meaningless where there is none.
        best: [B, A] bool, no other box overlaps some true box more.
        ignored: [B, A] bool, at least half of it is in an ignored box.

    Example:
        none = ops.zeros((1, 3), "bool")
        matches = Matches(iou=ops.ones((1, 3)), index=ops.zeros((1, 3)), best=none, ignored=none)
        positive, negative = anchor_roles(matches)  # all are positive
    """

    iou: Tensor
    index: Tensor
    best: Tensor
    ignored: Tensor


class Sample(NamedTuple):
    """Some anchors or regions of each image.

    Attributes:
        indices: [B, S] int32.
        chosen: [B, S] bool, False where there were too few.

    Example:
        positive, keys = ops.ones((2, 8), "bool"), ops.arange(2)
        positives, negatives = sample_anchors(positive, ~positive, keys, count=4)
        positives.indices.shape  # (2, 2)
    """

    indices: Tensor
    chosen: Tensor


class Regions(NamedTuple):
    """Regions on which box and mask heads are trained; foreground comes first.

    Attributes:
        boxes: [B, S, 4] in pixels.
        chosen: [B, S] bool, False where there were too few; such a row has no loss.
        classes: [B, S] int32, 0 is background, k + 1 is class k.
        index: [B, S] int32, the matched true box of a foreground region.

    Example:
        Regions(
            boxes=ops.zeros((1, 2, 4)),
            chosen=ops.ones((1, 2), "bool"),
            classes=ops.zeros((1, 2), "int32"),
            index=ops.zeros((1, 2), "int32"),
        )
    """

    boxes: Tensor
    chosen: Tensor
    classes: Tensor
    index: Tensor


def is_true(label: Tensors) -> Tensor:
    """Return where a label has an object that is not ignored, [B, N] bool."""
    return (label["classes"] >= 0) & ~ops.cast(label["ignore"], "bool")


def match(boxes: Tensor, label: Tensors, *, area: Tensor | None = None) -> Matches:
    """Match boxes with a label's.

    Args:
        boxes: [A, 4] or [B, A, 4].
        label: the label.
        area: [B, 4], the picture without padding; of boxes that hang out of it, only what lies
            in it can be covered by an ignored region. None: no box does.
    """
    ignored = ops.cast(label["ignore"], "bool")
    # Labels have room for many objects; a batch rarely needs it.
    columns = columns_in_use(is_true(label) | ignored)
    true, ignored = (ops.take(part, columns, axis=1) for part in (is_true(label), ignored))
    objects = ops.take(label["boxes"], columns, axis=1)
    overlap, best = _overlap(boxes, objects, true)
    crowds = ops.where(ignored[:, :, None], objects, 0.0)
    regions = ops.concatenate([crowds, label["truncated_boxes"]], axis=1)
    inside = boxes if area is None else box_ops.clip(boxes, area[:, None, :])
    covered = ops.max(box_ops.coverage(inside, regions), axis=2)
    return Matches(
        iou=ops.max(overlap, axis=2),
        index=ops.take(columns, ops.argmax(overlap, axis=2)),
        best=best,
        ignored=covered >= _IGNORED_COVERAGE,
    )


def _overlap(boxes: Tensor, objects: Tensor, exists: Tensor) -> tuple[Tensor, Tensor]:
    """Return the IoU with each object that exists, [B, A, N], and which boxes are best, [B, A]."""
    overlap = ops.where(exists[:, None, :], box_ops.iou(boxes, objects), 0.0)
    highest = ops.max(overlap, axis=1, keepdims=True)
    return overlap, ops.any((overlap == highest) & (highest > 0.0), axis=2)


def near_dropped(anchors: Tensor, label: Tensors) -> Tensor:
    """Return which anchors would not be negative if a dropped box were an object, [B, A] bool.

    Dropped boxes are those ignored ones that have a weight. As ignored regions they take away only
    anchors of which at least half lies in them: one of more than twice the box's area would teach
    that a possible object is background.

    Args:
        anchors: [A, 4].
        label: a label with weights.
    """
    dropped = ops.cast(label["ignore"], "bool") & (label["weight"] > 0.0)
    columns = columns_in_use(dropped)
    dropped, boxes = (ops.take(part, columns, axis=1) for part in (dropped, label["boxes"]))
    overlap, best = _overlap(anchors, boxes, dropped)
    return best | (ops.max(overlap, axis=2) >= NEGATIVE_IOU)


def object_weights(label: Tensors, index: Tensor, is_object: Tensor | None = None) -> Tensor | None:
    """Return the weights of matched objects, [B, S]; None of a label without weights.

    Args:
        label: the label.
        index: [B, S] int32, the matched objects.
        is_object: [B, S] bool, elsewhere is background, of weight 1; None: everywhere.
    """
    if "weight" not in label:
        return None
    weights = take(label["weight"], index)
    return weights if is_object is None else ops.where(is_object, weights, 1.0)


def anchor_roles(matches: Matches) -> tuple[Tensor, Tensor]:
    """Return which anchors are positive and which negative, [B, A] bool; the rest is neither."""
    positive = (matches.iou >= POSITIVE_IOU) | matches.best
    return positive, (matches.iou < NEGATIVE_IOU) & ~positive & ~matches.ignored


def sample_anchors(
    positive: Tensor, negative: Tensor, keys: Tensor, *, count: int
) -> tuple[Sample, Sample]:
    """Sample at most `count` anchors of each image, at most half of them positive: both kinds.

    Negatives fill the places that positives leave.
    """
    numbers = uniform(keys, positive.shape[1], purpose=_ANCHORS)
    return _sample_both(positive, negative, numbers, count=count, limit=count // 2)


def sample_regions(
    proposals: Tensor, present: Tensor, label: Tensors, keys: Tensor, *, count: int, foreground: int
) -> Regions:
    """Sample the proposals and true boxes on which the second stage is trained.

    Args:
        proposals: [B, P, 4].
        present: [B, P] bool, False where there is no proposal.
        label: the label.
        keys: [B] int32.
        count: S, cut to the number of candidates.
        foreground: the largest number of regions with an IoU of at least 0.5; background fills
            the places that they leave.
    """
    true = is_true(label)
    boxes = ops.concatenate([proposals, label["boxes"]], axis=1)
    present = ops.concatenate([present, true], axis=1)
    matches = match(boxes, label)
    is_object = present & (matches.iou >= FOREGROUND_IOU)
    is_background = present & (matches.iou < FOREGROUND_IOU) & ~matches.ignored
    numbers = uniform(keys, boxes.shape[1], purpose=_FOREGROUND)
    both = _sample_both(is_object, is_background, numbers, count=count, limit=foreground)
    indices = ops.concatenate([sample.indices for sample in both], axis=1)
    chosen = ops.concatenate([sample.chosen for sample in both], axis=1)
    # Chosen ones first, in this order: top_k keeps the order of equal values.
    chosen, places = ops.top_k(ops.cast(chosen, "float32"), min(count, boxes.shape[1]))
    indices, chosen = take(indices, places), chosen > 0.0
    index = take(matches.index, indices)
    classes = ops.where(chosen & take(is_object, indices), take(label["classes"], index) + 1, 0)
    return Regions(
        boxes=take(boxes, indices), chosen=chosen, classes=ops.cast(classes, "int32"), index=index
    )


def regions_with_masks(regions: Regions, label: Tensors, *, count: int) -> tuple[Regions, Tensor]:
    """Return the first `count` regions, those whose objects have masks first.

    Args:
        regions: of `sample_regions`.
        label: the label.
        count: how many of each image.

    Returns:
        the regions, and [B, count] bool: the object has a mask.
    """
    first = Regions(*(part[:, :count] for part in regions))
    has_mask = first.chosen & (first.classes > 0) & take(label["has_mask"], first.index)
    # top_k keeps the order of equal values.
    has_mask, places = ops.top_k(ops.cast(has_mask, "float32"), first.boxes.shape[1])
    return Regions(*(take(part, places) for part in first)), has_mask > 0.0


def _sample_both(
    first: Tensor, others: Tensor, numbers: Tensor, *, count: int, limit: int
) -> tuple[Sample, Sample]:
    """Sample at most `limit` of the first candidates, and others in what they leave of `count`."""
    firsts, rest = Sample(*choose(first, limit, numbers)), Sample(*choose(others, count, numbers))
    room = count - ops.sum(ops.cast(firsts.chosen, "int32"), axis=1, keepdims=True)
    has_room = ops.arange(rest.chosen.shape[1], dtype="int32")[None, :] < room
    return firsts, rest._replace(chosen=rest.chosen & has_room)


def huber(error: Tensor, *, delta: float) -> Tensor:
    """Return error^2 / 2 up to `delta`, then delta |error| - delta^2 / 2, of every element."""
    size = ops.abs(error)
    inner = ops.minimum(size, delta)
    return 0.5 * inner * inner + delta * (size - inner)


def sigmoid_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Return -t log(sigmoid(x)) - (1 - t) log(1 - sigmoid(x)) of every element, any finite x."""
    return ops.relu(logits) - logits * targets + ops.softplus(-ops.abs(logits))


def _total(terms: Tensor, counts: Tensor) -> Tensor:
    """Return each image's sum of the terms, [B, S, ...], of the rows that count, [B, S]."""
    counts = ops.reshape(counts, ops.shape(counts) + (1,) * (len(terms.shape) - 2))
    return ops.sum(ops.where(counts, terms, 0.0), axis=tuple(range(1, len(terms.shape))))


def _weighted(terms: Tensor, weights: Tensor | None) -> Tensor:
    """Return terms, [B, S, ...], times the weights of their rows, [B, S]; None: as they are."""
    if weights is None:
        return terms
    return terms * ops.reshape(weights, ops.shape(weights) + (1,) * (len(terms.shape) - 2))


def rpn_loss(
    prediction: Tensors, anchors: Tensor, label: Tensors, keys: Tensor, *, count: int
) -> Tensor:
    """Return cross-entropy of sampled anchors and Huber loss (1/9) of positive ones, over `count`.

    Args:
        prediction: "scores" [B, A] logits, "deltas" [B, A, 4], and "area" [B, 4], the picture
            without padding.
        anchors: [A, 4].
        label: the label.
        keys: [B] int32.
        count: anchors sampled an image, and the normalizer of both sums.
    """
    scores, matches = prediction["scores"], match(anchors, label, area=prediction["area"])
    positive, negative = anchor_roles(matches)
    if "weight" in label:
        negative = negative & ~near_dropped(anchors, label)
    positives, negatives = sample_anchors(positive, negative, keys, count=count)
    index = take(matches.index, positives.indices)
    weights = object_weights(label, index)
    found = sigmoid_cross_entropy(take(scores, positives.indices), 1.0)
    missed = sigmoid_cross_entropy(take(scores, negatives.indices), 0.0)
    score_loss = _total(_weighted(found, weights), positives.chosen)
    score_loss = score_loss + _total(missed, negatives.chosen)
    boxes = take(label["boxes"], index)
    target = box_ops.encode(boxes, ops.take(anchors, positives.indices, axis=0))
    error = huber(take(prediction["deltas"], positives.indices) - target, delta=_RPN_DELTA)
    return (score_loss + _total(_weighted(error, weights), positives.chosen)) / count


def box_loss(
    scores: Tensor, deltas: Tensor, regions: Regions, label: Tensors, *, count: int
) -> Tensor:
    """Return cross-entropy of sampled regions and Huber loss (1) of foreground, over `count`.

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
    weights = object_weights(label, regions.index, is_object)
    entropy, error = _weighted(entropy, weights), _weighted(error, weights)
    return (_total(entropy, regions.chosen) + _total(error, is_object)) / count


def mask_targets(boxes: Tensor, index: Tensor, label: Tensors, *, size: int) -> Tensor:
    """Return the matched objects' masks cut out by regions, [B, M, size, size] float32, 0 or 1.

    Args:
        boxes: [B, M, 4], the regions.
        index: [B, M] int32, the matched true boxes.
        label: the label.
        size: pixels a side.
    """
    own = take(label["boxes"], index)
    seen = mask_ops.crop(take(label["masks"], index), own, boxes, size=size)
    return ops.cast(seen >= 0.5, seen.dtype)


def mask_loss(
    logits: Tensor, targets: Tensor, counts: Tensor, *, weights: Tensor | None = None
) -> Tensor:
    """Return cross-entropy, the mean over pixels and then over the regions that count.

    Args:
        logits: [B, M, S, S].
        targets: the same, 0 or 1.
        counts: [B, M] bool, foreground regions whose objects have masks.
        weights: [B, M], of these objects; None: 1.
    """
    entropy = ops.mean(sigmoid_cross_entropy(logits, targets), axis=(2, 3))
    number = ops.sum(ops.cast(counts, entropy.dtype), axis=1)
    return _total(_weighted(entropy, weights), counts) / ops.maximum(number, 1.0)
