"""Predictions of a trained model for many images, batch by batch, and their evaluation."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from must_keras.tasks.base import Task
from must_keras.tasks.evaluation import Evaluator
from must_keras.training.model import MultiTaskModel
from must_keras.training.strategy import local_replicas

Outputs = dict[str, dict[str, Any]]


class Predicted(NamedTuple):
    """One batch with its predictions as numpy arrays, without fillers."""

    x: dict[str, np.ndarray]
    y: dict[str, Any]
    outputs: dict[str, dict[str, np.ndarray]]


class Predictor:
    """Decoded predictions of a model, under its strategy; traced once.

    Args:
        model: the model; its weights may be replaced between calls.
        map_size: (H', W') of per-pixel predictions; default is the input's size.

    Attributes:
        heads: the names of the model's tasks.

    Example:
        for predicted in Predictor(model)(evaluation_batches(examples, tasks, ...)):
            predicted.outputs["kind"]["probabilities"]  # [B, K]
    """

    def __init__(self, model: MultiTaskModel, map_size: tuple[int, int] | None = None):
        self.heads = tuple(model.tasks)
        self._strategy = model.distribute_strategy or tf.distribute.get_strategy()
        strategy = self._strategy

        @tf.function(autograph=False)
        def step(x):
            return strategy.run(lambda inputs: model.decode(inputs, map_size), (x,))

        self._step = step

    def __call__(self, batches: Iterable[Any]) -> Iterator[Predicted]:
        """Yield the predictions for batches of `data.pipeline.evaluation_batches`, in order."""
        return predictions(batches, self.outputs)

    def outputs(self, x: dict[str, tf.Tensor]) -> Outputs:
        """Return {head: predictions} of one batch; all batches have one shape."""
        with self._strategy.scope():
            replicas = local_replicas()
        if replicas == 1:
            return self._step(x)
        count = next(iter(x.values())).shape[0]
        share = -(-count // replicas)
        # All replicas get the same number of images: the last one is repeated, then cut off.
        places = tf.minimum(tf.range(share * replicas), count - 1)

        def slice_of(context: Any) -> dict[str, tf.Tensor]:
            first = context.replica_id_in_sync_group % replicas * share
            return {key: tf.gather(v, places[first : first + share]) for key, v in x.items()}

        shared = self._strategy.experimental_distribute_values_from_function(slice_of)
        return tf.nest.map_structure(
            lambda v: tf.concat(self._strategy.experimental_local_results(v), axis=0)[:count],
            self._step(shared),
        )


def predictions(
    batches: Iterable[Any], outputs: Callable[[dict[str, tf.Tensor]], Outputs]
) -> Iterator[Predicted]:
    """Yield each batch, without fillers, with what a function returns for its images."""
    for x, y in batches:
        found, keep = outputs(x), y["index"].numpy() >= 0
        yield Predicted(*tf.nest.map_structure(lambda v, k=keep: np.asarray(v)[k], (x, y, found)))


def fill_evaluators(
    predictor: Predictor,
    batches: Iterable[Any],
    tasks: Sequence[Task],
    watch: Callable[[Predicted], None] | None = None,
) -> dict[str, Evaluator]:
    """Return {task name: its evaluator after all batches}.

    Args:
        predictor: the model.
        batches: labeled for `tasks`; see data.pipeline.evaluation_batches.
        tasks: what is measured.
        watch: called with every predicted batch.
    """
    evaluators = {task.name: task.metrics.evaluator() for task in tasks}
    for predicted in predictor(batches):
        if watch is not None:
            watch(predicted)
        for name, evaluator in evaluators.items():
            evaluator.update(predicted.y["labels"][name], predicted.outputs[name])
    return evaluators


def evaluate_trivial(
    task: Task, *, train: Iterable[Any], test: Iterable[Any], without: Collection[str] = ()
) -> dict[str, float]:
    """Return {metric: value} on `test` of the trivial baseline that is fitted on `train`.

    Args:
        task: the head.
        train: batches labeled for the task, see data.pipeline.evaluation_batches.
        test: the same.
        without: outputs that are not predicted, and so not scored.
    """
    baseline, evaluator = task.metrics.trivial_baseline(), task.metrics.evaluator()
    for label in _labels_of(train, task):
        baseline.update(label)
    for label in _labels_of(test, task):
        prediction = baseline.predict(len(next(iter(label.values()))))
        evaluator.update(label, {k: v for k, v in prediction.items() if k not in without})
    return evaluator.result()


def _labels_of(batches: Iterable[Any], task: Task) -> Iterator[dict[str, np.ndarray]]:
    """Yield the labels of one task, batch by batch, without fillers."""
    for _, y in batches:
        keep = y["index"].numpy() >= 0
        yield {key: value.numpy()[keep] for key, value in y["labels"][task.name].items()}
