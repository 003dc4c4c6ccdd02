"""Errors of depth, and the mean depth that they are compared with."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from keras import ops

from must_keras.ops.maps import fit_scale_shift
from must_keras.tasks import base
from must_keras.tasks.evaluation import Evaluator, Metric, TrivialBaseline, error, share
from must_keras.tasks.parts import Arrays

# Below this mean correlation with the ground truth a depth is inverted, not merely imprecise.
_INVERTED_CORRELATION = -0.1
# Beyond this ratio to the ground truth a depth is in another unit, not merely imprecise.
_MAX_UNIT_RATIO = 20.0


class DepthErrors(Evaluator):
    """delta1 (share of pixels with max(p/t, t/p) < 1.25), abs_rel and rmse: means over images.

    Args:
        partly: whether pixels without a pseudo label are left out; otherwise they count as a depth
            of 0: never within delta1, an error of all the true depth.

    Example:
        errors, meters = DepthErrors(), np.full((1, 4, 4), 2.0)
        errors.update({"depth": meters}, {"depth": 1.1 * meters})
        errors.result()  # {"delta1": 1.0, "abs_rel": 0.1, "rmse": 0.2}
    """

    metrics = (share("delta1"), error("abs_rel"), error("rmse"))

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._rows: list[tuple[float, float, float]] = []
        self._signs = _Signs()
        self._log_ratios: list[float] = []

    def update(self, label: Arrays, prediction: Arrays) -> None:
        for true, predicted in _valid_pairs(label["depth"], prediction["depth"], self._partly):
            self.add(true, predicted)
            known = predicted > 0
            if known.any():
                self._signs.add(true[known], predicted[known])
                ratio = float(np.median(predicted[known]) / np.median(true[known]))
                self._log_ratios.append(math.log(ratio))

    def add(self, true: np.ndarray, predicted: np.ndarray) -> None:
        """Add one image's valid pixels, [N] each, N > 0, as depth; 0 where none is predicted."""
        near, far = np.minimum(predicted, true), np.maximum(predicted, true)
        difference = predicted - true
        delta1 = float((far < 1.25 * near).mean())
        abs_rel = float((np.abs(difference) / true).mean())
        self._rows.append((delta1, abs_rel, float(np.sqrt((difference**2).mean()))))

    def values(self) -> Sequence[float]:
        return np.mean(self._rows, axis=0) if self._rows else [math.nan] * 3

    def warnings(self) -> list[str]:
        """Return what a wrong convention explains: an inverted depth, or one in another unit."""
        found = self._signs.warnings(
            "does larger mean nearer there? Metric depth is a distance in meters: larger is farther"
        )
        ratio = math.exp(statistics.fmean(self._log_ratios)) if self._log_ratios else 1.0
        if not 1.0 / _MAX_UNIT_RATIO < ratio < _MAX_UNIT_RATIO:
            found.append(
                f"the predicted depth is {ratio:.3g} times the ground truth on average of "
                f"{len(self._log_ratios)} images: is it in another unit? Metric depth is in meters"
            )
        return found


class AlignedErrors(Evaluator):
    """The same of relative inverse depth, with an unknown positive scale and an unknown shift.

    Each prediction is first aligned to the label by least squares in inverse depth with a scale of
    at least 0, over the valid pixels that have a prediction. Where the best scale would be
    negative, the prediction is inverted and counts as the label's mean inverse depth. The aligned
    prediction is clipped to [min, max] of the image's valid label, as MiDaS (Ranftl et al., 2020)
    caps depth: alignment may put a pixel beyond infinity, and one such pixel would outweigh all
    others. Then both are compared as depth, 1 / inverse depth.

    "correlation" is Pearson's, of inverse depth, before any alignment: the mean over images whose
    label is not constant; 0 where the prediction is constant.

    Example:
        errors, inverse = AlignedErrors(), np.linspace(0.1, 1.0, 16).reshape(1, 4, 4)
        errors.update({"depth": inverse}, {"depth": 3.0 * inverse + 1.0})
        errors.result()["delta1"]  # 1.0
    """

    metrics = (*DepthErrors.metrics, Metric("correlation", better="higher", range=(-1.0, 1.0)))

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._errors = DepthErrors()
        self._signs = _Signs()

    def update(self, label: Arrays, prediction: Arrays) -> None:
        for true, predicted in _valid_pairs(label["depth"], prediction["depth"], self._partly):
            known = predicted > 0
            depth = np.zeros_like(true)
            if known.any():
                aligned = _aligned(predicted[known], true[known])
                depth[known] = 1.0 / np.clip(aligned, true.min(), true.max())
            self._errors.add(1.0 / true, depth)
            self._signs.add(true[known], predicted[known])

    def values(self) -> Sequence[float]:
        return [*self._errors.values(), self._signs.mean()]

    def warnings(self) -> list[str]:
        """Return what a wrong convention explains: an inverted depth."""
        return self._signs.warnings(
            "in relative inverse depth larger is nearer. Where the values are distances, declare "
            'them so (form="meters" of a model, metric maps of a source); else invert the maps'
        )


