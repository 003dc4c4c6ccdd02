"""Optimizers: what a recipe names, the Keras optimizers that it builds, and clipping.

A new optimizer is a subclass of Optimizer; nothing lists them.
"""

import abc
import dataclasses
from collections.abc import Iterable
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
        kernel_decay: share of a kernel that a step at a learning rate of 1 subtracts.
        **kwargs: of the optimizer.
    """

    def __init__(self, learning_rate: Any, kernel_decay: float = 0.0, **kwargs: Any):
        super().__init__(learning_rate, **kwargs)
        self.kernel_decay = kernel_decay

    def decay(self, variable: Any, rate: Any) -> None:
        """Shrink a variable by rate * kernel_decay of itself if it is a kernel."""
        if self.kernel_decay and len(variable.shape) > 1:
            variable.assign_sub(variable * (rate * self.kernel_decay))

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"kernel_decay": self.kernel_decay}


@keras.saving.register_keras_serializable(package="must_keras")
class FusedAdamW(_DecaysKernels, keras.optimizers.Adam):
    """Keras' AdamW as a single TensorFlow operation for each variable.

    Keras' own adds some forty for each variable, the schedule among them: a small network spends as
    much time on these as on its gradients, and more while it is traced. On other backends Keras'
    own is compiled into one.

    Example:
        FusedAdamW(WarmupCosine(0.001, 1000), kernel_decay=0.01)

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
    """Stochastic gradient descent as a single TensorFlow operation for each variable.

    The momentum accumulates gradients, and the learning rate multiplies the accumulated sum
    (PyTorch's form); in Keras' own the momentum accumulates gradients times their learning rates.
    Both agree at a constant rate.

    Example:
        FusedSGD(WarmupCosine(0.1, 1000), momentum=0.9, kernel_decay=4e-5)

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


class Optimizer(abc.ABC):
    """An optimizer's values in a recipe, as a frozen dataclass.

    Example:
        @dataclasses.dataclass(frozen=True, kw_only=True)
        class Lion(Optimizer):
            beta: float = 0.9

            def build(self, schedule, **averaging):
                return keras.optimizers.Lion(schedule, beta_1=self.beta, **averaging)

    """

    @abc.abstractmethod
    def build(self, schedule: Warmup, **averaging: Any) -> keras.optimizers.Optimizer:
        """Return the Keras optimizer.

        Args:
            schedule: the learning rate.
            **averaging: Keras' arguments of a running average of the weights (use_ema,
                ema_momentum), where there is one.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay of kernels (Loshchilov and Hutter, arXiv 1711.05101).

    Attributes:
        weight_decay: share of a kernel that a step at a learning rate of 1 subtracts.

    Example:
        TrainingConfig(steps=1000, batch=16, learning_rate=0.001, optimizer=AdamW())

    """

    weight_decay: float = 0.01

    def build(self, schedule: Warmup, **averaging: Any) -> keras.optimizers.Optimizer:
        return FusedAdamW(schedule, kernel_decay=self.weight_decay, **averaging)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum and decoupled weight decay of kernels.

    Attributes:
        momentum: share of the accumulated gradients that a step keeps, [0, 1).
        weight_decay: share of a kernel that a step at a learning rate of 1 subtracts.

    Example:
        TrainingConfig(steps=1000, batch=256, learning_rate=0.32, optimizer=SGD())

    """

    momentum: float = 0.9
    weight_decay: float = 4e-5

    def build(self, schedule: Warmup, **averaging: Any) -> keras.optimizers.Optimizer:
        decay = self.weight_decay
        return FusedSGD(schedule, momentum=self.momentum, kernel_decay=decay, **averaging)


def global_norm(gradients: Iterable[Tensor]) -> Tensor:
    """Return the Euclidean norm of several gradients taken as one vector: a scalar."""
    return ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, full()))) for g in gradients))


def clipping(norm: Tensor, clip_norm: float | None, share: float = 1.0) -> Tensor:
    """Return the factor that limits gradients to a global norm of `clip_norm`: a scalar.

    Args:
        norm: scalar, the gradients' global norm.
        clip_norm: largest norm; None: unlimited.
        share: factor of the gradients that is applied in any case.
    """
    factor = ops.cast(share, norm.dtype)
    return factor if clip_norm is None else factor * clip_norm / ops.maximum(norm, clip_norm)


def reset(optimizer: keras.optimizers.Optimizer) -> None:
    """Set an optimizer's momenta and its step count to zero."""
    for variable in optimizer.variables:
        if variable.path.split("/")[-1] != "learning_rate":
            variable.assign(ops.zeros_like(variable))
