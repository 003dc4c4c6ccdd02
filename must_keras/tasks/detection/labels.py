"""A detection label: its keys, and how a view changes it."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from keras import ops

from must_keras.errors import UserError
from must_keras.ops import boxes as box_ops
from must_keras.ops import masks as mask_ops
from must_keras.ops.views import View, visible_area, warp_boxes
from must_keras.tasks import base
from must_keras.tasks.detection.anchors import Anchors, best_ious, evenly, fit_anchors
from must_keras.tasks.detection.head import LEVELS
from must_keras.tasks.detection.loss import NEGATIVE_IOU
from must_keras.tasks.parts import Size, Spec, Stored, Tensor, Tensors
from must_keras.tasks.summaries import Framing, LabelContent, Lost

# Below these a box cut by a view is too little of its object to be learned from.
MIN_SHARE, MIN_SIDE = 0.1, 1.0
# A box of one pixel may be a rounding error smaller.
_ROUNDING = 1e-4
_IGNORED = Lost(
    "ignored (crowds: COCO's iscrowd=1, or difficult: VOC's difficult=1)",
    "ignored objects are neither learned nor scored: check how the annotations were exported",
    # A fifth of VOC's objects is difficult, and a fifth of KITTI's regions is to be ignored.
    usual=0.5,
)
_FINEST_STRIDE = 2 ** int(LEVELS[0][1:])
# Fewer boxes show little of how anchors fit.
_ENOUGH_BOXES = 50
# Worth a warning: a larger mean best IoU with other anchors, a share of boxes without any.
_WORTHWHILE, _MANY = 0.1, 0.25
_FLAT = Lost("without an area")
_FRACTIONS = Lost(
    "within the first pixel of their image and look like fractions of it",
    "multiply the boxes by the image's width and height: the format expects pixels",
)


class Labels(base.Labels):
    """Boxes with classes, masks in their boxes, and ignored regions.

    Stored boxes are fractions of the upright original. An ignored box of class -1 is ignored for
    every class. Where a model made the label, "scores" [N] float32 may come with it: only a
    pseudo-label dataset reads them.

    Labels of a weighted task have "weight" [N] float32, the factor of an object's loss: 1 of ground
    truth, a pseudo label's score. An ignored box with a weight is one that a teacher proposed and a
    threshold dropped; crowds and the like have 0.

    Example:
        Detection(name="objects", classes=("cat", "dog")).labels.missing()
    """

    @property
    def mask_size(self) -> int:
        """Side of a label's masks: finer than the targets that are cut out of them."""
        return 4 * self.task.mask_region if self.task.with_masks else 1

    def stored_spec(self) -> dict[str, Spec]:
        return _specs(None, None, self.task.weighted)

    def missing(self) -> dict[str, np.ndarray]:
        specs = _specs(0, 1, self.task.weighted)
        return {key: np.zeros(spec.shape, spec.dtype) for key, spec in specs.items()}

    def check_classes(self, stored: Stored) -> None:
        classes, count = np.asarray(stored["classes"]), len(self.classes)
        odd = classes[((classes < 0) | (classes >= count)) & ~np.asarray(stored["ignore"], bool)]
        if odd.size:
            raise UserError(f"class {odd[0]} is in its boxes; classes are 0 to {count - 1}")

    def relabel(self, stored: Stored, table: np.ndarray) -> dict[str, Any]:
        """Return the label without objects of a class that is left out."""
        # An ignored region may be of no class.
        of_none = stored["classes"] < 0
        classes = np.where(of_none, -1, table[stored["classes"]])
        kept = of_none | (classes >= 0)
        keys = ("boxes", "has_mask", "ignore", "scores", "weight")
        arrays = {key: stored[key][kept] for key in keys if key in stored}
        masks, with_mask = stored["masks"], np.flatnonzero(kept & stored["has_mask"])
        rows = np.flatnonzero(arrays["has_mask"])
        arrays["masks"] = masks_of_some(
            len(arrays["has_mask"]), rows, masks[with_mask], size=masks.shape[-1]
        )
        return dict(stored) | arrays | {"classes": classes[kept].astype(np.int32)}

    def compact(self, stored: Stored) -> dict[str, Any]:
        """Return "masks" of the objects that have one alone, in their order.

        A million boxes without masks would be gigabytes of zeros.
        """
        masks, has_mask = stored["masks"], np.asarray(stored["has_mask"], bool)
        is_full = len(masks) == len(has_mask)
        weight = {"weight": 1.0 - np.float32(stored["ignore"])} if self.task.weighted else {}
        few = masks[has_mask] if is_full and not has_mask.all() else masks
        return {**weight, **stored, "masks": few}

    def num_truncated(self, stored: Stored) -> int:
        return max(int((~np.asarray(stored["ignore"], bool)).sum()) - self.task.max_boxes, 0)

    def spec(self, size: Size) -> dict[str, Spec]:
        """Return the keys of a label; boxes are pixels of the input, clipped to the picture.

        The true objects come first, then the ignored ones, then nothing (class -1, not ignored).
        "truncated_boxes" are those without room, and ignored: the last bounds whatever remains.
        """
        boxes = {"truncated_boxes": Spec((self.task.max_boxes, 4), "float32")}
        return _specs(self.task.max_boxes, self.mask_size, self.task.weighted) | boxes

    def warp(self, stored: Tensors, view: View) -> dict[str, Tensor]:
        """Return the label of one image seen through a view.

        A box outside of the view is gone; one of which less than 10 % is visible, or less than a
        pixel a side, is ignored. A mask is cut to what is visible of its box. Where a view turns or
        shears, a box bounds the corners of the original's. Masks may be those of `compact`.
        """
        max_boxes = self.task.max_boxes
        # One more object, of nothing, fills the places that remain, and no tensor is empty.
        labeled = stored["labelled"]
        stored = {key: _with_nothing(stored[key]) for key in stored if key != "labelled"}
        whole = warp_boxes(ops.cast(stored["boxes"], "float32"), view)
        seen = box_ops.clip(whole, visible_area(view))
        share, sides = box_ops.area(seen), seen[:, 2:] - seen[:, :2]
        exists = share > 0.0
        barely = (share < MIN_SHARE * box_ops.area(whole)) | (ops.min(sides, axis=1) < MIN_SIDE)
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
            own = ops.take(whole, kept, axis=0)
            visible = mask_ops.crop(masks, own, boxes, size=self.mask_size)
        else:
            own = ops.take(ops.cast(stored["boxes"], "float32"), kept, axis=0)
            visible = mask_ops.crop_through(masks, own, boxes, view, size=self.mask_size)
        weight = {}
        if "weight" in stored:
            weights = ops.cast(stored["weight"], "float32")
            weight["weight"] = ops.take(ops.where(barely, 0.0, weights), kept)
        return weight | {
            "boxes": ops.where(exists[:, None], boxes, 0.0),
            "classes": ops.where(exists, ops.take(ops.cast(stored["classes"], "int32"), kept), -1),
            "masks": ops.cast(visible >= 0.5, "uint8"),
            "has_mask": exists & ops.take(ops.cast(stored["has_mask"], "bool"), kept),
            "ignore": ops.take(ignore, kept),
            "labelled": ops.cast(labeled, "float32"),
            "truncated_boxes": _truncated(ops.take(seen, rest, axis=0), max_boxes),
        }

    def weight(self, label: Tensors) -> Tensor:
        """Return 1 for a labeled image, with or without objects."""
        return ops.cast(label["labelled"], "float32")

    content_unit: ClassVar[str] = "object"

    def content(self, stored: Stored, framing: Framing) -> LabelContent:
        """Count objects; usable are those no side of whose box is below a pixel.

        Smaller ones are ignored in every view of the image (see `warp`).
        """
        num_classes = len(self.classes)
        boxes = np.asarray(stored["boxes"], np.float64).reshape(-1, 4)
        classes = np.asarray(stored["classes"]).reshape(-1)
        ignored = np.asarray(stored["ignore"], bool).reshape(-1)
        sides = boxes[:, 2:] - boxes[:, :2]
        flat = ~ignored & ~(sides > 0).all(axis=1)
        barely = (sides * framing.visible < MIN_SIDE - _ROUNDING).any(axis=1)
        small = ~ignored & ~flat & barely
        # As fractions of the image are where pixels are expected.
        fractions = small & (boxes[:, 2:] * framing.original <= 1.0 + _ROUNDING).all(axis=1)
        few = Lost(
            f"smaller than one pixel at {framing.size} px", "raise the size of the recipe's network"
        )
        lost = {_IGNORED: ignored, _FLAT: flat, _FRACTIONS: fractions, few: small & ~fractions}

        def count(kept: np.ndarray) -> np.ndarray:
            inside = kept & (classes >= 0) & (classes < num_classes)
            return np.bincount(classes[inside], minlength=num_classes)

        whole = boxes * np.tile(framing._replace(scale=1.0).visible, 2)
        seen = (whole[:, 2:] - whole[:, :2] >= MIN_SIDE - _ROUNDING).all(axis=1)
        return LabelContent(
            total=len(boxes),
            found=count(~ignored),
            usable=count(~(ignored | flat | small)),
            lost={why: int(where.sum()) for why, where in lost.items() if where.any()},
            boxes=whole[seen & ~ignored],
        )

    def misfits(self, boxes: np.ndarray, size: int) -> list[str]:
        """Return a sentence on anchors that other ones surpass, and one on objects too small.

        Below an IoU of 0.3 an anchor is a negative of the proposal network, unless no other
        overlaps the object more.
        """
        if len(boxes) < _ENOUGH_BOXES:
            return []
        task, boxes = self.task, evenly(boxes)
        given = Anchors(task.head.scales((size, size)), task.anchor_ratios)
        fitted, found = fit_anchors(boxes, size=size), []
        now, then = (best_ious(boxes, anchors, size=size) for anchors in (given, fitted))
        if then.mean() >= now.mean() + _WORTHWHILE:
            values = f"anchor_scales={fitted.scales}"
            if fitted.ratios != task.anchor_ratios:
                values += f", anchor_ratios={fitted.ratios}"
            scales = tuple(round(scale, 2) for scale in given.scales)
            origin = "" if task.anchor_scales else f", the default at {size} px,"
            found.append(
                f"anchor_scales={scales}{origin} do not fit the boxes: the best anchor's IoU with "
                f"a box is {now.mean():.2f} on average, and below {NEGATIVE_IOU} for "
                f"{(now < NEGATIVE_IOU).mean():.0%} of the boxes; {values} reaches "
                f"{then.mean():.2f} (fitted_detection chooses these values)"
            )
        sides = np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1))
        tiny = (np.maximum(now, then) < NEGATIVE_IOU) & (sides < _FINEST_STRIDE)
        if tiny.mean() >= _MANY:
            found.append(
                f"{tiny.mean():.0%} of the boxes are smaller than {_FINEST_STRIDE} px, the finest "
                f"stride, at {size} px, and overlap no anchor by an IoU of {NEGATIVE_IOU}: raise "
                "the size of the recipe's network"
            )
        return found

    @property
    def teachable(self) -> tuple[str, ...]:
        """Boxes, with their scores and classes, and masks."""
        return ("boxes", "masks") if self.task.with_masks else ("boxes",)

    def taught_by(self, stored: Stored) -> tuple[str, ...]:
        """Return what is taught; an image without objects teaches boxes: all is background."""
        has_mask = np.asarray(stored["has_mask"], bool) & ~np.asarray(stored["ignore"], bool)
        keys = self.teachable if has_mask.any() else ("boxes",)
        return keys if float(stored["labelled"]) > 0 else ()

    count_unit: ClassVar[str] = "objects"

    def count_classes(self, stored: Stored) -> np.ndarray:
        """Return the objects of each class; ignored ones do not count."""
        classes = np.asarray(stored["classes"])[~np.asarray(stored["ignore"], bool)]
        return np.bincount(classes[classes >= 0], minlength=len(self.classes)).astype(float)


