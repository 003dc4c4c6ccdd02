"""What an evaluation finds beyond its metrics: values of each class, confusions, worst images."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

import numpy as np

BACKGROUND = "(background)"
"""In a confusion: no object, where another one is found or missed."""


class Disagreement(NamedTuple):
    """How far the prediction of one image is from its ground truth.

    Attributes:
        amount: 0 where they agree; the larger, the worse the prediction.
        text: what disagrees, for people; the end of "image: ...".

    Example:
        Disagreement(3.0, "2 objects missed, 1 false detection")
    """

    amount: float
    text: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Details:
    """The values of an evaluation beside its metrics; NaN where nothing was labeled.

    Attributes:
        values: {name: value}, as the average precision of small objects.
        by_class: {class: {name: value}}; the classes in their order, the same names for each.
        confusion: {true class: {predicted class: count}} of counts above 0, BACKGROUND included.

    Example:
        Details(by_class={"ant": {"images": 40, "top1": 0.9}}, confusion={"ant": {"ant": 36}})
    """

    values: dict[str, float] = dataclasses.field(default_factory=dict)
    by_class: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    confusion: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)

    @classmethod
    def of_classes(
        cls,
        classes: Sequence[str],
        columns: Mapping[str, np.ndarray],
        *,
        confused: Mapping[tuple[int, int], int] | None = None,
        values: Mapping[str, float] | None = None,
    ) -> Self:
        """Return the details of values that are given by the indices of classes.

        Args:
            classes: K names.
            columns: {name: [K] values}.
            confused: {(true class, predicted class): count}; K is BACKGROUND.
            values: those of all classes together.
        """
        rows = zip(*(np.asarray(column).tolist() for column in columns.values()), strict=True)
        by_class = {
            name: dict(zip(columns, row, strict=True))
            for name, row in zip(classes, rows, strict=True)
        }
        names = (*classes, BACKGROUND)
        confusion: dict[str, dict[str, int]] = {}
        for (true, predicted), count in sorted((confused or {}).items()):
            confusion.setdefault(names[true], {})[names[predicted]] = int(count)
        return cls(values=dict(values or {}), by_class=by_class, confusion=confusion)


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole, [K] float64; NaN where the whole is 0."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=np.asarray(whole) > 0)
