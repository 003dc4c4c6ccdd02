"""Weights from how fast each head's loss falls."""

import dataclasses
from collections.abc import Mapping, Sequence

from keras import ops

from must_keras.errors import UserError
from must_keras.ops import Tensor
from must_keras.ops.precision import full
from must_keras.tasks.base import Task
from must_keras.training.loss_weights import LearnedWeighting, LearnedWeights


@dataclasses.dataclass(frozen=True, kw_only=True)
class DynamicAverage(LearnedWeighting):
    """More weight for the heads whose losses fall more slowly (dynamic weight average).

    With L_k(w), head k's mean loss in window w, the ratio r_k = L_k(w - 1) / L_k(w - 2), and K
    heads, the weights of window w are

        K exp(r_k / T) / sum_i exp(r_i / T)

    and 1 in the first two windows. A step whose batch has no label for a head is left out of its
    mean. In the paper a window is an epoch. A teacher's `loss_weight` is not used.

    Attributes:
        temperature: T; the higher, the more equal the weights.
        window: number of steps.

    Raises:
        UserError: a value is not positive.

    Example:
        mk.Student(training=training, weighting=mk.DynamicAverage(window=100))

    Reference: End-to-End Multi-Task Learning with Attention (arXiv 1803.10704), equation 7.
    """

    temperature: float = 2.0
    window: int = 100

    def __post_init__(self) -> None:
        for name in ("temperature", "window"):
            if not getattr(self, name) > 0:
                value = getattr(self, name)
                raise UserError.of("DynamicAverage", name, value, "a positive number is needed")

    def learner(self, tasks: Sequence[Task]) -> LearnedWeights:
        names = [task.name for task in tasks]
        return _Ratios(names, temperature=self.temperature, window=self.window)


class _Ratios(LearnedWeights):
    def __init__(self, names: Sequence[str], *, temperature: float, window: int):
        super().__init__(name="dynamic_weights", dtype=full())
        self._names, self._temperature, self._window = tuple(names), temperature, window

        def state(name: str, initializer: str, shape: tuple[int, ...] = (len(names),)):
            return self.add_weight(
                shape=shape,
                initializer=initializer,
                dtype=full(),
                trainable=False,
                aggregation="only_first_replica",
                name=name,
            )

        self.steps = state("steps", "zeros", ())
        self.sums, self.counts = state("sums", "zeros"), state("counts", "zeros")
        # Equal means, as before there are two of them.
        self.last, self.before = state("last", "ones"), state("before", "ones")
        self.has_mean = state("has_mean", "zeros")

    def factors(self) -> dict[str, Tensor]:
        ratios = ops.softmax(self.last / self.before / self._temperature)
        return {name: len(self._names) * ratios[i] for i, name in enumerate(self._names)}

    def update(self, losses: Mapping[str, Tensor], labeled: Mapping[str, Tensor]) -> None:
        loss, known = (ops.stack([x[name] for name in self._names]) for x in (losses, labeled))
        known = known * ops.cast(ops.isfinite(loss), known.dtype)
        sums = self.sums + ops.where(known > 0.0, loss, 0.0)
        counts, steps = self.counts + known, self.steps + 1.0
        is_full = ops.equal(ops.mod(steps, self._window), 0.0)
        is_new = ops.logical_and(is_full, counts > 0.0)
        mean = sums / ops.maximum(counts, 1.0)
        # A head's first mean has none before it: its ratio is 1.
        before = ops.where(self.has_mean > 0.0, self.last, mean)
        self.before.assign(ops.where(is_new, before, self.before))
        self.last.assign(ops.where(is_new, mean, self.last))
        self.has_mean.assign(ops.where(is_new, 1.0, self.has_mean))
        self.sums.assign(ops.where(is_full, 0.0, sums))
        self.counts.assign(ops.where(is_full, 0.0, counts))
        self.steps.assign(steps)
