"""A training or test step as a function of the input, under any strategy.

Keras' own fails with several workers (keras issue 20585), and lets nobody see the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import tensorflow as tf

Tensor = Any
Step = Callable[[Any], Mapping[str, Tensor]]


def on_replicas(model: keras.Model, step: Step) -> Callable[[Any], dict[str, Tensor]]:
    """A traced function of a batch that runs a step on every replica's share of it.

    Args:
        model: says the strategy and whether XLA compiles.
        step: gives the same numbers on every replica, so that the first one's are taken.
    """
    strategy = model.distribute_strategy

    def on_batch(batch: Any) -> dict[str, Tensor]:
        logs = strategy.run(step, (batch,))
        return {k: strategy.experimental_local_results(v)[0] for k, v in logs.items()}

    if model.run_eagerly:
        return on_batch
    return tf.function(
        on_batch, autograph=False, reduce_retracing=True, jit_compile=model.jit_compile
    )


def on_iterator(
    on_batch: Callable[[Any], dict[str, Tensor]],
    see: Callable[[Any, Iterator[Any]], None] | None = None,
) -> Callable[[Iterator[Any]], dict[str, Tensor]]:
    """What Keras' loops call: takes the next batch, shows both to `see`, and runs a step."""

    def function(iterator: Iterator[Any]) -> dict[str, Tensor]:
        try:
            batch = next(iterator)
        except tf.errors.OutOfRangeError:
            raise StopIteration from None
        if see is not None:
            see(batch, iterator)
        return on_batch(batch)

    return function
