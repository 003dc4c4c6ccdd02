"""A few labeled images of a set: what a low-shot transfer may see."""

from __future__ import annotations

import collections

from must_keras.data.examples import LabeledExamples
from must_keras.data.sources import Source, Subset, TolerantSource
from must_keras.data.splits import permutation
from must_keras.errors import UserError
from must_keras.tasks.base import Task


def few(source: Source, task: Task, *, shots: int, seed: int) -> Subset:
    """So many images of each class for classification, so many in all for other tasks.

    Images come in an order that belongs to their ids and the seed, so that 20 shots contain the
    10 shots. The class of a soft label is its most likely one; images without a label for the task
    are passed over; of a class that has fewer images, all are taken.

    Args:
        source: the set.
        task: what its labels mean.
        shots: at least 1.
        seed: another one takes others.

    Raises:
        UserError: no image is labeled for the task.
    """
    examples = LabeledExamples(TolerantSource(source, labels=True), [task])
    places: list[int] = []
    counts: collections.Counter[int] = collections.Counter()
    groups = len(task.classes) if task.kind == "classes" else 1
    for index in permutation(source, seed=seed):
        if len(places) == shots * groups:
            break
        group = _group(examples, task, index)
        if group is not None and counts[group] < shots:
            counts[group] += 1
            places.append(index)
    if not places:
        raise UserError(f"source {source.name!r}: no image is labeled for head {task.name!r}")
    return Subset(source, sorted(places), name=source.name)


def _group(examples: LabeledExamples, task: Task, index: int) -> int | None:
    """The class that an image counts for, 0 where classes do not matter; None: not labeled."""
    if task.kind != "classes":
        return None if examples.origins(index)[task.name] == "missing" else 0
    counts = task.count_classes(examples.labels(index)[task.name])
    return int(counts.argmax()) if counts.any() else None
