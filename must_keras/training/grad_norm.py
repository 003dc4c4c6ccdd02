"""Weights by which heads train at similar rates."""

import dataclasses
from collections.abc import Mapping, Sequence

from keras import ops

from must_keras.errors import UserError
from must_keras.ops import Tensor
from must_keras.ops.precision import full
from must_keras.tasks.base import Task
from must_keras.training.loss_weights import LearnedWeighting, LearnedWeights

# Weights stay above it before they are made to add up to the number of heads.
_LOWEST = 0.01
# Losses and norms are divided by no less.
_EPSILON = 1e-8


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradNorm(LearnedWeighting):
    """Weights that make each head's gradient as large as its training rate asks for.

    With g_i, the norm of head i's gradient on the backbone's last kernel, G_i = w_i g_i, its mean
    G over the heads, and the relative inverse training rate

        r_i = (L_i(t) / L_i(0)) / mean_j (L_j(t) / L_j(0)),

    each step moves the weights along the gradient of sum_i abs(G_i - G r_i^alpha), in which the
    target is constant, divided by G so that `rate` has no unit; then they are made to add up to K,
    the number of heads. L(0) is a head's first loss. Heads without a label in the batch, or on
    which the kernel has no influence, keep their weight but for that sum. A teacher's `loss_weight`
    is not used. A step takes one more backward pass through each head.

    Attributes:
        alpha: how strongly heads that train slowly are favored; 0 makes all gradients equal.
        rate: of a step of the weights.

    Raises:
        UserError: alpha is negative, or the rate not positive.

    Example:
        mk.Student(training=training, weighting=mk.GradNorm(alpha=1.5))

    Reference: GradNorm (arXiv 1711.02257), algorithm 1; its alpha for NYU depth is 1.5, its rate of
    the weights 0.025.
    """

    alpha: float = 1.5
    rate: float = 0.025

    def __post_init__(self) -> None:
        if not 0.0 <= self.alpha < float("inf"):
            raise UserError.of("GradNorm", "alpha", self.alpha, "0 or more is needed")
        if not 0.0 < self.rate < float("inf"):
            raise UserError.of("GradNorm", "rate", self.rate, "a positive number is needed")

    def learner(self, tasks: Sequence[Task]) -> LearnedWeights:
        return _Balanced([task.name for task in tasks], alpha=self.alpha, rate=self.rate)


class _Balanced(LearnedWeights):
    uses_gradients = True

    def __init__(self, names: Sequence[str], *, alpha: float, rate: float):
        super().__init__(name="grad_norm", dtype=full())
        self._names, self._alpha, self._rate = tuple(names), alpha, rate
        options = {"dtype": full(), "trainable": False, "aggregation": "only_first_replica"}
        shape = (len(names),)
        self.values = self.add_weight(shape=shape, initializer="ones", name="values", **options)
        # 0 before a head's first loss.
        self.first = self.add_weight(shape=shape, initializer="zeros", name="first", **options)

    def factors(self) -> dict[str, Tensor]:
        values = ops.convert_to_tensor(self.values)
        return {name: values[i] for i, name in enumerate(self._names)}

    def update_by_gradients(
        self,
        losses: Mapping[str, Tensor],
        labeled: Mapping[str, Tensor],
        norms: Mapping[str, Tensor],
    ) -> None:
        loss, known, norm = (
            ops.stack([ops.cast(x[name], full()) for name in self._names])
            for x in (losses, labeled, norms)
        )
        is_known = (known > 0.0) & ops.isfinite(loss) & ops.isfinite(norm) & (norm > 0.0)
        is_first = is_known & (self.first <= 0.0)
        first = ops.where(is_first, ops.maximum(loss, _EPSILON), self.first)
        loss, norm = (ops.where(is_known, x, 0.0) for x in (loss, norm))
        count = ops.maximum(ops.sum(ops.cast(is_known, full())), 1.0)
        left = ops.where(is_known, loss / ops.maximum(first, _EPSILON), 0.0)
        rates = left / ops.maximum(ops.sum(left) / count, _EPSILON)
        gradients = self.values * norm
        mean = ops.maximum(ops.sum(gradients) / count, _EPSILON)
        slope = ops.sign(gradients - mean * rates**self._alpha) * norm / mean
        moved = self.values - self._rate * ops.where(is_known, slope, 0.0)
        moved = ops.maximum(moved, _LOWEST)
        self.first.assign(first)
        self.values.assign(len(self._names) * moved / ops.sum(moved))
