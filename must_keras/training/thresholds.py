"""How right a model is above every threshold, and thresholds that are chosen by it."""

from __future__ import annotations

import dataclasses
import math
import pathlib
from typing import Any, NamedTuple

import numpy as np

from must_keras.arrays import read_arrays
from must_keras.errors import UserError, damaged
from must_keras.files import replacing
from must_keras.tasks.evaluation import ScoredPredictions
from must_keras.tasks.thresholds import DROPPED

# Thresholds are told apart to a thousandth; a map's scores, in 1/255, all lie in different ones.
_STEPS = 1000
# As label columns compare them: float32.
_EDGES = (np.arange(_STEPS + 1) / _STEPS).astype(np.float32)


class Standing(NamedTuple):
    """How one class stands at a threshold, on the images that were counted.

    Attributes:
        answers: how many reach the threshold.
        right: how many of these are right.
        true: how many there were to be found.
    """

    answers: int
    right: int
    true: int

    @property
    def precision(self) -> float:
        """The share of answers that are right; NaN where there is none."""
        return self.right / self.answers if self.answers else math.nan

    @property
    def recall(self) -> float:
        """The share of what is true that is found; NaN where there is nothing."""
        return self.right / self.true if self.true else math.nan


class PredictionCounts:
    """The answers of every class and the right ones among them, by their scores.

    Scores are counted in thousandths, in the same memory however many pixels come: what it says
    at a multiple of 1/1000 is exact.

    Args:
        num_classes: K.
    """

    def __init__(self, num_classes: int):
        self._answers = np.zeros((num_classes, len(_EDGES)), np.int64)
        self._right = np.zeros_like(self._answers)
        self._true = np.zeros(num_classes, np.int64)

    def __len__(self) -> int:
        return len(self._true)

    def add(self, answers: ScoredPredictions) -> None:
        """Takes a batch's."""
        places = answers.classes.astype(np.int64) * len(_EDGES) + _places(answers.scores)
        for counts, some in (
            (self._answers, places),
            (self._right, places[np.asarray(answers.right, bool)]),
        ):
            counts += np.bincount(some, minlength=counts.size).reshape(counts.shape)
        self._true += answers.true

    def standings(self, index: int) -> dict[float, Standing]:
        """How a class stands at each thousandth in which it has an answer, the lowest first."""
        above = [np.cumsum(c[index, ::-1])[::-1] for c in (self._answers, self._right)]
        true = int(self._true[index])
        return {
            int(place) / _STEPS: Standing(*(int(counts[place]) for counts in above), true)
            for place in np.flatnonzero(self._answers[index])
        }

    def at(self, index: int, threshold: float) -> Standing:
        """How a class stands at a threshold; within a thousandth, at its lower end."""
        first = len(_EDGES) if threshold == DROPPED else int(_places(threshold))
        return Standing(
            answers=int(self._answers[index, first:].sum()),
            right=int(self._right[index, first:].sum()),
            true=int(self._true[index]),
        )

    @property
    def says_only_one(self) -> bool:
        """Whether there are answers, and every one has a score of 1: nothing can be chosen."""
        return bool(self._answers.any() and not self._answers[:, :-1].any())

    def save(self, path: pathlib.Path) -> None:
        """Writes them, compressed, under their name only when whole."""
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, answers=self._answers, right=self._right, true=self._true)

    @classmethod
    def load(cls, path: pathlib.Path) -> PredictionCounts:
        """What `save` wrote.

        Raises:
            DataError: the file is missing, damaged, or contains something else.
        """
        remedy = "delete it, then run --stage=teacher to count the answers again"
        arrays = read_arrays(path, remedy=remedy)
        for name in ("answers", "right", "true"):
            if name not in arrays or arrays[name].dtype != np.int64:
                raise damaged(path, f"it has no array {name!r} of whole numbers", remedy=remedy)
        counts = cls(arrays["true"].size)
        shapes = [arrays[name].shape for name in ("answers", "right", "true")]
        if shapes != [counts._answers.shape, counts._right.shape, counts._true.shape]:
            raise damaged(path, f"its arrays have the shapes {shapes}", remedy=remedy)
        counts._answers, counts._right = arrays["answers"], arrays["right"]
        counts._true = arrays["true"]
        return counts


class Choice(NamedTuple):
    """The threshold of a class.

    Attributes:
        threshold: DROPPED where there is none.
        why: it is dropped; "" where it is not.
    """

    threshold: float
    why: str = ""


@dataclasses.dataclass(frozen=True)
class AtPrecision:
    """A threshold for every class: the lowest at which pseudo labels are right often enough.

    Of the teacher's answers of a class to the validation images of its own set, those with a score
    of at least the threshold are right in a share of at least `value`; no lower score, in
    thousandths, has that. A class without such a threshold is dropped, and told.

    An answer is a box, right where it finds an object of its class at IoU 0.5; or a pixel.

    Attributes:
        value: the precision, within (0, 1].
        minimum: so many answers must reach the threshold, else the class is dropped as well: of 20
            that are right in 8 of 10, the precision is known to +- 0.09 (a standard deviation).
            Pixels of an image resemble each other: a map's precision is that of few images.
    """

    value: float
    minimum: int = 20

    def __post_init__(self) -> None:
        if not 0.0 < self.value <= 1.0:
            raise UserError(f"AtPrecision({self.value:g}): a share within (0, 1] is needed")
        if self.minimum < 1:
            raise UserError(f"AtPrecision: minimum={self.minimum}, expected 1 or more")

    def choose(self, counts: PredictionCounts, *, lowest: float) -> list[Choice]:
        """The choice for every class.

        Args:
            counts: of the teacher's answers to validation images.
            lowest: the lowest threshold that the task allows.
        """
        return [self._choose(counts, index, lowest) for index in range(len(counts))]

    def _choose(self, counts: PredictionCounts, index: int, lowest: float) -> Choice:
        # The higher a threshold, the fewer answers reach it.
        standings = counts.standings(index)
        believed = {t: s for t, s in standings.items() if s.answers >= self.minimum}
        if not believed:
            count = max((s.answers for s in standings.values()), default=0)
            return Choice(DROPPED, f"{_answers(count)}, fewer than {self.minimum}")
        for threshold, standing in believed.items():
            if standing.precision >= self.value:
                return Choice(max(threshold, lowest))
        # Rounded down: 0.7996 is not told as 0.8, which was asked for.
        best = math.floor(1000 * max(s.precision for s in believed.values())) / 1000
        return Choice(DROPPED, f"of {self.minimum} or more answers at most {best:.1%} are right")


def _places(scores: np.ndarray | float) -> np.ndarray:
    """The thousandth in which scores lie: as a column compares them, score >= edge."""
    return np.searchsorted(_EDGES, np.asarray(scores, np.float32), side="right") - 1


def _answers(count: int) -> str:
    return f"{count} answer{'' if count == 1 else 's'}"


def check_threshold(teacher: Any) -> None:
    """Raises UserError where a teacher's labels cannot be read with its threshold."""
    threshold, where = teacher.threshold, f"teacher {teacher.name!r}"
    if not isinstance(threshold, AtPrecision):
        teacher.task.check_threshold(threshold)
        return
    # Any number will do to learn whether the task takes one.
    teacher.task.check_threshold(1.0)
    if not teacher.has_scores:
        raise UserError(f"{where} has no scores: a threshold cannot be chosen")
    if teacher.sets is None:
        raise UserError(f"{where}: AtPrecision chooses thresholds on validation images: give sets")
