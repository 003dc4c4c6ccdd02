"""The losses of a multi-task network over a batch: the same on every Keras backend."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import keras
from keras import ops

from must_keras.ops.precision import full, to_full
from must_keras.tasks.base import Task

Tensor = Any


def valid_counts(tasks: Iterable[Task], y: Mapping[str, Any]) -> Tensor:
    """Each task's number of valid elements in a batch: [tasks].

    Args:
        tasks: the heads.
        y: {"labels": {task name: label}, "keys": [B] int32}.
    """
    counts = [
        ops.cast(ops.sum(task.label_weight(to_full(y["labels"][task.name]))), full())
        for task in tasks
    ]
    return ops.stack(counts)


def losses_over(
    model: keras.Model,
    tasks: Iterable[Task],
    y: Mapping[str, Any],
    predictions: Mapping[str, Any],
    counts: Tensor,
) -> dict[str, Tensor]:
    """{task name: the sum of its images' losses, divided by its number of valid elements}.

    Args:
        model: what has made the predictions; some losses run parts of its heads.
        tasks: the heads.
        y: see `valid_counts`.
        predictions: {task name: the head's prediction}.
        counts: [tasks], of the whole batch, of which this may be a part.
    """
    losses, counts = {}, ops.maximum(counts, 1.0)
    for i, task in enumerate(tasks):
        label, head = to_full(y["labels"][task.name]), model.get_layer(task.name)
        terms = task.loss(label, predictions[task.name], head, y["keys"])
        losses[task.name] = ops.cast(ops.sum(terms), counts.dtype) / counts[i]
    return losses
