"""Which anchors and regions are objects, which are background, and which are neither.

A label's boxes are true, ignored (crowds, barely visible objects, those without room) or absent.
An ignored box takes negatives away and nothing else: a region of which at least half lies in it is
not background, but stays positive if it matches a true box, as in pycocotools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from keras import ops

from must_keras.ops import boxes as box_ops
from must_keras.ops import keyed_random
from must_keras.ops.sampling import choose, columns_in_use, take

Tensor = Any

POSITIVE_IOU, NEGATIVE_IOU, FOREGROUND_IOU = 0.7, 0.3, 0.5
_IGNORED_COVERAGE = 0.5
# Purposes of the draws that belong to one key.
_ANCHORS, _FOREGROUND = 201, 202


class Matches(NamedTuple):
    """What boxes, [B, A], have to do with a label of N boxes.

    Attributes:
        iou: [B, A], with the best true box; 0 where there is none.
        index: [B, A] int32, that box; meaningless where there is none.
        best: [B, A] bool, no other box overlaps some true box more.
        ignored: [B, A] bool, at least half of it is in an ignored box.
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
    """

    boxes: Tensor
    chosen: Tensor
    classes: Tensor
    index: Tensor


def is_true(label: Mapping[str, Tensor]) -> Tensor:
    """[B, N] bool: True where a label has an object that is not ignored."""
    return (label["classes"] >= 0) & ~ops.cast(label["ignore"], "bool")


def match(boxes: Tensor, label: Mapping[str, Tensor], *, area: Tensor | None = None) -> Matches:
    """Compares boxes with a label's.

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
    overlap = ops.where(true[:, None, :], box_ops.iou(boxes, objects), 0.0)
    highest = ops.max(overlap, axis=1, keepdims=True)
    best = ops.any((overlap == highest) & (highest > 0.0), axis=2)
    crowds = ops.where(ignored[:, :, None], objects, 0.0)
    regions = ops.concatenate([crowds, label["surplus_boxes"]], axis=1)
    inside = boxes if area is None else box_ops.clip(boxes, area[:, None, :])
    covered = ops.max(box_ops.coverage(inside, regions), axis=2)
    return Matches(
        iou=ops.max(overlap, axis=2),
        index=ops.take(columns, ops.argmax(overlap, axis=2)),
        best=best,
        ignored=covered >= _IGNORED_COVERAGE,
    )


def anchor_roles(matches: Matches) -> tuple[Tensor, Tensor]:
    """Which anchors are positive and which negative, [B, A] bool each; the rest is neither."""
    positive = (matches.iou >= POSITIVE_IOU) | matches.best
    return positive, (matches.iou < NEGATIVE_IOU) & ~positive & ~matches.ignored


def sample_anchors(
    positive: Tensor, negative: Tensor, keys: Tensor, *, count: int
) -> tuple[Sample, Sample]:
    """At most `count` anchors of each image, at most half of them positive: both kinds.

    Negatives fill the places that positives leave.
    """
    numbers = keyed_random.uniform(keys, positive.shape[1], purpose=_ANCHORS)
    positives = Sample(*choose(positive, count // 2, numbers))
    negatives = Sample(*choose(negative, count, numbers))
    room = count - _count(positives.chosen)
    place = ops.arange(negatives.indices.shape[1], dtype="int32")[None, :]
    return positives, negatives._replace(chosen=negatives.chosen & (place < room))


def sample_regions(
    proposals: Tensor,
    present: Tensor,
    label: Mapping[str, Tensor],
    keys: Tensor,
    *,
    count: int,
    foreground: int,
) -> Regions:
    """Proposals and true boxes on which the second stage is trained.

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
    numbers = keyed_random.uniform(keys, boxes.shape[1], purpose=_FOREGROUND)
    objects, chosen_objects = choose(is_object, foreground, numbers)
    others, chosen_others = choose(is_background, count, numbers)
    room = count - _count(chosen_objects)
    place = ops.arange(others.shape[1], dtype="int32")[None, :]
    indices = ops.concatenate([objects, others], axis=1)
    chosen = ops.concatenate([chosen_objects, chosen_others & (place < room)], axis=1)
    # Chosen ones first, in this order: top_k keeps the order of equal values.
    chosen, places = ops.top_k(ops.cast(chosen, "float32"), min(count, boxes.shape[1]))
    indices, chosen = take(indices, places), chosen > 0.0
    index = take(matches.index, indices)
    classes = ops.where(chosen & take(is_object, indices), take(label["classes"], index) + 1, 0)
    return Regions(
        boxes=take(boxes, indices),
        chosen=chosen,
        classes=ops.cast(classes, "int32"),
        index=index,
    )


def regions_with_masks(
    regions: Regions, label: Mapping[str, Tensor], *, count: int
) -> tuple[Regions, Tensor]:
    """The first `count` regions, those whose objects have masks first.

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


def _count(chosen: Tensor) -> Tensor:
    return ops.sum(ops.cast(chosen, "int32"), axis=1, keepdims=True)
