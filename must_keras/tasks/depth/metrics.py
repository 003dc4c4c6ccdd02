"""How right a depth is, and the depth that never looks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from must_keras.tasks.base import Evaluator, Prior


class DepthErrors(Evaluator):
    """delta1 (share of pixels with max(p/t, t/p) < 1.25), abs_rel and rmse: means over images.

    Args:
        partly: whether pixels may be left out that a pseudo label says nothing of; otherwise what
            is no depth counts as 0: never within delta1, an error of all the true depth.
    """

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._rows: list[tuple[float, float, float]] = []

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        for true, said in _valid_pairs(label["depth"], outputs["depth"], self._partly):
            self.add(true, said)

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


class AlignedErrors(Evaluator):
    """The same of relative inverse depth, whose scale and shift nobody knows.

    Each prediction is first aligned to the label by least squares in inverse depth, over the valid
    pixels that it says something of, then clipped to [min, max] of the image's valid label, as
    MiDaS (Ranftl et al., 2020) caps depth: alignment may put a pixel beyond infinity, and one such
    pixel would outweigh all others. Then both are compared as depth, 1 / inverse depth.
    """

    def __init__(self, *, partly: bool = False) -> None:
        self._partly = partly
        self._errors = DepthErrors()

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        for true, said in _valid_pairs(label["depth"], outputs["depth"], self._partly):
            told = said > 0
            design = np.stack([said, np.ones_like(said)], axis=1)
            aligned = design @ np.linalg.lstsq(design[told], true[told], rcond=None)[0]
            depth = 1.0 / np.clip(aligned, true.min(), true.max())
            self._errors.add(1.0 / true, np.where(told, depth, 0.0))

    def result(self) -> dict[str, float]:
        return self._errors.result()


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


class MeanDepth(Prior):
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