class _Signs:
    """Pearson correlations of depth with its ground truth, one an image."""

    def __init__(self) -> None:
        self._correlations: list[float] = []

    def add(self, true: np.ndarray, predicted: np.ndarray) -> None:
        """Add one image's valid pixels, [N] each; a constant ground truth has no correlation."""
        if not true.size or _is_constant(true):
            return
        if _is_constant(predicted):
            self._correlations.append(0.0)
        else:
            self._correlations.append(float(np.corrcoef(true, predicted)[0, 1]))

    def mean(self) -> float:
        """Return the mean over images in [-1, 1]; NaN where there is no image."""
        return statistics.fmean(self._correlations) if self._correlations else math.nan

    def warnings(self, what_to_do: str) -> list[str]:
        """Return a sentence where the mean is clearly negative; ends with what to do."""
        mean = self.mean()
        if not mean < _INVERTED_CORRELATION:
            return []
        share = np.mean(np.array(self._correlations) < 0)
        return [
            f"its depth seems inverted: the mean correlation with the ground truth is {mean:.2f}, "
            f"negative in {share:.0%} of {len(self._correlations)} images; {what_to_do}"
        ]


def _aligned(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return a prediction [N] after a least-squares scale >= 0 and shift to the label [N]."""
    # Within [0, 1], so that "nearly equal values" is the same for every unit.
    values = np.zeros_like(predicted)
    if not _is_constant(predicted):
        values = (predicted - predicted.min()) / (predicted.max() - predicted.min())
    fit = fit_scale_shift(values[None], true[None], np.ones((1, len(predicted)), bool))
    scale, shift, _ = (float(ops.convert_to_numpy(value)[0]) for value in fit)
    return scale * values + shift


def _is_constant(values: np.ndarray) -> bool:
    """Return whether values [N] differ by no more than float32 can resolve."""
    return bool(np.ptp(values) <= 1e-6 * np.abs(values).max())


def _valid_pairs(
    label: np.ndarray, prediction: np.ndarray, partly: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (true, predicted), [N] float64, of the known pixels of each image that has any.

    Predicted is 0 without a depth; with `partly` such pixels are left out.
    """
    for true, predicted in zip(label, prediction, strict=True):
        true, predicted = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
        valid, known = (np.isfinite(depth) & (depth > 0) for depth in (true, predicted))
        predicted = np.where(known, predicted, 0.0)
        if partly:
            valid &= known
        if valid.any():
            yield true[valid], predicted[valid]


class MeanDepth(TrivialBaseline):
    """Each pixel's mean over the training labels, in the head's own kind.

    Example:
        baseline = MeanDepth()
        baseline.update({"depth": np.full((2, 4, 4), 3.0)})
        baseline.predict(1)["depth"].mean()  # 3.0
    """

    def __init__(self) -> None:
        self._sum: Any = 0.0
        self._count: Any = 0

    def update(self, label: Arrays) -> None:
        depth = np.asarray(label["depth"], np.float64)
        valid = np.isfinite(depth) & (depth > 0)
        self._sum = self._sum + np.where(valid, depth, 0.0).sum(0)
        self._count = self._count + valid.sum(0)

    def prediction(self) -> dict[str, np.ndarray]:
        overall = self._sum.sum() / max(self._count.sum(), 1)
        mean = np.where(self._count > 0, self._sum / np.maximum(self._count, 1), overall)
        return {"depth": mean.astype(np.float32)}


_ERRORS = {"metric": DepthErrors, "relative_inverse": AlignedErrors}


class Metrics(base.Metrics):
    """Errors of depth, compared with each pixel's mean depth.

    Example:
        Depth(name="distance").metrics.evaluator()
    """

    def evaluator(self) -> Evaluator:
        return _ERRORS[self.task.kind]()

    def quality(self) -> Evaluator:
        return _ERRORS[self.task.kind](partly=True)

    def trivial_baseline(self) -> TrivialBaseline:
        return MeanDepth()
