"""Weights whose gradient is that of the hypervolume of the losses."""

import dataclasses
import functools
from collections.abc import Sequence

from keras import ops

from must_keras.errors import UserError
from must_keras.ops import Tensor
from must_keras.tasks.base import Task
from must_keras.training.last_losses import LastLosses
from must_keras.training.loss_weights import LearnedWeighting, LearnedWeights

# As in the public code: no loss is at the bound.
_EPSILON = 1e-6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hypervolume(LearnedWeighting):
    """Weights in proportion to 1 / (eta - L_i), where eta = delta max_j L_j.

    Maximizing the volume sum_i log(eta - L_i) between the losses L of K heads and a bound eta has
    these weights as its gradient, with eta held constant. So the largest loss has the largest
    weight. Losses are those of the step before, and the weights add up to K; PASE+ has those of the
    same step, and no sum. A teacher's `loss_weight` is not used.

    Attributes:
        delta: how far the bound is above the largest loss, above 1; the nearer to 1, the more
            unequal the weights.

    Raises:
        UserError: it is not above 1.

    Example:
        mk.Student(training=training, weighting=mk.Hypervolume(delta=1.1))

    Reference: PASE+ (arXiv 2001.09239), mode "hyper_volume" of its public code (santi-pdp/pase),
    after Albuquerque et al. (arXiv 1901.08680).
    """

    delta: float = 1.1

    def __post_init__(self) -> None:
        if not 1.0 < self.delta < float("inf"):
            raise UserError.of("Hypervolume", "delta", self.delta, "a number above 1 is needed")

    def learner(self, tasks: Sequence[Task]) -> LearnedWeights:
        rule = functools.partial(_slopes, delta=self.delta)
        return LastLosses([task.name for task in tasks], rule, name="hypervolume")


def _slopes(losses: Tensor, *, delta: float) -> Tensor:
    return 1.0 / (delta * ops.max(losses) - losses + _EPSILON)
