"""A trained model over many images, batch by batch: for evaluation, labels and pictures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from must_keras.tasks.base import Task
from must_keras.tasks.evaluation import Evaluator
from must_keras.training.model import MultiTaskModel
from must_keras.training.strategy import local_replicas


class Predicted(NamedTuple):
    """One batch without its fillers, as numpy arrays."""

    x: dict[str, np.ndarray]
    y: dict[str, Any]
    outputs: dict[str, dict[str, np.ndarray]]


class Predictor:
    """Runs `model.read_out` under the model's strategy; traced once.

    Args:
        model: the model; its weights may be replaced between calls.
        map_size: (H', W') of per-pixel outputs; default is the input's size.

    Attributes:
        heads: the names of the model's tasks.
    """

    def __init__(self, model: MultiTaskModel, map_size: tuple[int, int] | None = None):
        self.heads = tuple(model.tasks)
        self._strategy = model.distribute_strategy or tf.distribute.get_strategy()
        strategy = self._strategy

        @tf.function(autograph=False)
        def step(x):
            return strategy.run(lambda inputs: model.read_out(inputs, map_size), (x,))

        self._step = step

    def __call__(self, batches: Iterable[Any]) -> Iterator[Predicted]:
        """Batches as `data.pipeline.evaluation_batches` makes them, in their order."""
        for x, y in batches:
            outputs = self.outputs(x)
            keep = y["index"].numpy() >= 0
            yield Predicted(
                *tf.nest.map_structure(lambda v, k=keep: np.asarray(v)[k], (x, y, outputs))
            )

    def outputs(self, x: dict[str, tf.Tensor]) -> dict[str, dict[str, Any]]:
        """{head: outputs} of one batch; all batches are of one shape."""
        with self._strategy.scope():
            replicas = local_replicas()
        if replicas == 1:
            return self._step(x)
        count = next(iter(x.values())).shape[0]
        share = -(-count // replicas)
        # All replicas get the same number of images: the last one is repeated, then cut off.
        places = tf.minimum(tf.range(share * replicas), count - 1)

        def part(context: Any) -> dict[str, tf.Tensor]:
            first = context.replica_id_in_sync_group % replicas * share
            return {key: tf.gather(v, places[first : first + share]) for key, v in x.items()}

        shared = self._strategy.experimental_distribute_values_from_function(part)
        return tf.nest.map_structure(
            lambda v: tf.concat(self._strategy.experimental_local_results(v), axis=0)[:count],
            self._step(shared),
        )


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
    evaluators = {task.name: task.evaluator() for task in tasks}
    for predicted in predictor(batches):
        if watch is not None:
            watch(predicted)
        for name, evaluator in evaluators.items():
            evaluator.update(predicted.y["labels"][name], predicted.outputs[name])
    return evaluators


def labels_of(batches: Iterable[Any], task: Task) -> Iterator[dict[str, np.ndarray]]:
    """The labels of one task, batch by batch, without fillers."""
    for _, y in batches:
        keep = y["index"].numpy() >= 0
        yield {key: value.numpy()[keep] for key, value in y["labels"][task.name].items()}


def evaluate_trivial(
    task: Task, *, train: Iterable[Any], test: Iterable[Any], without: Collection[str] = ()
) -> dict[str, float]:
    """{metric: value} on `test` of the prediction learned from `train` that never looks.

    Outputs in `without` are not predicted, and so not scored.
    """
    prior, evaluator = task.prior(), task.evaluator()
    for label in labels_of(train, task):
        prior.update(label)
    for label in labels_of(test, task):
        outputs = prior.outputs(len(next(iter(label.values()))))
        evaluator.update(label, {k: v for k, v in outputs.items() if k not in without})
    return evaluator.result()
