"""More weight for the heads with the larger losses, by a softmax."""

import dataclasses
import functools
from collections.abc import Sequence

from keras import ops

from must_keras.errors import UserError
from must_keras.ops import Tensor
from must_keras.tasks.base import Task
from must_keras.training.last_losses import LastLosses
from must_keras.training.loss_weights import LearnedWeighting, LearnedWeights


@dataclasses.dataclass(frozen=True, kw_only=True)
class SoftmaxWeights(LearnedWeighting):
    """K times the softmax of the K heads' losses L of the step before: exp(t L_i) / sum exp(t L_j).

    PASE+ weights the losses of the same step, and its weights add up to 1. A teacher's
    `loss_weight` is not used.

    Attributes:
        temperature: t, by which losses are multiplied; the higher, the more unequal the weights.

    Raises:
        UserError: it is not positive.

    Example:
        mk.Student(training=training, weighting=mk.SoftmaxWeights(temperature=0.5))

    Reference: PASE+ (arXiv 2001.09239), mode "softmax" of its public code (santi-pdp/pase).
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < float("inf"):
            problem = "a positive number is needed"
            raise UserError.of("SoftmaxWeights", "temperature", self.temperature, problem)

    def learner(self, tasks: Sequence[Task]) -> LearnedWeights:
        rule = functools.partial(_softmax, temperature=self.temperature)
        return LastLosses([task.name for task in tasks], rule, name="softmax_weights")


def _softmax(losses: Tensor, *, temperature: float) -> Tensor:
    return ops.softmax(temperature * losses)