def _specs(num_boxes: int | None, mask_size: int | None, weighted: bool) -> dict[str, Spec]:
    """Return the keys of a label of some boxes, and of masks of some cells a side."""
    weight = {"weight": Spec((num_boxes,), "float32", optional=True)} if weighted else {}
    return weight | {
        "boxes": Spec((num_boxes, 4), "float32"),
        "classes": Spec((num_boxes,), "int32"),
        "masks": Spec((num_boxes, mask_size, mask_size), "uint8"),
        "has_mask": Spec((num_boxes,), "bool"),
        "ignore": Spec((num_boxes,), "bool"),
        "labelled": Spec((), "float32"),
    }


def _mask_places(masks: Tensor, has_mask: Tensor) -> Tensor:
    """Return each object's place among masks [N, ...], or among [M + 1, ...] of `compact`."""
    has_mask = ops.cast(has_mask, "int32")
    number, last = ops.shape(has_mask)[0], ops.shape(masks)[0] - 1
    among_some = ops.where(has_mask > 0, ops.cumsum(has_mask) - 1, last)
    return ops.where(number == last + 1, ops.arange(number, dtype="int32"), among_some)


def _with_nothing(values: Tensor) -> Tensor:
    """Return values [n, ...] with a row of zeros at the end."""
    values = ops.convert_to_tensor(values)
    return ops.concatenate([values, ops.zeros((1, *ops.shape(values)[1:]), values.dtype)], axis=0)


