"""Thresholds: the lowest score at which a prediction is a label, given or chosen by precision."""

import dataclasses
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from must_keras.arrays import read_arrays
from must_keras.errors import UserError, damaged, listed, nearest
from must_keras.files import replacing
from must_keras.tasks.summaries import ScoredPredictions

Threshold = float | tuple[float, ...] | None
# The threshold of a dropped class: no score reaches it.
DROPPED = math.inf
# Thresholds have a resolution of a thousandth; a map's scores, in 1/255, differ by more.
_STEPS = 1000
# float32, as pseudo labels are compared with thresholds.
_EDGES = (np.arange(_STEPS + 1) / _STEPS).astype(np.float32)
# Names of the arrays in a file of counts.
_ARRAYS = ("answers", "right", "true")
# Dropped classes that a line names.
_MAX_NAMES = 20


def thresholds_by_class(
    name: str, threshold: Threshold, classes: tuple[str, ...], *, lowest: float
) -> np.ndarray:
    """Return the lowest score that counts for each class, [K] float64; `lowest` without threshold.

    Args:
        name: of the task, for errors.
        threshold: one for all classes, or one for each; DROPPED for a dropped class.
        classes: their names.
        lowest: the lowest threshold that is allowed.

    Raises:
        UserError: another number of thresholds, one is not within [lowest, 1], or they are given
            by the names of classes.
    """
    if isinstance(threshold, Mapping):
        raise UserError(f"{name}: {_keyed(threshold, classes)}")
    try:
        values = np.asarray(lowest if threshold is None else threshold, np.float64)
    except (TypeError, ValueError):
        raise UserError.of(
            name, "threshold", threshold, "expected a number, or one for each class"
        ) from None
    if values.shape not in ((), (len(classes),)):
        raise UserError(
            f"{name}: one threshold is needed, or one for each of {len(classes)} classes; "
            f"received {threshold}"
        )
    one_each = values.ndim == 1
    values = np.broadcast_to(values, (len(classes),))
    for label, value in zip(classes, values, strict=True):
        if not (lowest <= value <= 1.0 or (one_each and value == DROPPED)):
            raise UserError(
                f"{name}: threshold {value:g} of class {label!r} is not within [{lowest:g}, 1]"
            )
    return values


def _keyed(threshold: Mapping[Any, float], classes: tuple[str, ...]) -> str:
    """Return the remedy for thresholds that are given by the names of classes."""
    for key in threshold:
        if key not in classes:
            return f"the threshold of {key!r} is of no class; {nearest(str(key), classes)}"
    numbers = ", ".join(f"{threshold[key]}" if key in threshold else "..." for key in classes)
    return (
        f"received thresholds by the names of classes; give one number for each of the "
        f"{len(classes)} classes in their order: ({numbers},)"
    )


class Standing(NamedTuple):
    """Counts of one class at a threshold, over the images that were counted.

    Attributes:
        predictions: number of predictions whose scores reach the threshold.
        right: number of these that are right.
        true: number of objects or pixels of the class in the ground truth.

    Example:
        Standing(predictions=4, right=3, true=6).recall  # 0.5

    """

    predictions: int
    right: int
    true: int

    @property
    def precision(self) -> float:
        """Share of the predictions that are right; NaN without predictions."""
        return self.right / self.predictions if self.predictions else math.nan

    @property
    def recall(self) -> float:
        """Share of the ground truth that is found; NaN without ground truth."""
        return self.right / self.true if self.true else math.nan


