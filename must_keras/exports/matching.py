"""Objects that two copies of a model predict for an image, matched one to one."""

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np

from must_keras.ops import boxes as box_ops

# Below this score, equal networks differ in what is left after suppression.
MIN_SCORE = 0.1
MIN_IOU = 0.99
MAX_SCORE_DIFFERENCE = 1e-3


class Matches(NamedTuple):
    """Objects of which either score is at least MIN_SCORE, matched one to one.

    Attributes:
        objects: number of matched pairs, and of objects of either side without a match.
        matched: number of matched pairs.
        lowest_iou: smallest IoU of a pair; 1 without any.
        difference: largest difference of the scores, and of the masks, of a pair.

    Example:
        Matches() + Matches(objects=3, matched=2, lowest_iou=0.999, difference=1e-6)
    """

    objects: int = 0
    matched: int = 0
    lowest_iou: float = 1.0
    difference: float = 0.0

    def __add__(self, other: Self) -> Self:
        return Matches(
            objects=self.objects + other.objects,
            matched=self.matched + other.matched,
            lowest_iou=min(self.lowest_iou, other.lowest_iou),
            difference=max(self.difference, other.difference),
        )


def match(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> Matches:
    """Match objects of one class, with an IoU of at least MIN_IOU and nearly equal scores.

    Args:
        one: of an image: {"boxes": [N, 4], "scores", "classes": [N], "masks": [N, S, S]}, the last
            of some models; class -1 where there is no object.
        other: of another copy of the model; it may have another number of objects.
    """
    a, b = ({k: v[side["classes"] >= 0] for k, v in side.items()} for side in (one, other))
    ious = np.asarray(box_ops.iou(a["boxes"], b["boxes"]))
    apart = np.abs(a["scores"][:, None] - b["scores"][None])
    fit = (ious >= MIN_IOU) & (apart <= MAX_SCORE_DIFFERENCE)
    fit &= a["classes"][:, None] == b["classes"][None]
    pairs = _one_to_one(np.where(fit, ious, 0.0))
    single = [
        np.delete(side["scores"], [pair[i] for pair in pairs]) for i, side in enumerate((a, b))
    ]
    pairs = [(j, k) for j, k in pairs if max(a["scores"][j], b["scores"][k]) >= MIN_SCORE]
    differences = [apart[pair] for pair in pairs]
    if "masks" in a:
        differences += [np.abs(a["masks"][j] - b["masks"][k]).max() for j, k in pairs]
    return Matches(
        objects=len(pairs) + sum(int((scores >= MIN_SCORE).sum()) for scores in single),
        matched=len(pairs),
        lowest_iou=float(min((ious[pair] for pair in pairs), default=1.0)),
        difference=float(max(differences, default=0.0)),
    )


def _one_to_one(values: np.ndarray) -> list[tuple[int, int]]:
    """Return pairs (row, column) of positive values, by descending value, each row and column once.

    Args:
        values: [N, M].
    """
    pairs, rows, columns = [], set(), set()
    for place in np.argsort(-values, axis=None, kind="stable"):
        row, column = divmod(int(place), values.shape[1])
        if values[row, column] <= 0.0:
            break
        if row not in rows and column not in columns:
            pairs.append((row, column))
            rows.add(row)
            columns.add(column)
    return pairs
