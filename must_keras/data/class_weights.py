"""Weights of classes in a loss, by their frequency in a training set."""

import numpy as np

from must_keras.data.examples import LabeledExamples, count_classes
from must_keras.data.sources import Source
from must_keras.errors import UserError
from must_keras.tasks.base import Task

_MAX_IMAGES = 2000


def balanced_class_weights(source: Source, task: Task, *, power: float = 0.5) -> tuple[float, ...]:
    """Return weights f^-power of classes with the shares f, divided so that their mean is 1.

    The mean is over the labels of the source, so the sum of all losses keeps its order of size. A
    class without a label has the weight of the rarest one that has.

    Args:
        source: the training set; at most 2,000 of its labels are read, evenly spread.
        task: Classification or Segmentation: of images or of shares of their pixels.
        power: 0 for equal weights, 1 for the inverse frequency.

    Raises:
        UserError: the task has no classes, no label was found, or the power is not in [0, 1].

    Example:
        weights = mk.balanced_class_weights(sets.train, task)
        task = dataclasses.replace(task, class_weights=weights)
    """
    if not 0.0 <= power <= 1.0:
        raise UserError.of(task.name, "power", power, "expected a number in [0, 1]")
    last = len(source) - 1
    indices = sorted({round(i) for i in np.linspace(0, last, min(len(source), _MAX_IMAGES))})
    counts = count_classes(LabeledExamples(source, [task]), task, indices=indices)
    if counts is None:
        raise task.error(f"a task of kind {task.kind!r} has no classes to weight")
    amounts = np.array(list(counts.values()))
    if not amounts.any():
        raise task.error(f"source {source.name!r} has no label in {len(indices)} images")
    shares = np.maximum(amounts, amounts[amounts > 0].min()) / amounts.sum()
    weights = shares**-power
    mean = np.sum(amounts / amounts.sum() * weights)
    return tuple(float(weight) for weight in np.round(weights / mean, 6))