class PredictionCounts:
    """Counts of the predictions of every class, and of the right ones, by their scores.

    Scores are counted in thousandths, in memory that does not depend on their number; counts at
    multiples of 1/1000 are exact.

    Args:
        num_classes: K.

    Example:
        counts = PredictionCounts(3)
        counts.add(task.metrics.scored_predictions(label, outputs))
        counts.at(0, 0.5).precision

    """

    def __init__(self, num_classes: int):
        self._predictions = np.zeros((num_classes, len(_EDGES)), np.int64)
        self._right = np.zeros_like(self._predictions)
        self._true = np.zeros(num_classes, np.int64)

    def __len__(self) -> int:
        return len(self._true)

    def add(self, scored: ScoredPredictions) -> None:
        """Count the scored predictions of a batch."""
        places = scored.classes.astype(np.int64) * len(_EDGES) + _places(scored.scores)
        right = places[np.asarray(scored.correct, bool)]
        for counts, some in ((self._predictions, places), (self._right, right)):
            counts += np.bincount(some, minlength=counts.size).reshape(counts.shape)
        self._true += scored.num_true

    def standings(self, index: int) -> dict[float, Standing]:
        """Return the counts at each thousandth with a prediction of the class, the lowest first."""
        thresholds = [int(place) / _STEPS for place in np.flatnonzero(self._predictions[index])]
        return {threshold: self.at(index, threshold) for threshold in thresholds}

    def at(self, index: int, threshold: float) -> Standing:
        """Return the counts of a class at a threshold, rounded down to a thousandth."""
        first = len(_EDGES) if threshold == DROPPED else int(_places(threshold))
        return Standing(
            predictions=int(self._predictions[index, first:].sum()),
            right=int(self._right[index, first:].sum()),
            true=int(self._true[index]),
        )

    @property
    def all_certain(self) -> bool:
        """Whether there are predictions and each has a score of 1: no threshold can be chosen."""
        return bool(self._predictions.any() and not self._predictions[:, :-1].any())

    def save(self, path: pathlib.Path) -> None:
        """Write the counts to a compressed file, which is renamed when it is complete."""
        arrays = zip(_ARRAYS, (self._predictions, self._right, self._true), strict=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, **dict(arrays))

    @classmethod
    def load(cls, path: pathlib.Path) -> Self:
        """Read the counts from a file of `save`.

        Raises:
            DataError: the file is missing, damaged, or contains something else.
        """
        remedy = 'delete it, then run stage="teacher" to count the predictions again'
        arrays = read_arrays(path, remedy=remedy)
        for name in _ARRAYS:
            if name not in arrays or arrays[name].dtype != np.int64:
                raise damaged(path, f"it has no array {name!r} of whole numbers", remedy=remedy)
        counts = cls(arrays["true"].size)
        shapes = [arrays[name].shape for name in _ARRAYS]
        if shapes != [counts._predictions.shape, counts._right.shape, counts._true.shape]:
            raise damaged(path, f"its arrays have the shapes {shapes}", remedy=remedy)
        counts._predictions, counts._right, counts._true = (arrays[name] for name in _ARRAYS)
        return counts


class Choice(NamedTuple):
    """The threshold of a class.

    Attributes:
        threshold: in [0, 1], or DROPPED.
        why: reason for dropping the class, or "".

    Example:
        AtPrecision(0.8).choose(counts, lowest=0.05)[0].threshold  # 0.63

    """

    threshold: float
    why: str = ""


@dataclasses.dataclass(frozen=True)
class AtPrecision:
    """A rule for the threshold of every class: the lowest with a precision of at least `value`.

    The precision is that of the teacher's predictions on the validation images of its own set, at
    multiples of 1/1000. A class without such a threshold is dropped, with a warning.

    A prediction is a box, right where it matches an object of its class at IoU 0.5; or a pixel.

    Attributes:
        value: the precision, in (0, 1].
        minimum: number of predictions that must reach the threshold, else the class is dropped:
            the precision of 20 predictions of which 16 are right has a standard deviation of 0.09.
            Pixels of an image are similar: a map's precision is that of few images.

    Example:
        mk.Teacher(task=task, sets=sets, training=training, threshold=mk.AtPrecision(0.8))

    """

    value: float
    minimum: int = 20

    def __post_init__(self) -> None:
        if not 0.0 < self.value <= 1.0:
            raise UserError(f"AtPrecision({self.value:g}): a share within (0, 1] is needed")
        if self.minimum < 1:
            raise UserError(f"AtPrecision: minimum={self.minimum}, expected 1 or more")

    def choose(self, counts: PredictionCounts, *, lowest: float) -> list[Choice]:
        """Return the choice for every class.

        Args:
            counts: of the teacher's predictions on validation images.
            lowest: smallest threshold that the task allows.
        """
        return [self._choose(counts, index, lowest) for index in range(len(counts))]

    def _choose(self, counts: PredictionCounts, index: int, lowest: float) -> Choice:
        # The higher a threshold, the fewer predictions reach it.
        standings = counts.standings(index)
        reliable = {t: s for t, s in standings.items() if s.predictions >= self.minimum}
        if not reliable:
            count = max((s.predictions for s in standings.values()), default=0)
            noun = "prediction" if count == 1 else "predictions"
            return Choice(DROPPED, f"{count} {noun}, fewer than {self.minimum}")
        for threshold, standing in reliable.items():
            if standing.precision >= self.value:
                return Choice(max(threshold, lowest))
        # Rounded down: 0.7996 is not shown as 0.8, the precision that was asked for.
        best = math.floor(1000 * max(s.precision for s in reliable.values())) / 1000
        why = f"of {self.minimum} or more predictions at most {best:.1%} are right"
        return Choice(DROPPED, why)


