"""Learning-rate schedules, optimizers and clipping: what a recipe names, and what Keras runs.

A new schedule is a subclass of Schedule and the Warmup that it builds, a new optimizer a subclass
of Optimizer; nothing lists them.
"""

import abc
import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras
from keras import ops

from must_keras.errors import UserError
from must_keras.ops.precision import full

Tensor = Any

# ---- schedules -----------------------------------------------------------------------------------


class Warmup(keras.optimizers.schedules.LearningRateSchedule):
    """A linear warm-up to the peak; subclasses compute the decay that follows.

    Peak and length are variables, so that one traced training step serves trainings of any length
    and learning rate (`restart`).

    Args:
        peak: the largest learning rate.
        num_steps: optimizer steps of the whole training.
        warmup: share of the steps in which the learning rate rises, [0, 1).

    Attributes:
        multiplier: of the learning rate in what is traced now; None: 1. See `only_where`.

    Example:
        class WarmupLinear(Warmup):
            def decay(self, step, rise):
                return 1.0 - (step - rise) / ops.maximum(self.num_steps - rise, 1.0)

    """

    def __init__(self, peak: float, num_steps: int, warmup: float = 0.05):
        super().__init__()
        self.warmup = warmup
        self.multiplier: Any = None
        kind = {"trainable": False, "dtype": "float32"}
        self.peak = keras.Variable(peak, name="peak", **kind)
        self.num_steps = keras.Variable(float(num_steps), name="num_steps", **kind)

    def restart(self, peak: float, num_steps: int) -> None:
        """Set peak and number of steps of another training."""
        self.peak.assign(peak)
        self.num_steps.assign(float(num_steps))

    def decay(self, step: Tensor, rise: Tensor) -> Tensor:
        """Return the share of the peak, float32, at a step after the warm-up of `rise` steps."""
        raise NotImplementedError

    def __call__(self, step: Any) -> Any:
        step = ops.cast(step, "float32")
        rise = ops.maximum(ops.floor(self.warmup * self.num_steps), 1.0)
        rising = (step + 1.0) / rise
        rate = self.peak * ops.where(step < rise, rising, self.decay(step, rise))
        return rate if self.multiplier is None else rate * self.multiplier

    def get_config(self) -> dict[str, Any]:
        peak, num_steps = float(self.peak.numpy()), int(self.num_steps.numpy())
        return {"peak": peak, "num_steps": num_steps, "warmup": self.warmup}


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
        mk.TrainingConfig(
            steps=1000, batch=16, learning_rate=0.1, optimizer=mk.SGD(), schedule=mk.Cosine()
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
        mk.TrainingConfig(
            steps=90_000, batch=16, learning_rate=0.02, optimizer=mk.SGD(), schedule=mk.Steps()
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


# ---- optimizers ----------------------------------------------------------------------------------


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
        mk.TrainingConfig(steps=1000, batch=16, learning_rate=0.001, optimizer=mk.AdamW())

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
        mk.TrainingConfig(steps=1000, batch=256, learning_rate=0.32, optimizer=mk.SGD())

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
    schedule.multiplier = ops.cast(condition, "float32")
    try:
        yield
    finally:
        schedule.multiplier = None
