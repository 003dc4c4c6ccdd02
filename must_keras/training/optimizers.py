"""How weights move: the optimizers."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import keras
from keras import ops

from must_keras.ops.precision import full
from must_keras.training.schedules import Warmup

Tensor = Any


class _DecaysKernels:
    """Decoupled weight decay of variables of two and more axes, for a Keras optimizer.

    Args:
        learning_rate: as in Keras.
        kernel_decay: how much of a kernel a step at a rate of 1 takes away.
        **kwargs: of the optimizer.
    """

    def __init__(self, learning_rate: Any, kernel_decay: float = 0.0, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.kernel_decay = kernel_decay

    def decay(self, variable: Any, rate: Any) -> None:
        """Shrinks a kernel."""
        if self.kernel_decay and len(variable.shape) > 1:
            variable.assign_sub(variable * (rate * self.kernel_decay))

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {"kernel_decay": self.kernel_decay}


@keras.saving.register_keras_serializable(package="must_keras")
class FusedAdamW(_DecaysKernels, keras.optimizers.Adam):
    """Keras' AdamW with TensorFlow's one operation for each variable.

    Keras' own writes some forty for each, the schedule among them: a small network spends as much
    on these as on its gradients, and more when it is traced. Elsewhere Keras' own is compiled into
    one.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        self.decay(variable, ops.cast(learning_rate, dtype))
        if keras.backend.backend() != "tensorflow":
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index = self._get_variable_index(variable)
        rate, step = tf.cast(learning_rate, dtype), tf.cast(self.iterations + 1, dtype)
        beta_1, beta_2 = (tf.constant(beta, dtype) for beta in (self.beta_1, self.beta_2))
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


@keras.saving.register_keras_serializable(package="must_keras")
class FusedSGD(_DecaysKernels, keras.optimizers.SGD):
    """Stochastic gradient descent with TensorFlow's one operation for each variable.

    The momentum gathers gradients and the rate multiplies what it gathered (Sutskever's form, as
    in PyTorch); in Keras' own the momentum holds rates of the past. At a constant rate they agree.
    """

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        dtype = variable.dtype
        rate, gradient = ops.cast(learning_rate, dtype), ops.cast(gradient, dtype)
        self.decay(variable, rate)
        if not self.momentums:
            variable.assign_sub(rate * gradient)
            return
        momentum = self.momentums[self._get_variable_index(variable)]
        if keras.backend.backend() != "tensorflow":
            momentum.assign(self.momentum * momentum + gradient)
            ahead = gradient + self.momentum * momentum if self.nesterov else momentum
            variable.assign_sub(rate * ahead)
            return
        import tensorflow as tf

        tf.raw_ops.ResourceApplyMomentum(
            var=variable.handle,
            accum=momentum.value.handle,
            lr=rate,
            grad=gradient,
            momentum=tf.constant(self.momentum, dtype),
            use_nesterov=self.nesterov,
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW:
    """Adam with decoupled weight decay on kernels (Loshchilov and Hutter, 2019)."""

    weight_decay: float = 0.01

    def build(self, schedule: Warmup, ema: float | None = None) -> keras.optimizers.Optimizer:
        """The Keras optimizer; see `averaging` for `ema`."""
        return FusedAdamW(schedule, kernel_decay=self.weight_decay, **averaging(ema))


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum and decay on kernels.

    Decay is decoupled: a step of size `rate` takes rate * weight_decay of a kernel away.
    """

    momentum: float = 0.9
    weight_decay: float = 4e-5

    def build(self, schedule: Warmup, ema: float | None = None) -> keras.optimizers.Optimizer:
        """The Keras optimizer; see `averaging` for `ema`."""
        return FusedSGD(
            schedule, momentum=self.momentum, kernel_decay=self.weight_decay, **averaging(ema)
        )


def averaging(momentum: float | None) -> dict[str, Any]:
    """Keras' arguments for a running average of the weights with this momentum; None: without."""
    return {} if momentum is None else {"use_ema": True, "ema_momentum": momentum}


def global_norm(gradients: Iterable[Tensor]) -> Tensor:
    """The Euclidean norm of all numbers of several gradients."""
    return ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, full()))) for g in gradients))


def clipping(norm: Tensor, clip_norm: float | None, share: float = 1.0) -> Tensor:
    """What gradients are multiplied with, so that their global norm is at most `clip_norm`.

    Args:
        norm: a scalar, their global norm.
        clip_norm: None: unlimited.
        share: of the gradients that is taken in any case.
    """
    factor = ops.cast(share, norm.dtype)
    return factor if clip_norm is None else factor * clip_norm / ops.maximum(norm, clip_norm)


@contextlib.contextmanager
def only_where(condition: Any, optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """A step that is traced within leaves the weights alone where `condition` fails.

    Its rate is 0 there, and its gradients must be: a branch would need code of its own under every
    strategy. What the optimizer has gathered forgets a little.

    Args:
        condition: a scalar tensor, bool.
        optimizer: a FusedAdamW or FusedSGD with a Warmup; the weights of others move on by
            what they have gathered.
    """
    schedule = optimizer._learning_rate
    if not isinstance(schedule, Warmup):
        yield
        return
    with schedule.scaled(ops.cast(condition, "float32")):
        yield


def reset(optimizer: keras.optimizers.Optimizer) -> None:
    """Forgets all that the optimizer has gathered: momenta and the step count."""
    for variable in optimizer.variables:
        if variable.path.split("/")[-1] != "learning_rate":
            variable.assign(ops.zeros_like(variable))
