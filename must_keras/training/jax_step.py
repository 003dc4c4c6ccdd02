"""A training step on JAX: the same layers, losses and optimizers, where TensorFlow has no GPU.

With KERAS_BACKEND=jax nothing here needs TensorFlow. A step is one compiled function of a state and
a batch, for one device. Its shapes are fixed: heads compute the largest number of regions of every
image, where TensorFlow's mask head computes those with a mask and a few more; so the statistics of
its BatchNormalizations differ. The caller makes the batches, as arrays: the input pipeline of
must_keras.data is TensorFlow's.

Example:
    inputs, outputs = connect(network, tasks, norm)
    model = keras.Model(inputs, outputs)
    optimizer = SGD().build(Cosine().build(0.01, 1000, 0.05))
    state, step = initial_state(model, optimizer), training_step(model, tasks, optimizer)
    for x, y in batches:
        state, numbers = step(state, x, y)
    keep(model, state)

"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from must_keras.tasks.base import Task
from must_keras.training.network import losses_over, valid_counts
from must_keras.training.optimizers import clipping, global_norm, only_where

Tensor = Any
Step = Callable[["State", Mapping[str, Tensor], Mapping[str, Any]], tuple["State", dict]]


class State(NamedTuple):
    """All values that a step changes: arrays in the order of the Keras variables.

    Attributes:
        trainable: trainable weights of the model.
        others: its other weights: the statistics of its BatchNormalizations.
        optimizer: momenta and number of steps.

    Example:
        state = initial_state(model, optimizer)

    """

    trainable: list[Tensor]
    others: list[Tensor]
    optimizer: list[Tensor]


def initial_state(model: keras.Model, optimizer: keras.optimizers.Optimizer) -> State:
    """Return the state before the first step: copies, because a step reuses its state's memory."""
    if not optimizer.built:
        optimizer.build(model.trainable_variables)
    parts = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    return State(*([ops.copy(variable.value) for variable in part] for part in parts))


def keep(model: keras.Model, state: State) -> None:
    """Assign the weights of a state to a model."""
    for variable, value in _pairs(model, state):
        variable.assign(value)


def _pairs(model: keras.Model, state: State) -> list[tuple[keras.Variable, Tensor]]:
    return [
        *zip(model.trainable_variables, state.trainable, strict=True),
        *zip(model.non_trainable_variables, state.others, strict=True),
    ]


def batch_losses(
    model: keras.Model,
    tasks: Sequence[Task],
    state: State,
    x: Mapping[str, Tensor],
    y: Mapping[str, Any],
) -> tuple[dict[str, Tensor], list[Tensor]]:
    """Return the losses of a batch in training mode, as a function of the state.

    Losses that call sublayers of their heads use the state's weights too.

    Args:
        model: of `connect`.
        tasks: its heads.
        state: with the weights.
        x: {"image": [B, H, W, 3] RGB in [0, 255], "area": [B, 4]}.
        y: {"labels": {task name: label}, "keys": [B] int32}.

    Returns:
        {task name: loss}, and the state's new `others`.
    """
    with keras.StatelessScope(state_mapping=_pairs(model, state)) as scope:
        losses = losses_over(model, tasks, y, model(x, training=True), valid_counts(tasks, y))
    found = [scope.get_current_value(variable) for variable in model.non_trainable_variables]
    pairs = zip(state.others, found, strict=True)
    return losses, [old if new is None else new for old, new in pairs]


def training_step(
    model: keras.Model,
    tasks: Sequence[Task],
    optimizer: keras.optimizers.Optimizer,
    *,
    loss_weights: Mapping[str, float] | None = None,
    clip_norm: float | None = None,
) -> Step:
    """Return a compiled optimizer step: losses, gradients, clipping, new weights.

    Where the loss or a gradient is not finite the trainable weights keep their values, as in
    FittedModel.optimize.

    Args:
        model: of `connect`.
        tasks: its heads.
        optimizer: of AdamW(...) or SGD(...); its schedule's peak and length become part of the
            compiled step.
        loss_weights: {task name: weight}; 1 where a name is absent.
        clip_norm: largest global norm of the gradients; None: unlimited.

    Returns:
        A function (state, x, y) -> (next state, {"<task>_loss", "loss", "gradient_norm"}); see
        `batch_losses`. It reuses the state's memory: a state can be passed only once.
    """
    import jax

    weights = {task.name: 1.0 for task in tasks} | dict(loss_weights or {})

    def total(trainable: list, state: State, x: Any, y: Any) -> tuple[Tensor, tuple]:
        losses, others = batch_losses(model, tasks, state._replace(trainable=trainable), x, y)
        loss = sum(weights[name] * value for name, value in losses.items())
        return loss, (losses, others)

    def step(state: State, x: Any, y: Any) -> tuple[State, dict[str, Tensor]]:
        value_and_gradients = jax.value_and_grad(total, has_aux=True)
        (loss, (losses, others)), gradients = value_and_gradients(state.trainable, state, x, y)
        norm = global_norm(gradients)
        finite = ops.isfinite(norm) & ops.isfinite(loss)
        factor = clipping(norm, clip_norm)
        gradients = [ops.where(finite, g * ops.cast(factor, g.dtype), 0.0) for g in gradients]
        with only_where(finite, optimizer):
            applied = optimizer.stateless_apply(state.optimizer, gradients, state.trainable)
        numbers = {f"{name}_loss": value for name, value in losses.items()}
        numbers |= {"loss": loss, "gradient_norm": norm}
        trainable, gathered = applied
        return State(trainable, others, gathered), numbers

    return jax.jit(step, donate_argnums=0)
