"""A model that `fit` trains step by step, under every strategy."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from must_keras.ops.precision import in_full_precision
from must_keras.training.fused import fuse
from must_keras.training.optimizers import clipping, global_norm, only_where
from must_keras.training.stepping import on_iterator, on_replicas
from must_keras.training.stochastic_depth import StochasticDepth
from must_keras.training.strategy import is_multi_worker, num_replicas, sum_over_replicas

Tensor = Any


class FittedModel(keras.Model):
    """A functional model with a training step of its own; subclasses write `train_step`.

    A training step returns its own batch's numbers, which callbacks see. The epoch's logs and
    `History` give means over batches, of which every one counts the same.

    Args:
        inputs: as keras.Model.
        outputs: as keras.Model.
        clip_norm: largest global norm of the gradients of the whole batch; None: unlimited.
        **kwargs: of keras.Model.

    Attributes:
        accumulate: parts of a batch that are computed one after the other in a training step, to
            save memory; image i belongs to part i mod `accumulate`.
        stochastic_depth: leaves out residual branches in training; None: none.
        last_batch: what the newest training step has seen, over all local replicas.
    """

    def __init__(self, inputs: Any, outputs: Any, clip_norm: float | None = None, **kwargs: Any):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        fuse(self)
        self.clip_norm = clip_norm
        self.accumulate = 1
        self.stochastic_depth: StochasticDepth | None = None
        self.last_batch: Any = None
        self._iterator: Any = None
        self._means: list[keras.metrics.Mean] = []

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of what a training step returns beside "loss"."""
        raise NotImplementedError

    def without_optimizer(self) -> keras.Model:
        """The same layers, in the same precision, without an optimizer."""
        raise NotImplementedError

    def clean_copy(self) -> keras.Model:
        """`without_optimizer` in full precision: what is saved."""
        copy = self.without_optimizer()
        if self.dtype_policy.compute_dtype == self.dtype_policy.variable_dtype:
            return copy
        full_precision = type(copy).from_config(in_full_precision(copy.get_config()))
        full_precision.set_weights(copy.get_weights())
        return full_precision

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Keras' own, with the optimizer built and a metric for each value that a step returns."""
        super().compile(*args, **kwargs)
        if self.optimizer is not None:  # Keras would do it in `_maybe_symbolic_build`.
            self.optimizer.build(self.trainable_variables)
        if not self._means:  # Here and not before: a saved model without optimizer has none.
            self._means = [keras.metrics.Mean(name=name) for name in self.numbers]

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a loaded model as it was; Keras leaves that to whoever overrides `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def optimize(self, pairs: Sequence[tuple[Tensor, keras.Variable]], loss: Tensor) -> Tensor:
        """One optimizer step on TensorFlow: gradients are summed over replicas, then clipped.

        Where the loss or a gradient is not finite the weights stay as they were: see nonfinite.py.

        Args:
            pairs: this replica's (gradient, variable).
            loss: a scalar, of the whole batch of all replicas.

        Returns:
            The gradient's norm before it is clipped.
        """
        gradients = sum_over_replicas([g for g, _ in pairs])
        norm = global_norm(gradients)
        finite = ops.isfinite(norm) & ops.isfinite(loss)
        # The optimizer adds up over replicas once more: hand it each replica's equal share.
        factor = clipping(norm, self.clip_norm, 1.0 / num_replicas())
        factor = ops.where(finite, factor, ops.zeros_like(factor))
        gradients = [tf.math.multiply_no_nan(g, ops.cast(factor, g.dtype)) for g in gradients]
        with only_where(finite, self.optimizer):
            self.optimizer.apply(gradients, [v for _, v in pairs])
        return norm

    def drawing(self, keys: Tensor) -> contextlib.AbstractContextManager[None]:
        """Within, a forward pass and its gradient are those of training on images [B] of keys."""
        depth = self.stochastic_depth
        return contextlib.nullcontext() if depth is None else depth.of(keys)

    def add_to_means(self, logs: Mapping[str, Tensor]) -> None:
        """Counts one batch; "loss" is the metric that Keras makes itself."""
        for mean in self.metrics:
            if mean.name in logs:
                mean.update_state(logs[mean.name])

    def make_train_function(self, force: bool = False) -> None:
        """One function for every strategy, which keeps the batch for who looks at it later."""
        if self.train_function is None or force:
            self.train_function = on_iterator(on_replicas(self, self.train_step), self._keep)

    def _keep(self, batch: Any, iterator: Any) -> None:
        self.last_batch, self._iterator = batch, iterator

    def release_input(self) -> None:
        """Ends the input of the last `fit` beside whatever comes next.

        An iterator of a strategy ends when the thread that tunes it does. That thread (TensorFlow
        2.21, `Model::OptimizeLoop`) is woken before the flag is set that it looks at, and then
        often sleeps on for as long as the iterator has lived, up to a minute.
        """
        held, self._iterator = [self._iterator], None
        threading.Thread(target=held.clear).start()

    def make_test_function(self, force: bool = False) -> None:
        """Keras' own; several workers need another (keras issue 20585)."""
        if not is_multi_worker():
            super().make_test_function(force)
        elif self.test_function is None or force:
            self.test_function = on_iterator(on_replicas(self, self.test_step))

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Nothing: a functional model without compiled losses is built.

        Keras 3.15 would take the mean of the first batch over replicas, which fails for bools and
        for several workers (keras issue 20585).
        """
