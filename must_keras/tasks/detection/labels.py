"""A detection label: its parts, and how a view changes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops

from must_keras.ops import boxes as box_ops
from must_keras.ops import masks as mask_ops
from must_keras.ops.views import View, visible_area, warp_boxes
from must_keras.tasks.base import Spec
from must_keras.tasks.label_content import Framing, LabelContent, Lost

Tensor = Any

# Below these a box cut by a view is too little of its object to be learned from.
_LEAST_SHARE, _LEAST_SIDE = 0.1, 1.0
# A box of one pixel may be a rounding error smaller.
_ROUNDING = 1e-4
_IGNORED = Lost(
    "ignored (crowds: COCO's iscrowd=1, or difficult: VOC's difficult=1)",
    "ignored objects are neither learned nor scored: check how the annotations were exported",
    # A fifth of VOC's objects is difficult, and a fifth of KITTI's regions is to be ignored.
    usual=0.5,
)
_FLAT = Lost("without an area")
_FRACTIONS = Lost(
    "within the first pixel of their image and look like fractions of it",
    "multiply the boxes by the image's width and height: the format expects pixels",
)


def stored_spec() -> dict[str, Spec]:
    """See Task.stored_spec. Boxes are fractions of the upright original.

    An ignored box of class -1 is ignored for every class. Where a model made the label, "scores"
    [N] float32 may come with it: only a label column reads them.
    """
    return {
        "boxes": Spec((None, 4), "float32"),
        "classes": Spec((None,), "int32"),
        "masks": Spec((None, None, None), "uint8"),
        "has_mask": Spec((None,), "bool"),
        "ignore": Spec((None,), "bool"),
        "labelled": Spec((), "float32"),
    }


def missing() -> dict[str, np.ndarray]:
    """See Task.missing."""
    return {
        "boxes": np.zeros((0, 4), np.float32),
        "classes": np.zeros((0,), np.int32),
        "masks": np.zeros((0, 1, 1), np.uint8),
        "has_mask": np.zeros((0,), bool),
        "ignore": np.zeros((0,), bool),
        "labelled": np.zeros((), np.float32),
    }


def content(stored: Mapping[str, Any], framing: Framing, *, num_classes: int) -> LabelContent:
    """See Task.content: an object is usable where no side of its box is below a pixel.

    Less than this is ignored in every view of the image (see `warp`).
    """
    boxes = np.asarray(stored["boxes"], np.float64).reshape(-1, 4)
    classes = np.asarray(stored["classes"]).reshape(-1)
    ignored = np.asarray(stored["ignore"], bool).reshape(-1)
    sides = boxes[:, 2:] - boxes[:, :2]
    flat = ~ignored & ~(sides > 0).all(axis=1)
    barely = (sides * framing.visible < _LEAST_SIDE - _ROUNDING).any(axis=1)
    small = ~ignored & ~flat & barely
    # As fractions of the image are where pixels are expected.
    fractions = small & (boxes[:, 2:] * framing.original <= 1.0 + _ROUNDING).all(axis=1)
    few = Lost(
        f"smaller than one pixel at {framing.size} px", "raise the size of the recipe's network"
    )
    lost = {
        _IGNORED: int(ignored.sum()),
        _FLAT: int(flat.sum()),
        _FRACTIONS: int(fractions.sum()),
        few: int((small & ~fractions).sum()),
    }

    def count(kept: np.ndarray) -> np.ndarray:
        inside = kept & (classes >= 0) & (classes < num_classes)
        return np.bincount(classes[inside], minlength=num_classes)

    return LabelContent(
        total=len(boxes),
        found=count(~ignored),
        usable=count(~(ignored | flat | small)),
        lost={why: number for why, number in lost.items() if number},
    )


def compact(stored: Mapping[str, Any]) -> dict[str, Any]:
    """See Task.compact: "masks" are those of the objects that have one alone, in their order.

    A million boxes without masks would be gigabytes of zeros.
    """
    masks, has_mask = stored["masks"], np.asarray(stored["has_mask"], bool)
    is_full = len(masks) == len(has_mask)
    return {**stored, "masks": masks[has_mask] if is_full and not has_mask.all() else masks}


def count_classes(stored: Mapping[str, Any], *, num_classes: int) -> np.ndarray:
    """See Task.count_classes: [K] objects; ignored ones do not count."""
    classes = np.asarray(stored["classes"])[~np.asarray(stored["ignore"], bool)]
    return np.bincount(classes[classes >= 0], minlength=num_classes).astype(float)


def label_spec(*, max_boxes: int, mask_size: int) -> dict[str, Spec]:
    """See Task.label_spec. Boxes are pixels of the input, clipped to the picture.

    The true objects come first, then the ignored ones, then nothing (class -1, not ignored).
    "surplus" counts the true objects that had no room; all boxes without room are in
    "surplus_boxes", which are ignored: one each, and the last bounds whatever remains.
    """
    return {
        "boxes": Spec((max_boxes, 4), "float32"),
        "classes": Spec((max_boxes,), "int32"),
        "masks": Spec((max_boxes, mask_size, mask_size), "uint8"),
        "has_mask": Spec((max_boxes,), "bool"),
        "ignore": Spec((max_boxes,), "bool"),
        "labelled": Spec((), "float32"),
        "surplus_boxes": Spec((max_boxes, 4), "float32"),
        "surplus": Spec((), "int32"),
    }


def has_masks(stored: Mapping[str, Any]) -> bool:
    """Return whether an object of a stored label that is not ignored has a mask."""
    has_mask = np.asarray(stored["has_mask"], bool) & ~np.asarray(stored["ignore"], bool)
    return bool(has_mask.any())


def warp(
    stored: Mapping[str, Tensor], view: View, *, max_boxes: int, mask_size: int
) -> dict[str, Tensor]:
    """See Task.warp.

    A box outside of the view is gone; one of which less than 10 % is visible, or less than a
    pixel a side, is ignored. A mask is cut to what is visible of its box. Where a view turns or
    shears, a box bounds the corners of the original's. Masks may be those of `compact`.
    """
    # One more object, of nothing, fills the places that remain, and no tensor is empty.
    labeled = stored["labelled"]
    stored = {key: _with_nothing(stored[key]) for key in stored if key != "labelled"}
    whole = warp_boxes(ops.cast(stored["boxes"], "float32"), view)
    seen = box_ops.clip(whole, visible_area(view))
    share, sides = box_ops.area(seen), seen[:, 2:] - seen[:, :2]
    exists = share > 0.0
    barely = (share < _LEAST_SHARE * box_ops.area(whole)) | (ops.min(sides, axis=1) < _LEAST_SIDE)
    ignore = exists & (barely | ops.cast(stored["ignore"], "bool"))
    true = exists & ~ignore

    number = ops.shape(whole)[0]
    group = ops.cast(ops.where(true, 0, ops.where(ignore, 1, 2)), "int32")
    rank = group * number + ops.arange(number, dtype="int32")
    order = ops.cast(ops.argsort(rank), "int32")
    order = ops.concatenate([order, ops.repeat(number - 1, 2 * max_boxes)], axis=0)
    kept, rest = order[:max_boxes], order[max_boxes:]

    places = ops.take(_mask_places(stored["masks"], stored["has_mask"]), kept)
    masks = ops.take(ops.cast(stored["masks"], "uint8"), places, axis=0)
    boxes, exists = ops.take(seen, kept, axis=0), ops.take(exists, kept)
    if view.axis_aligned:
        masks = ops.where(view.matrix[0, 0] < 0, ops.flip(masks, axis=1), masks)
        masks = ops.where(view.matrix[1, 1] < 0, ops.flip(masks, axis=2), masks)
        visible = mask_ops.crop(masks, ops.take(whole, kept, axis=0), boxes, size=mask_size)
    else:
        own = ops.take(ops.cast(stored["boxes"], "float32"), kept, axis=0)
        visible = mask_ops.crop_through(masks, own, boxes, view, size=mask_size)
    return {
        "boxes": ops.where(exists[:, None], boxes, 0.0),
        "classes": ops.where(exists, ops.take(ops.cast(stored["classes"], "int32"), kept), -1),
        "masks": ops.cast(visible >= 0.5, "uint8"),
        "has_mask": exists & ops.take(ops.cast(stored["has_mask"], "bool"), kept),
        "ignore": ops.take(ignore, kept),
        "labelled": ops.cast(labeled, "float32"),
        "surplus_boxes": _surplus(ops.take(seen, rest, axis=0), max_boxes),
        "surplus": ops.maximum(ops.sum(ops.cast(true, "int32")) - max_boxes, 0),
    }


def _mask_places(masks: Tensor, has_mask: Tensor) -> Tensor:
    """Where each of [N] objects has its mask among [N, ...], or among [M + 1, ...] of `compact`."""
    has_mask = ops.cast(has_mask, "int32")
    number, last = ops.shape(has_mask)[0], ops.shape(masks)[0] - 1
    among_some = ops.where(has_mask > 0, ops.cumsum(has_mask) - 1, last)
    return ops.where(number == last + 1, ops.arange(number, dtype="int32"), among_some)


def _with_nothing(values: Tensor) -> Tensor:
    """Values [n, ...] with a row of zeros at the end."""
    values = ops.convert_to_tensor(values)
    return ops.concatenate([values, ops.zeros((1, *ops.shape(values)[1:]), values.dtype)], axis=0)


def _surplus(boxes: Tensor, slots: int) -> Tensor:
    """Boxes [n, 4], n >= slots, in fewer places: the last bounds all that do not fit."""
    present = box_ops.area(boxes) > 0.0
    boxes = ops.where(present[:, None], boxes, 0.0)
    last, is_last = boxes[slots - 1 :], present[slots - 1 :, None]
    low = ops.min(ops.where(is_last, last[:, :2], float("inf")), axis=0)
    high = ops.max(ops.where(is_last, last[:, 2:], 0.0), axis=0)
    bound = ops.where(ops.any(is_last), ops.concatenate([low, high]), 0.0)
    return ops.concatenate([boxes[: slots - 1], bound[None]], axis=0)
