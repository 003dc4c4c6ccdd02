"""How often a model is right when it says that it is sure."""

from __future__ import annotations

from typing import Any

import numpy as np

_BINS = 10


class Reliability:
    """Counts answers by their confidence: [0, 0.1), ..., [0.9, 1]."""

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self._right = np.zeros(_BINS, np.int64)

    def add(self, sure: np.ndarray, right: np.ndarray) -> None:
        """Takes answers.

        Args:
            sure: [N] in [0, 1].
            right: [N] bool.
        """
        places = np.clip((np.asarray(sure) * _BINS).astype(int), 0, _BINS - 1)
        self._counts += np.bincount(places, minlength=_BINS)
        self._right += np.bincount(places, weights=right, minlength=_BINS).astype(np.int64)

    def result(self) -> dict[str, Any] | None:
        """{"answers": [10], "right": [10]}; None where there was no answer."""
        if not self._counts.sum():
            return None
        return {"answers": self._counts.tolist(), "right": self._right.tolist()}
