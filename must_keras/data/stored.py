"""Stored labels from plain values: what sources have in common when they say what they know."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from must_keras.errors import UserError
from must_keras.tasks.segmentation import IGNORE

Stored = dict[str, np.ndarray]


def class_label(index: int, num_classes: int) -> Stored:
    """The label of an image of one class: "probabilities" [K], one-hot.

    Raises:
        UserError: the index is not in [0, num_classes), as where a set says -1 for "not labelled";
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


def relabelled(label: Stored, table: np.ndarray, num_classes: int) -> Stored | None:
    """A label of classes, boxes or a map in another list of classes.

    Args:
        label: of an image that is labelled.
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
        keys = ("boxes", "masks", "has_mask", "ignore", "scores")
        parts = {key: label[key][kept] for key in keys if key in label}
        return label | parts | {"classes": classes[kept].astype(np.int32)}
    bytes_ = np.full(256, IGNORE, np.uint8)
    bytes_[: len(table)] = np.where(table >= 0, table, IGNORE)
    return label | {"map": bytes_[label["map"]]}
