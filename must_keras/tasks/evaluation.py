"""What measures a task: evaluators, the answers they count, and priors to compare with."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np


class ScoredPredictions(NamedTuple):
    """What a model said to a batch, answer by answer, where something is labeled.

    Attributes:
        scores: [N] in [0, 1], how sure each is, as a label column stores it.
        classes: [N] int, the class that each names.
        right: [N] bool.
        true: [K] int, how many there were to be found of each class.
    """

    scores: np.ndarray
    classes: np.ndarray
    right: np.ndarray
    true: np.ndarray


class Evaluator(abc.ABC):
    """Gathers what a metric needs, batch by batch, and gives the field's standard numbers."""

    @abc.abstractmethod
    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        """Takes one batch, [B, ...] each. Images without a label count nothing."""

    @abc.abstractmethod
    def result(self) -> dict[str, float]:
        """{metric: value}; the first is the headline. NaN where nothing was labeled."""

    def warnings(self) -> list[str]:
        """Return, with figures and remedy, what all predictions get wrong, as inverted depth."""
        return []


class TrivialBaseline(abc.ABC):
    """The best prediction that never looks at the image: what any metric is compared with."""

    @abc.abstractmethod
    def update(self, label: Mapping[str, np.ndarray]) -> None:
        """Takes a batch of training labels [B, ...]."""

    @abc.abstractmethod
    def outputs(self, num_images: int) -> dict[str, np.ndarray]:
        """The same outputs for every image: [num_images, ...]."""
