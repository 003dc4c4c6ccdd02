"""Stored labels from plain values: what sources have in common when they say what they know."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from must_keras.errors import UserError
from must_keras.tasks.segmentation import IGNORE

Stored = dict[str, np.ndarray]


def class_label(index: int, num_classes: int) -> Stored:
    """The label of an image of one class: "probabilities" [K], one-hot.

    Raises:
        UserError: the index is not in [0, num_classes), as where a set says -1 for "not labeled";
            such an image has no label, not this one.
    """
    if not 0 <= index < num_classes:
        raise UserError(
            f"class {index} of {num_classes}: expected 0 to {num_classes - 1}, and no label at all "
            "for an image without a class"
        )
    probabilities = np.zeros(num_classes, np.float32)
    probabilities[index] = 1.0
    return {"probabilities": probabilities, "labelled": np.ones((), np.float32)}


def objects(
    *,
    boxes: ArrayLike,
    classes: ArrayLike,
    masks: ArrayLike | None = None,
    has_mask: ArrayLike | None = None,
    ignore: ArrayLike | None = None,
    scores: ArrayLike | None = None,
) -> Stored:
    """The label of an image on which somebody looked for objects; n may be 0.

    Args:
        boxes: [n, 4] (ymin, xmin, ymax, xmax), fractions of the upright image.
        classes: [n].
        masks: [n, S, S], 0 or 1, crops of the boxes; None: there are none.
        has_mask: [n] bool; None: all where there are masks.
        ignore: [n] bool, neither positive nor negative; None: no box.
        scores: [n], 0 to 1, where a model found the objects; None: they are sure.
    """
    classes = np.asarray(classes, np.int32).reshape(-1)
    n = len(classes)
    if has_mask is None:
        has_mask = np.full(n, masks is not None)
    told = {} if scores is None else {"scores": np.asarray(scores, np.float32).reshape(n)}
    return told | {
        "boxes": np.asarray(boxes, np.float32).reshape(n, 4),
        "classes": classes,
        "masks": np.zeros((n, 1, 1), np.uint8) if masks is None else np.asarray(masks, np.uint8),
        "has_mask": np.asarray(has_mask, bool).reshape(n),
        "ignore": np.zeros(n, bool) if ignore is None else np.asarray(ignore, bool).reshape(n),
        "labelled": np.ones((), np.float32),
    }


def masks_of_some(
    num_objects: int, rows: Sequence[int], masks: Sequence[np.ndarray], *, size: int
) -> np.ndarray:
    """Return the masks of objects of which some have one: [num_objects, size, size] uint8.

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


def rows_by_image(places: np.ndarray, num_images: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of rows by image, stable, and where in it each image begins.

    Args:
        places: [N] the image of each row.
        num_images: all, with rows or without.

    Returns:
        [N], and [num_images + 1]: the rows of image i are order[firsts[i] : firsts[i + 1]].
    """
    counts = np.bincount(places, minlength=num_images)
    return np.argsort(places, kind="stable"), np.concatenate([[0], np.cumsum(counts)])


def relabeled(label: Stored, table: np.ndarray, num_classes: int) -> Stored | None:
    """A label of classes, boxes or a map in another list of classes.

    Args:
        label: of an image that is labeled.
        table: [K] the new index of every old one; -1: left out.
        num_classes: of the new list.

    Returns:
        The label: without objects of a class that is left out, and with its pixels ignored; None
        for an image of such a class, which has no label then.
    """
    if "probabilities" in label:
        kept = table >= 0
        probabilities = np.zeros(num_classes, np.float32)
        np.add.at(probabilities, table[kept], label["probabilities"][kept])
        total = probabilities.sum()
        return label | {"probabilities": probabilities / total} if total > 0 else None
    if "boxes" in label:
        classes = table[label["classes"]]
        kept = classes >= 0
        keys = ("boxes", "has_mask", "ignore", "scores")
        parts = {key: label[key][kept] for key in keys if key in label}
        masks, with_mask = label["masks"], np.flatnonzero(kept & label["has_mask"])
        rows = np.flatnonzero(parts["has_mask"])
        parts["masks"] = masks_of_some(
            len(parts["has_mask"]), rows, masks[with_mask], size=masks.shape[-1]
        )
        return label | parts | {"classes": classes[kept].astype(np.int32)}
    bytes_ = np.full(256, IGNORE, np.uint8)
    bytes_[: len(table)] = np.where(table >= 0, table, IGNORE)
    return label | {"map": bytes_[label["map"]]}
