"""What a way of weighting losses is: first weights, and what learns better ones, if anything."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import keras

from must_keras.tasks.base import Task

Tensor = Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weight:
    """A head's loss weight and where it is from; that of a learned one is its first value."""

    value: float
    source: Literal["formula", "given", "equal", "learned"]


class Run(Protocol):
    """What of a training run a weight may depend on: see Training."""

    batch: int
    learning_rate: float


class Head(Protocol):
    """What of a teacher the weight of the student's head may depend on: see recipe.Teacher.

    Where `loss_weight` is None there is a `training`, a Run.
    """

    name: str
    task: Task
    loss_weight: float | None


class LearnedWeights(keras.Layer):
    """Weights that are trained with the network; its variables are saved with the network's.

    A variable of one axis is not decayed (see optimizers.py).
    """

    def factors(self) -> dict[str, Tensor]:
        """{head: what its loss is multiplied with}, scalars."""
        raise NotImplementedError

    def penalty(self, labeled: Mapping[str, Tensor]) -> Tensor:
        """What is added to the loss so that weights do not vanish: a scalar.

        Args:
            labeled: {head: 1.0 where the batch has a label for it, else 0.0}.
        """
        raise NotImplementedError


class Weighting(abc.ABC):
    """A value of the recipe."""

    @abc.abstractmethod
    def weights(self, student: Run, heads: Sequence[Head]) -> dict[str, Weight]:
        """{head: weight} before the first step.

        Raises:
            UserError: the weight of a head cannot be known.
        """

    def learner(self, tasks: Sequence[Task]) -> LearnedWeights | None:
        """What changes the weights in training; None: they stay as they are."""
        del tasks
        return None