def _truncated(boxes: Tensor, slots: int) -> Tensor:
    """Return boxes [n, 4], n >= slots, in fewer places: the last bounds all that do not fit."""
    present = box_ops.area(boxes) > 0.0
    boxes = ops.where(present[:, None], boxes, 0.0)
    last, is_last = boxes[slots - 1 :], present[slots - 1 :, None]
    low = ops.min(ops.where(is_last, last[:, :2], float("inf")), axis=0)
    high = ops.max(ops.where(is_last, last[:, 2:], 0.0), axis=0)
    bound = ops.where(ops.any(is_last), ops.concatenate([low, high]), 0.0)
    return ops.concatenate([boxes[: slots - 1], bound[None]], axis=0)


def masks_of_some(
    num_objects: int, rows: Sequence[int], masks: Sequence[np.ndarray], *, size: int
) -> np.ndarray:
    """Return masks for all objects, of which some have one: [num_objects, size, size] uint8.

    Only the masks of `rows` take memory: what lies between is never written, and without a row all
    masks are one.

    Args:
        num_objects: all.
        rows: the objects that have a mask.
        masks: theirs, each [size, size].
        size: cells a side.
    """
    if not len(rows):
        return np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (num_objects, size, size))
    found = np.zeros((num_objects, size, size), np.uint8)
    found[rows] = masks
    return found
