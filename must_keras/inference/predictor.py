"""Predictions of a trained model for many images, batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from must_keras.training.model import MultiTaskModel
from must_keras.training.strategy import local_replicas

Outputs = dict[str, dict[str, Any]]


class Predicted(NamedTuple):
    """One batch with its predictions as numpy arrays, without fillers.

    Example:
        for batch in Predictor(model)(batches):
            batch.outputs["shapes"]["probabilities"]
    """

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
        outputs: returns {head: predictions} of one batch's inputs.

    Example:
        for predicted in Predictor(model)(evaluation_batches(examples, tasks, ...)):
            predicted.outputs["kind"]["probabilities"]  # [B, K]
    """

    def __init__(self, model: MultiTaskModel, map_size: tuple[int, int] | None = None):
        self.heads = tuple(model.tasks)
        self.outputs = OnReplicas(model, lambda x: model.decode(x, map_size))

    def __call__(self, batches: Iterable[Any]) -> Iterator[Predicted]:
        """Yield the predictions for batches of `data.pipeline.evaluation_batches`, in order."""
        return predictions(batches, self.outputs)


class OnReplicas:
    """A function of a batch's inputs that runs on the replicas of a model; traced once.

    Args:
        model: of whose strategy the replicas are.
        function: returns {name: {key: [B, ...]}} of inputs.

    Example:
        outputs = OnReplicas(model, lambda x: {"raw": model(x, training=False)})
        outputs({"image": images, "area": areas})
    """

    def __init__(self, model: MultiTaskModel, function: Callable[[dict[str, tf.Tensor]], Outputs]):
        self._strategy = model.distribute_strategy or tf.distribute.get_strategy()
        strategy = self._strategy

        @tf.function(autograph=False)
        def step(x):
            return strategy.run(function, (x,))

        self._step = step

    def __call__(self, x: dict[str, tf.Tensor]) -> Outputs:
        """Return what the function returns for one batch; all batches have one shape."""
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
        shares = self._strategy.experimental_local_results
        return tf.nest.map_structure(lambda v: tf.concat(shares(v), 0)[:count], self._step(shared))


def predictions(
    batches: Iterable[Any], outputs: Callable[[dict[str, tf.Tensor]], Outputs]
) -> Iterator[Predicted]:
    """Yield each batch, without fillers, with what a function returns for its images."""
    for x, y in batches:
        found, keep = outputs(x), y["index"].numpy() >= 0
        yield Predicted(*tf.nest.map_structure(lambda v, k=keep: np.asarray(v)[k], (x, y, found)))
