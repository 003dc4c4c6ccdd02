"""How weights move: the optimizers and the learning rate's way through a run."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import keras
import tensorflow as tf
from keras import ops


@keras.saving.register_keras_serializable(package="must_keras")
class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """A linear rise to the peak, then half a cosine down to zero.

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
        self.peak = keras.Variable(peak, trainable=False, dtype="float32", name="peak")
        self.num_steps = keras.Variable(
            float(num_steps), trainable=False, dtype="float32", name="num_steps"
        )

    def restart(self, peak: float, num_steps: int) -> None:
        """Sets the values of another run."""
        self.peak.assign(peak)
        self.num_steps.assign(float(num_steps))

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rise = ops.maximum(ops.floor(self.warmup * self.num_steps), 1.0)
        rising = (step + 1.0) / rise
        progress = (step - rise) / ops.maximum(self.num_steps - rise, 1.0)
        falling = 0.5 * (1.0 + ops.cos(math.pi * ops.clip(progress, 0.0, 1.0)))
        return self.peak * ops.where(step < rise, rising, falling)

    def get_config(self) -> dict[str, Any]:
        return {
            "peak": float(self.peak.numpy()),
            "num_steps": int(self.num_steps.numpy()),
            "warmup": self.warmup,
        }


@keras.saving.register_keras_serializable(package="must_keras")
class FusedAdamW(keras.optimizers.Adam):
    """Keras' AdamW with TensorFlow's one operation for each variable.

    Keras' own writes some forty for each, the schedule among them: a small network spends as much
    on these as on its gradients, and more when it is traced.

    Args:
        learning_rate: as in Keras.
        kernel_decay: decoupled weight decay of variables of two and more axes.
        **kwargs: of keras.optimizers.Adam.
    """

    def __init__(self, learning_rate: Any, kernel_decay: float = 0.0, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.kernel_decay = kernel_decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        dtype = variable.dtype
        rate, step = tf.cast(learning_rate, dtype), tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = (tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2))
        if self.kernel_decay and variable.shape.rank > 1:
            variable.assign_sub(variable * (rate * self.kernel_decay))
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=beta_1**step,
            beta2_power=beta_2**step,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"kernel_decay": self.kernel_decay}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay on kernels (Loshchilov and Hutter, 2019)."""

    weight_decay: float = 0.01

    def build(self, schedule: WarmupCosine) -> keras.optimizers.Optimizer:
        """The Keras optimizer."""
        return FusedAdamW(schedule, kernel_decay=self.weight_decay)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum and decay on kernels.

    Decay is decoupled: a step of size `rate` takes rate * weight_decay of a kernel away.
    """

    momentum: float = 0.9
    weight_decay: float = 4e-5

    def build(self, schedule: WarmupCosine) -> keras.optimizers.Optimizer:
        """The Keras optimizer."""
        return _spare_all_but_kernels(
            keras.optimizers.SGD(
                learning_rate=schedule, momentum=self.momentum, weight_decay=self.weight_decay
            )
        )


def _spare_all_but_kernels(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def reset(optimizer: keras.optimizers.Optimizer) -> None:
    """Forgets all that the optimizer has gathered: momenta and the step count."""
    for variable in optimizer.variables:
        if variable.path.split("/")[-1] != "learning_rate":
            variable.assign(ops.zeros_like(variable))
