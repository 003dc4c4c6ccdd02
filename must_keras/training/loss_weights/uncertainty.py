"""Weights learned from homoscedastic uncertainty."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from keras import ops

from must_keras.ops.precision import full
from must_keras.tasks.base import Task
from must_keras.training.loss_weights.base import (
    Head,
    LearnedWeights,
    Run,
    Tensor,
    Weight,
    Weighting,
)


@dataclasses.dataclass(frozen=True)
class Uncertainty(Weighting):
    """The more uncertain a head remains, the less its loss counts (Kendall et al., 2018).

    With s_i = log sigma_i^2 of head i, trained with the network from 0 on:

        L = sum_i c_i exp(-s_i) L_i + s_i / 2

    c is 1/2 for a regression (a Gaussian's likelihood) and 1 for a classification (a softmax at a
    temperature). Detection, whose loss is a sum of both, counts as a classification. A head without
    a label in the batch adds nothing: its s would fall, and its weight grow, without a reason. A
    teacher's `loss_weight` is not used.

    Reference: arXiv 1705.07115, equations 7 and 10.
    """

    def weights(self, student: Run, heads: Sequence[Head]) -> dict[str, Weight]:
        del student
        return {h.task.name: Weight(value=_constant(h.task), source="learned") for h in heads}

    def learner(self, tasks: Sequence[Task]) -> LearnedWeights:
        return _LogVariances(tasks)


def _constant(task: Task) -> float:
    return 0.5 if task.is_regression else 1.0


class _LogVariances(LearnedWeights):
    def __init__(self, tasks: Sequence[Task]):
        super().__init__(name="loss_uncertainty", dtype=full())
        self._constants = {task.name: _constant(task) for task in tasks}
        self.log_variances = self.add_weight(
            shape=(len(tasks),), initializer="zeros", dtype=full(), name="log_variances"
        )

    def factors(self) -> dict[str, Tensor]:
        precisions = ops.exp(-self.log_variances)
        return {
            name: constant * precisions[i]
            for i, (name, constant) in enumerate(self._constants.items())
        }

    def penalty(self, labeled: Mapping[str, Tensor]) -> Tensor:
        return sum(
            0.5 * self.log_variances[i] * labeled[name] for i, name in enumerate(self._constants)
        )
