"""Learning-rate schedules: a linear warm-up, then half a cosine or steps.

A new one is a subclass of Schedule and the Warmup that it builds; nothing lists them.
"""

import abc
import contextlib
import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from must_keras.errors import UserError

Tensor = Any


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to the peak; subclasses compute the decay that follows.

    Peak and length are variables, so that one traced training step serves trainings of any length
    and learning rate (`restart`).

    Args:
        peak: the largest learning rate.
        num_steps: optimizer steps of the whole training.
        warmup: share of the steps in which the learning rate rises, [0, 1).

    Example:
        class WarmupLinear(Warmup):
            def decay(self, step, rise):
                return 1.0 - (step - rise) / ops.maximum(self.num_steps - rise, 1.0)

    """

    def __init__(self, peak: float, num_steps: int, warmup: float = 0.05):
        super().__init__()
        self.warmup = warmup
        self._factor: Any = None
        kind = {"trainable": False, "dtype": "float32"}
        self.peak = keras.Variable(peak, name="peak", **kind)
        self.num_steps = keras.Variable(float(num_steps), name="num_steps", **kind)

    def restart(self, peak: float, num_steps: int) -> None:
        """Set peak and number of steps of another training."""
        self.peak.assign(peak)
        self.num_steps.assign(float(num_steps))

    @contextlib.contextmanager
    def scaled(self, factor: Any) -> Iterator[None]:
        """Multiply the learning rate of what is traced within; with 0 a step keeps its weights."""
        self._factor = factor
        try:
            yield
        finally:
            self._factor = None

    def decay(self, step: Tensor, rise: Tensor) -> Tensor:
        """Return the share of the peak, float32, at a step after the warm-up of `rise` steps."""
        raise NotImplementedError

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rise = ops.maximum(ops.floor(self.warmup * self.num_steps), 1.0)
        rising = (step + 1.0) / rise
        rate = self.peak * ops.where(step < rise, rising, self.decay(step, rise))
        return rate if self._factor is None else rate * self._factor

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": float(self.peak.numpy()),
            "num_steps": int(self.num_steps.numpy()),
            "warmup": self.warmup,
        }


@keras.saving.register_keras_serializable(package="must_keras")
class WarmupCosine(Warmup):
    """A linear warm-up, then half a cosine down to zero (arXiv 1608.03983).

    Args:
        *args: see Warmup.
        **kwargs: see Warmup.

    Example:
        float(WarmupCosine(0.1, 40)(0))  # 0.05: half of the peak

    """

    def decay(self, step: Tensor, rise: Tensor) -> Tensor:
        progress = (step - rise) / ops.maximum(self.num_steps - rise, 1.0)
        return 0.5 * (1.0 + ops.cos(math.pi * ops.clip(progress, 0.0, 1.0)))


@keras.saving.register_keras_serializable(package="must_keras")
class WarmupSteps(Warmup):
    """A linear warm-up, then a learning rate that is multiplied by a factor at some steps.

    Args:
        *args: see Warmup.
        at: shares of the training: the learning rate falls at step floor(share * num_steps).
        factor: of each fall.
        **kwargs: see Warmup.

    Example:
        WarmupSteps(0.02, 90_000, at=(2 / 3, 8 / 9), factor=0.1)

    """

    def __init__(self, *args: Any, at: tuple[float, ...], factor: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.at, self.factor = tuple(at), factor

    def decay(self, step: Tensor, rise: Tensor) -> Tensor:
        share = ops.ones_like(step)
        for at in self.at:
            # Shares are not exact in binary: 0.6 of 10 steps are 6.
            first = ops.floor(at * self.num_steps + 1e-3)
            share = share * ops.where(step >= first, self.factor, 1.0)
        return share

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"at": self.at, "factor": self.factor}


class Schedule(abc.ABC):
    """A schedule's values in a recipe, as a frozen dataclass.

    Example:
        class Linear(Schedule):
            def build(self, peak, num_steps, warmup):
                return WarmupLinear(peak, num_steps, warmup)

    """

    @abc.abstractmethod
    def build(self, peak: float, num_steps: int, warmup: float) -> Warmup:
        """Return the Keras schedule; see Warmup for the arguments."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """Half a cosine down to zero.

    Example:
        TrainingConfig(
            steps=1000, batch=16, learning_rate=0.1, optimizer=SGD(), schedule=Cosine()
        )

    """

    def build(self, peak: float, num_steps: int, warmup: float) -> Warmup:
        return WarmupCosine(peak, num_steps, warmup)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps(Schedule):
    """The peak, multiplied by a factor at some steps.

    Attributes:
        at: shares of the training, rising, each in (0, 1). The default is that of Detectron's Mask
            R-CNN: after 60,000 and 80,000 of 90,000 steps.
        factor: of each fall, (0, 1].

    Example:
        TrainingConfig(
            steps=90_000, batch=16, learning_rate=0.02, optimizer=SGD(), schedule=Steps()
        )

    """

    at: tuple[float, ...] = (2 / 3, 8 / 9)
    factor: float = 0.1

    def __post_init__(self) -> None:
        if list(self.at) != sorted(set(self.at)) or not all(0.0 < at < 1.0 for at in self.at):
            raise UserError(f"at must be rising shares between 0 and 1, received {self.at}")
        if not 0.0 < self.factor <= 1.0:
            raise UserError(f"factor must be in (0, 1], received {self.factor}")

    def build(self, peak: float, num_steps: int, warmup: float) -> Warmup:
        return WarmupSteps(peak, num_steps, warmup, at=self.at, factor=self.factor)


@contextlib.contextmanager
def only_where(condition: Any, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Within, trace an optimizer step that keeps the weights where `condition` is false.

    Its learning rate is 0 there, and its gradients must be: a branch would need code of its own
    under every strategy. The accumulated momenta decay by one step.

    Args:
        condition: scalar tensor, bool.
        optimizer: with a Warmup; the weights of others still move by their momenta.
    """
    schedule = optimizer._learning_rate
    if not isinstance(schedule, Warmup):
        yield
        return
    with schedule.scaled(ops.cast(condition, "float32")):
        yield
