"""A Keras model whose training step runs under every distribution strategy."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from must_keras.ops.precision import in_full_precision
from must_keras.tasks.base import Task
from must_keras.training.layer_calls import StochasticDepth, fuse
from must_keras.training.network import AnyTask
from must_keras.training.optimizers import clipping, global_norm, only_where
from must_keras.training.strategy import is_multi_worker, num_replicas, sum_over_replicas

Tensor = Any
Step = Callable[[Any], Mapping[str, Tensor]]
# {"image": [B, H, W, 3], "area": [B, 4]}, {"labels": {task name: label}, "keys": [B] int32} and
# {task name: scalar}.
Inputs, Targets, Losses = Mapping[str, Tensor], Mapping[str, Any], dict[str, Tensor]
# (gradient, variable) of each variable that has one.
Gradients = Sequence[tuple[Tensor, keras.Variable]]


class FittedModel(keras.Model):
    """A functional model with a training step of its own; subclasses implement `train_step`.

    A training step returns the numbers of its own batch, which callbacks receive. The epoch's logs
    and `History` are means over batches, each of which counts the same.

    Args:
        inputs: as in keras.Model.
        outputs: as in keras.Model.
        clip_norm: largest global norm of the gradients of the whole batch; None: unlimited.
        **kwargs: of keras.Model.

    Attributes:
        tasks: {name: task} of the heads; {} of a model without heads.
        heads: the same, with those that take part in the loss alone.
        accumulate: number of microbatches of a step; image i belongs to microbatch
            i mod `accumulate`.
        stochastic_depth: drops residual branches in training; None: none are dropped.
        last_batch: input of the newest step, over all local replicas.

    Example:
        training.compile(model)  # A MultiTaskModel, or the model of a self-supervised method.
        fit(artifact, model, pipeline, training, title="student", origin="scratch").close()
        save_artifact(artifact, model.clean_copy())

    """

    def __init__(self, inputs: Any, outputs: Any, clip_norm: float | None = None, **kwargs: Any):
        super().__init__(inputs=inputs, outputs=outputs, **kwargs)
        fuse(self)
        self.tasks: dict[str, Task] = {}
        self.heads: dict[str, AnyTask] = {}
        self.clip_norm = clip_norm
        self.accumulate = 1
        self.stochastic_depth: StochasticDepth | None = None
        self.last_batch: Any = None
        self._iterator: Any = None
        self._means: list[keras.metrics.Mean] = []

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of what a training step returns beside "loss"."""
        raise NotImplementedError

    def training_targets(self, x: Mapping[str, Tensor], y: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return what a training step learns from a batch; here all that the batch has."""
        return y

    def without_optimizer(self) -> keras.Model:
        """Return a model of the same layers, in the same precision, without an optimizer."""
        raise NotImplementedError

    def replayable(self) -> keras.Model:
        """Return `without_optimizer` with all heads whose losses can be computed again."""
        return self.without_optimizer()

    def clean_copy(self) -> keras.Model:
        """Return `without_optimizer` in full precision: the model that is saved."""
        copy = self.without_optimizer()
        if self.dtype_policy.compute_dtype == self.dtype_policy.variable_dtype:
            return copy
        full_precision = type(copy).from_config(in_full_precision(copy.get_config()))
        full_precision.set_weights(copy.get_weights())
        return full_precision

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile as Keras does; build the optimizer and a mean of every number of a step."""
        super().compile(*args, **kwargs)
        if self.optimizer is not None:  # Keras would do it in `_maybe_symbolic_build`.
            self.optimizer.build(self.trainable_variables)
        if not self._means:  # Here and not before: a saved model without optimizer has none.
            self._means = [keras.metrics.Mean(name=name) for name in self.numbers]

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compile a loaded model; Keras leaves that to classes that override `compile`."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def optimize(self, pairs: Gradients, logs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Apply one optimizer step: gradients are summed over replicas, then clipped.

        Where the loss or a gradient is not finite the weights keep their values: see
        diagnostics.keep_step.

        Args:
            pairs: this replica's (gradient, variable).
            logs: the step's numbers, of the whole batch of all replicas; "loss" among them.

        Returns:
            The logs with "gradient_norm": the gradients' global norm before clipping.
        """
        gradients = sum_over_replicas([g for g, _ in pairs])
        norm = global_norm(gradients)
        finite = ops.isfinite(norm) & ops.isfinite(logs["loss"])
        # The optimizer adds up over replicas once more: hand it each replica's equal share.
        factor = clipping(norm, self.clip_norm, 1.0 / num_replicas())
        factor = ops.where(finite, factor, ops.zeros_like(factor))
        gradients = [tf.math.multiply_no_nan(g, ops.cast(factor, g.dtype)) for g in gradients]
        with only_where(finite, self.optimizer):
            self.optimizer.apply(gradients, [v for _, v in pairs])
        logs = {**logs, "gradient_norm": norm}
        self.add_to_means(logs)
        return logs

    def sampling(self, keys: Tensor) -> contextlib.AbstractContextManager[None]:
        """Within, sample what a training pass drops, with the keys of its images: [B] int32."""
        depth = self.stochastic_depth
        return contextlib.nullcontext() if depth is None else depth.of(keys)

    def add_to_means(self, logs: Mapping[str, Tensor]) -> None:
        """Count one batch in the means of its numbers; Keras itself makes that of "loss"."""
        for mean in self.metrics:
            if mean.name in logs:
                mean.update_state(logs[mean.name])

    def make_train_function(self, force: bool = False) -> None:
        """Make one function for every strategy: Keras' own fails with several workers.

        See keras issue 20585.
        """
        if self.train_function is None or force:
            self.train_function = self._on_iterator(self.train_step)

    def release_input(self) -> None:
        """Destroy the input of the last `fit` in a thread of its own.

        An iterator of a strategy ends when the thread that tunes it does. That thread (TensorFlow
        2.21, `Model::OptimizeLoop`) is woken before the flag that ends it is set, and then often
        sleeps for as long as the iterator has lived, up to a minute.
        """
        held, self._iterator = [self._iterator], None
        threading.Thread(target=held.clear).start()

    def make_test_function(self, force: bool = False) -> None:
        """Make Keras' own, and with several workers one of ours (keras issue 20585)."""
        if not is_multi_worker():
            super().make_test_function(force)
        elif self.test_function is None or force:
            self.test_function = self._on_iterator(self.test_step)

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Do nothing: a functional model without compiled losses is built.

        Keras 3.15 would take the mean of the first batch over replicas, which fails for bools and
        for several workers (keras issue 20585).
        """

    def _on_iterator(self, step: Step) -> Callable[[Iterator[Any]], dict[str, Tensor]]:
        """Return the function that Keras' loops call: it runs a step on the next batch.

        The batch is kept for diagnostics.

        Args:
            step: runs on every replica's share of the batch, and returns the same numbers on every
                replica; the first one's are taken.
        """
        strategy = self.distribute_strategy

        def on_replicas(batch: Any) -> dict[str, Tensor]:
            logs = strategy.run(step, (batch,))
            return {k: strategy.experimental_local_results(v)[0] for k, v in logs.items()}

        if not self.run_eagerly:
            options = {"reduce_retracing": True, "jit_compile": self.jit_compile}
            on_replicas = tf.function(on_replicas, autograph=False, **options)

        def function(iterator: Iterator[Any]) -> dict[str, Tensor]:
            try:
                batch = next(iterator)
            except tf.errors.OutOfRangeError:
                raise StopIteration from None
            self.last_batch, self._iterator = batch, iterator
            return on_replicas(batch)

        return function
