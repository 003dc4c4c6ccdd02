"""The learning rate through a run: it rises, and then falls along half a cosine or in steps."""

from __future__ import annotations

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
    """A linear rise to the peak; what comes then is a subclass's.

    Peak and length are variables, so that one traced training step serves runs of any length and
    any rate (`restart`).

    Args:
        peak: the largest learning rate.
        num_steps: optimizer steps of the whole run.
        warmup: share of the steps in which the rate rises, [0, 1).
    """

    def __init__(self, peak: float, num_steps: int, warmup: float = 0.05):
        super().__init__()
        self.warmup = warmup
        self._factor: Any = None
        self.peak = keras.Variable(peak, trainable=False, dtype="float32", name="peak")
        self.num_steps = keras.Variable(
            float(num_steps), trainable=False, dtype="float32", name="num_steps"
        )

    def restart(self, peak: float, num_steps: int) -> None:
        """Sets the values of another run."""
        self.peak.assign(peak)
        self.num_steps.assign(float(num_steps))

    @contextlib.contextmanager
    def scaled(self, factor: Any) -> Iterator[None]:
        """Multiplies the rate of what is traced within; with 0 a step leaves its weights alone."""
        self._factor = factor
        try:
            yield
        finally:
            self._factor = None

    def falling(self, step: Tensor, rise: Tensor) -> Tensor:
        """The share of the peak at a step, float32, that is not before `rise`, the last rising."""
        raise NotImplementedError

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rise = ops.maximum(ops.floor(self.warmup * self.num_steps), 1.0)
        rising = (step + 1.0) / rise
        rate = self.peak * ops.where(step < rise, rising, self.falling(step, rise))
        return rate if self._factor is None else rate * self._factor

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": float(self.peak.numpy()),
            "num_steps": int(self.num_steps.numpy()),
            "warmup": self.warmup,
        }


@keras.saving.register_keras_serializable(package="must_keras")
class WarmupCosine(Warmup):
    """A linear rise to the peak, then half a cosine down to zero (arXiv 1608.03983)."""

    def falling(self, step: Tensor, rise: Tensor) -> Tensor:
        progress = (step - rise) / ops.maximum(self.num_steps - rise, 1.0)
        return 0.5 * (1.0 + ops.cos(math.pi * ops.clip(progress, 0.0, 1.0)))


@keras.saving.register_keras_serializable(package="must_keras")
class WarmupSteps(Warmup):
    """A linear rise to the peak, then a rate that is multiplied with a factor now and then.

    Args:
        *args: see Warmup.
        at: shares of the run; the rate falls at step floor(share * num_steps).
        factor: what it is multiplied with.
        **kwargs: see Warmup.
    """

    def __init__(self, *args: Any, at: tuple[float, ...], factor: float, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.at, self.factor = tuple(at), factor

    def falling(self, step: Tensor, rise: Tensor) -> Tensor:
        del rise
        share = ops.ones_like(step)
        for at in self.at:
            # Shares are not exact in binary: 0.6 of 10 steps are 6.
            first = ops.floor(at * self.num_steps + 1e-3)
            share = share * ops.where(step >= first, self.factor, 1.0)
        return share

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"at": self.at, "factor": self.factor}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cosine:
    """Half a cosine down to zero."""

    def build(self, peak: float, num_steps: int, warmup: float) -> Warmup:
        """The Keras schedule."""
        return WarmupCosine(peak, num_steps, warmup)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Steps:
    """The peak, until it is multiplied with a factor.

    Attributes:
        at: shares of the run at which that happens, rising, each in (0, 1). The default is that of
            Detectron's Mask R-CNN: after 60,000 and 80,000 of 90,000 steps.
        factor: (0, 1].
    """

    at: tuple[float, ...] = (2 / 3, 8 / 9)
    factor: float = 0.1

    def __post_init__(self) -> None:
        if list(self.at) != sorted(set(self.at)) or not all(0.0 < at < 1.0 for at in self.at):
            raise UserError(f"at must be rising shares between 0 and 1, received {self.at}")
        if not 0.0 < self.factor <= 1.0:
            raise UserError(f"factor must be in (0, 1], received {self.factor}")

    def build(self, peak: float, num_steps: int, warmup: float) -> Warmup:
        """The Keras schedule."""
        return WarmupSteps(peak, num_steps, warmup, at=self.at, factor=self.factor)
