"""A few labeled images of a set: the training set of a low-shot transfer."""

from __future__ import annotations

import collections

from must_keras.data.examples import LabeledExamples
from must_keras.data.sources import Source, Subset, TolerantSource
from must_keras.data.splits import permutation
from must_keras.errors import UserError
from must_keras.tasks.base import Task


def few(source: Source, task: Task, *, shots: int, seed: int) -> Subset:
    """Return as many images of each group of a task (`Labels.group`): of each class, or in all.

    The order of images is a function of their ids and the seed, so that 20 shots contain the 10
    shots. Images without a label for the task are skipped; of a group with fewer images, all are
    taken.

    Args:
        source: the set.
        task: the meaning of its labels.
        shots: images of each group, at least 1.
        seed: of the order.

    Raises:
        UserError: no image is labeled for the task.
    """
    examples = LabeledExamples(TolerantSource(source, labels=True), [task])
    places: list[int] = []
    counts: collections.Counter[int] = collections.Counter()
    for index in permutation(source, seed=seed):
        if len(places) == shots * task.labels.num_groups:
            break
        group = _group(examples, task, index)
        if group is not None and counts[group] < shots:
            counts[group] += 1
            places.append(index)
    if not places:
        raise UserError(f"source {source.name!r}: no image is labeled for head {task.name!r}")
    return Subset(source, sorted(places), name=source.name)


def _group(examples: LabeledExamples, task: Task, index: int) -> int | None:
    """Return the group of an image, or None where it is not labeled."""
    labels, origins = examples.labels_and_origins(index)
    return None if origins[task.name] == "missing" else task.labels.group(labels[task.name])
