"""How right a depth is, and the depth that never looks."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from keras import ops

from must_keras.ops.masked import fit_scale_shift
from must_keras.tasks.evaluation import Evaluator, TrivialBaseline

# Below this mean correlation with the ground truth a depth is inverted, not merely imprecise.
_INVERTED_CORRELATION = -0.1
# Beyond this ratio to the ground truth a depth is in another unit, not merely imprecise.
_MAX_UNIT_RATIO = 20.0


class DepthErrors(Evaluator):
    """delta1 (share of pixels with max(p/t, t/p) < 1.25), abs_rel and rmse: means over images.

    Args:
        partly: whether pixels may be left out that a pseudo label says nothing of; otherwise what
            is no depth counts as 0: never within delta1, an error of all the true depth.
    """

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._rows: list[tuple[float, float, float]] = []
        self._signs = _Signs()
        self._log_ratios: list[float] = []

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        for true, said in _valid_pairs(label["depth"], outputs["depth"], self._partly):
            self.add(true, said)
            told = said > 0
            if told.any():
                self._signs.add(true[told], said[told])
                ratio = float(np.median(said[told]) / np.median(true[told]))
                self._log_ratios.append(math.log(ratio))

    def add(self, true: np.ndarray, said: np.ndarray) -> None:
        """Takes the valid pixels of one image, [N] each, at least one, as depth (said: or 0)."""
        near, far = np.minimum(said, true), np.maximum(said, true)
        error = said - true
        self._rows.append(
            (
                float((far < 1.25 * near).mean()),
                float((np.abs(error) / true).mean()),
                float(np.sqrt((error**2).mean())),
            )
        )

    def result(self) -> dict[str, float]:
        means = np.mean(self._rows, axis=0) if self._rows else [math.nan] * 3
        return dict(zip(("delta1", "abs_rel", "rmse"), map(float, means), strict=True))

    def warnings(self) -> list[str]:
        """See Evaluator: an inverted depth, or one in another unit."""
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
    """

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._errors = DepthErrors()
        self._signs = _Signs()

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        for true, said in _valid_pairs(label["depth"], outputs["depth"], self._partly):
            told = said > 0
            depth = np.zeros_like(true)
            if told.any():
                aligned = _aligned(said[told], true[told])
                depth[told] = 1.0 / np.clip(aligned, true.min(), true.max())
            self._errors.add(1.0 / true, depth)
            self._signs.add(true[told], said[told])

    def result(self) -> dict[str, float]:
        return self._errors.result() | {"correlation": self._signs.mean()}

    def warnings(self) -> list[str]:
        """See Evaluator: an inverted depth."""
        return self._signs.warnings(
            "in relative inverse depth larger is nearer. Where the values are distances, declare "
            'them so (form="meters" of a model, metric maps of a source); else invert the maps'
        )


class _Signs:
    """Pearson correlations of depth with its ground truth, one an image."""

    def __init__(self) -> None:
        self._correlations: list[float] = []

    def add(self, true: np.ndarray, said: np.ndarray) -> None:
        """Take one image's valid pixels, [N] each; a constant ground truth has no correlation."""
        if not true.size or _is_constant(true):
            return
        if _is_constant(said):
            self._correlations.append(0.0)
        else:
            self._correlations.append(float(np.corrcoef(true, said)[0, 1]))

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
            f"its depth looks inverted: the mean correlation with the ground truth is {mean:.2f}, "
            f"negative in {share:.0%} of {len(self._correlations)} images; {what_to_do}"
        ]


def _aligned(said: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Return a prediction [N] after a least-squares scale >= 0 and shift to the label [N]."""
    # Within [0, 1], so that "nearly equal values" is the same for every unit.
    low = said.min()
    values = np.zeros_like(said) if _is_constant(said) else (said - low) / (said.max() - low)
    known = np.ones((1, len(said)), bool)
    scale, shift, _ = (
        float(ops.convert_to_numpy(value)[0])
        for value in fit_scale_shift(values[None], true[None], known)
    )
    return scale * values + shift


def _is_constant(values: np.ndarray) -> bool:
    """Return whether values [N] differ by no more than float32 can resolve."""
    return bool(np.ptp(values) <= 1e-6 * np.abs(values).max())


def _valid_pairs(
    label: np.ndarray, outputs: np.ndarray, partly: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(true, predicted), [N] float64, of the pixels that are known, for images that have any.

    Predicted is 0 where it is no depth; with `partly` such pixels are left out.
    """
    for true, said in zip(label, outputs, strict=True):
        true, said = np.asarray(true, np.float64), np.asarray(said, np.float64)
        valid, told = np.isfinite(true) & (true > 0), np.isfinite(said) & (said > 0)
        said = np.where(told, said, 0.0)
        if partly:
            valid &= told
        if valid.any():
            yield true[valid], said[valid]


class MeanDepth(TrivialBaseline):
    """Each pixel's mean over the training labels, in the head's own kind."""

    def __init__(self) -> None:
        self._sum: Any = 0.0
        self._count: Any = 0

    def update(self, label: Mapping[str, np.ndarray]) -> None:
        depth = np.asarray(label["depth"], np.float64)
        valid = np.isfinite(depth) & (depth > 0)
        self._sum = self._sum + np.where(valid, depth, 0.0).sum(0)
        self._count = self._count + valid.sum(0)

    def outputs(self, num_images: int) -> dict[str, np.ndarray]:
        overall = self._sum.sum() / max(self._count.sum(), 1)
        mean = np.where(self._count > 0, self._sum / np.maximum(self._count, 1), overall)
        return {"depth": np.broadcast_to(mean.astype(np.float32), (num_images, *mean.shape))}
