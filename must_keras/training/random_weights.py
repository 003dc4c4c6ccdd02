"""Weights that are drawn anew in every step."""

import dataclasses
import math
from collections.abc import Mapping, Sequence

from keras import ops

from must_keras.ops import Tensor, sampling
from must_keras.ops.precision import full
from must_keras.tasks.base import Task
from must_keras.training.loss_weights import LearnedWeighting, LearnedWeights

# Purpose of the random numbers.
_WEIGHTS = 221


@dataclasses.dataclass(frozen=True)
class RandomWeights(LearnedWeighting):
    """K times the softmax of K standard normal numbers, other ones in every step.

    The baseline of Lin et al., in which weights add up to 1; here they add up to the number of
    heads K, as other weights do. A teacher's `loss_weight` is not used.

    Example:
        mk.Student(training=training, weighting=mk.RandomWeights())

    Reference: Reasonable Effectiveness of Random Weighting (arXiv 2111.10603).
    """

    def learner(self, tasks: Sequence[Task]) -> LearnedWeights:
        return _Drawn([task.name for task in tasks])


class _Drawn(LearnedWeights):
    def __init__(self, names: Sequence[str]):
        super().__init__(name="random_weights", dtype=full())
        self._names = tuple(names)
        self.steps = self.add_weight(
            shape=(),
            initializer="zeros",
            dtype="int32",
            trainable=False,
            aggregation="only_first_replica",
            name="steps",
        )

    def factors(self) -> dict[str, Tensor]:
        steps = ops.reshape(ops.convert_to_tensor(self.steps), (1,))
        found = drawn(steps, len(self._names))[0]
        return {name: found[i] for i, name in enumerate(self._names)}

    def update(self, losses: Mapping[str, Tensor], labeled: Mapping[str, Tensor]) -> None:
        self.steps.assign(self.steps + 1)


def drawn(steps: Tensor, count: int) -> Tensor:
    """Return the weights of steps, [n] int32: [n, count] float32, which add up to count."""
    numbers = sampling.uniform(steps, 2 * count, purpose=_WEIGHTS)
    # Two uniform numbers give a normal one (Box and Muller); 1 - u is never 0.
    radius = ops.sqrt(-2.0 * ops.log(1.0 - numbers[:, :count]))
    return count * ops.softmax(radius * ops.cos(2.0 * math.pi * numbers[:, count:]))
