"""Detections matched to the objects of a label, image by image."""

from collections.abc import Iterator

import numpy as np

from must_keras.tasks.detection.records import ranked
from must_keras.tasks.parts import Arrays

_MATCHED_IOU, _IGNORED_COVERAGE = 0.5, 0.5
# Ultralytics' value for confusions: detections with lower scores are kept for AP alone.
_MIN_SCORE = 0.25
BACKGROUND = -1
"""In a pair of `confusions`: no object."""


def image_of(batch: Arrays, index: int) -> Arrays:
    """Return one image's label or prediction."""
    return {key: np.asarray(value[index]) for key, value in batch.items()}


def objects(label: Arrays) -> Iterator[tuple]:
    """Yield (box, class, is ignored, mask or None) of everything in one image's label."""
    columns = (label[key] for key in ("boxes", "classes", "ignore", "has_mask", "masks"))
    for box, category, is_ignored, has_mask, mask in zip(*columns, strict=True):
        if category >= 0 or is_ignored:
            yield box, int(category), bool(is_ignored), mask if has_mask else None
    for box in label["truncated_boxes"]:
        if box[2] > box[0]:
            yield box, -1, True, None


def take_match(box: np.ndarray, category: int | None, free: list[tuple]) -> tuple | None:
    """Remove the object of a class that a box overlaps most, by an IoU of at least 0.5; return it.

    Args:
        box: of a prediction.
        category: its class; None: an object of any class.
        free: objects of `objects` that no prediction has taken.
    """
    wanted = [i for i, other in enumerate(free) if category in (None, other[1])]
    if not wanted:
        return None
    overlaps, _ = _overlaps(box, np.stack([free[i][0] for i in wanted]))
    best = int(np.argmax(overlaps))
    return free.pop(wanted[best]) if overlaps[best] >= _MATCHED_IOU else None


def is_covered(box: np.ndarray, ignored: list[tuple]) -> bool:
    """Return whether at least half of a box lies in an object of `objects` that is ignored."""
    if not ignored:
        return False
    _, covered = _overlaps(box, np.stack([region[0] for region in ignored]))
    return bool((covered >= _IGNORED_COVERAGE).any())


def confusions(label: Arrays, prediction: Arrays) -> list[tuple[int, int]]:
    """Return the pairs (true class, predicted class) of one image's objects and detections.

    Detections with a score of at least 0.25 take, by descending score, the free object of their
    class that they overlap most, by an IoU of at least 0.5; then those that are left take a free
    object of any class likewise. BACKGROUND is the true class of a detection that takes none, and
    the predicted class of an object that none takes. A detection that lies in an ignored region by
    half counts nothing.
    """
    truth = list(objects(label))
    free = [found for found in truth if not found[2]]
    left, pairs = [], list[tuple[int, int]]()
    for i in ranked(prediction, floor=_MIN_SCORE):
        box, category = prediction["boxes"][i], int(prediction["classes"][i])
        if take_match(box, category, free) is None:
            left.append((box, category))
        else:
            pairs.append((category, category))
    for box, category in left:
        match = take_match(box, None, free)
        near = [t for t in truth if t[2] and t[1] in (BACKGROUND, category)]
        if match is not None:
            pairs.append((match[1], category))
        elif not is_covered(box, near):
            pairs.append((BACKGROUND, category))
    return pairs + [(category, BACKGROUND) for _, category, _, _ in free]


def _overlaps(box: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the IoU of a box [4] with others [N, 4], and the share of it in each: [N] float64."""
    sides = np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2])
    corners = (sides, box[None, 2:] - box[None, :2], others[:, 2:] - others[:, :2])
    common, own, its = (np.prod(np.maximum(c, 0.0), axis=-1).astype(np.float64) for c in corners)
    return _ratio(common, own + its - common), _ratio(common, np.broadcast_to(own, common.shape))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, [N]; 0 where the whole is 0: boxes without area."""
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