def _places(scores: np.ndarray | float) -> np.ndarray:
    """Return the thousandth of each score: the last edge with score >= edge."""
    return np.searchsorted(_EDGES, np.asarray(scores, np.float32), side="right") - 1


def rule_of(threshold: Threshold | AtPrecision) -> AtPrecision | None:
    """Return the rule that chooses a teacher's thresholds; None where they are given."""
    return threshold if isinstance(threshold, AtPrecision) else None


def check_threshold(teacher: Any) -> None:
    """Raise UserError where a teacher's labels cannot be read with its threshold."""
    threshold, where = teacher.threshold, f"teacher {teacher.name!r}"
    if teacher.ignore_from is not None:
        _check_ignore_from(teacher, where)
    if teacher.weight_by_score:
        _check_weight_by_score(teacher, where)
    if rule_of(threshold) is None:
        teacher.task.records.check_threshold(threshold)
        return
    # Any number shows whether the task takes thresholds.
    teacher.task.records.check_threshold(1.0)
    if not teacher.has_scores:
        raise UserError(f"{where} has no scores: a threshold cannot be chosen")
    if teacher.sets is None:
        raise UserError(f"{where}: AtPrecision chooses thresholds on validation images: give sets")


def _check_ignore_from(teacher: Any, where: str) -> None:
    """Raise UserError where nothing can be between `ignore_from` and a teacher's threshold."""
    records, value = teacher.task.records, teacher.ignore_from
    if not records.takes_ignore_from:
        raise UserError.of(
            where, "ignore_from", value, f"labels of kind {teacher.task.kind!r} have no background"
        )
    if teacher.threshold is None:
        raise UserError.of(where, "ignore_from", value, "a threshold above it is needed")
    given = rule_of(teacher.threshold) is None
    highest = max(n for n in records.limits(teacher.threshold) if n != DROPPED) if given else 1.0
    if not records.floor <= value < highest:
        allowed = f"expected at least {records.floor:g} and less than the threshold, {highest:g}"
        raise UserError.of(where, "ignore_from", value, allowed)


def _check_weight_by_score(teacher: Any, where: str) -> None:
    """Raise UserError where a teacher's labels have no scores that can be weights."""
    why = teacher.task.records.why_unweighted
    if why is not None:
        problem = f"labels of kind {teacher.task.kind!r} {why}"
        raise UserError.of(where, "weight_by_score", True, problem)
    if not teacher.has_scores:
        raise UserError.of(where, "weight_by_score", True, "its labels have no scores")


def chosen_numbers(chosen: dict[str, Choice]) -> list[float]:
    """The thresholds of the classes that are not dropped."""
    return [choice.threshold for choice in chosen.values() if choice.threshold != DROPPED]


def span(numbers: list[float]) -> str:
    """The lowest and the highest of them, for a person."""
    low, high = f"{min(numbers):g}", f"{max(numbers):g}"
    return low if low == high else f"{low} to {high}"


def dropped(chosen: dict[str, Choice]) -> str:
    """Which classes are dropped, and why; "" where none is."""
    why = [f"{name} ({choice.why})" for name, choice in chosen.items() if choice.why]
    if not why:
        return ""
    names = listed(why, limit=_MAX_NAMES)
    classes = "1 class is" if len(why) == 1 else f"{len(why)} classes are"
    every = ", that is all of them" if len(why) == len(chosen) > 1 else ""
    return f"{classes} dropped{every}: {names}"
