"""Stored labels from plain values, for sources of all formats."""

import numpy as np
from numpy.typing import ArrayLike

from must_keras.errors import UserError

Stored = dict[str, np.ndarray]


def class_label(index: int, num_classes: int) -> Stored:
    """Return the label of an image of one class: "probabilities" [K], one-hot.

    Raises:
        UserError: the index is not in [0, num_classes), as -1 for "not labeled" in some sets;
            such an image has no label.
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
    """Return the label of an image whose objects are all labeled; n may be 0.

    Args:
        boxes: [n, 4] (ymin, xmin, ymax, xmax), fractions of the upright image.
        classes: [n].
        masks: [n, S, S], 0 or 1, crops of the boxes; None: there are none.
        has_mask: [n] bool; None: all where there are masks.
        ignore: [n] bool, neither positive nor negative; None: no box.
        scores: [n], 0 to 1, where a model found the objects; None: they are certain.
    """
    classes = np.asarray(classes, np.int32).reshape(-1)
    n = len(classes)
    if has_mask is None:
        has_mask = np.full(n, masks is not None)
    with_scores = {} if scores is None else {"scores": np.asarray(scores, np.float32).reshape(n)}
    return with_scores | {
        "boxes": np.asarray(boxes, np.float32).reshape(n, 4),
        "classes": classes,
        "masks": np.zeros((n, 1, 1), np.uint8) if masks is None else np.asarray(masks, np.uint8),
        "has_mask": np.asarray(has_mask, bool).reshape(n),
        "ignore": np.zeros(n, bool) if ignore is None else np.asarray(ignore, bool).reshape(n),
        "labelled": np.ones((), np.float32),
    }


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
