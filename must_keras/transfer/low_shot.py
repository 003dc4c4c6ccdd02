"""Low-shot subsets of a set: as many images of each class, or as many in all."""

import collections
import itertools
from collections.abc import Iterator

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
    places: list[int] = []
    counts: collections.Counter[int] = collections.Counter()
    for index, group in _labeled(source, task, seed):
        if counts[group] < shots:
            counts[group] += 1
            places.append(index)
        if len(places) == shots * task.labels.num_groups:
            break
    return _subset(source, task, places)


def first(source: Source, task: Task, *, samples: int, seed: int) -> Subset:
    """Return so many images in all, whatever their classes; all where there are fewer.

    The order is that of `few`, so that 1,000 samples contain the 100 samples. A class may be
    missing among them, as in a set that was labeled at random.

    Args:
        source: the set.
        task: the meaning of its labels.
        samples: number of images with a label for the task, at least 1.
        seed: of the order.

    Raises:
        UserError: no image is labeled for the task.
    """
    found = itertools.islice(_labeled(source, task, seed), samples)
    return _subset(source, task, [index for index, _ in found])


def _labeled(source: Source, task: Task, seed: int) -> Iterator[tuple[int, int]]:
    """Yield (index, group) of the images with a label, in the order of the seed."""
    examples = LabeledExamples(TolerantSource(source, labels=True), [task])
    for index in permutation(source, seed=seed):
        group = examples.group(index, task)
        if group is not None:
            yield index, group


def _subset(source: Source, task: Task, places: list[int]) -> Subset:
    if not places:
        raise UserError(f"source {source.name!r}: no image is labeled for head {task.name!r}")
    return Subset(source, sorted(places), name=source.name)
