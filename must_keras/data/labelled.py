"""Every head's label for every image: the true one where there is one, else the teacher's.

The rule is per image and head, and whole: a true label is never mixed with a pseudo label.
"""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from must_keras.data.columns import Column
from must_keras.data.sources import LabelSpace, Source
from must_keras.errors import UserError
from must_keras.tasks.base import Task, Threshold

Origin = Literal["true", "pseudo", "missing"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """A label column and the threshold with which it is read."""

    column: Column
    threshold: Threshold


class Labelled:
    """A source's images with a stored label for every task.

    Args:
        source: images, and the true labels of some heads.
        tasks: the heads asked for.
        pseudo: {head: what a teacher said of this source}; for heads without a true label.
    """

    def __init__(
        self,
        source: Source,
        tasks: Sequence[Task],
        pseudo: Mapping[str, PseudoLabels] | None = None,
    ):
        self.source = source
        self._tasks = tuple(tasks)
        self._pseudo = dict(pseudo or {})
        check_label_spaces(source, tasks)

    def __len__(self) -> int:
        return len(self.source)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """[h, w, 3] uint8, and {head: stored label}."""
        return self.source.image(index), self._labels(index)[0]

    def origins(self, index: int) -> dict[str, Origin]:
        """{head: where the label of this image comes from}."""
        return self._labels(index)[1]

    def _labels(self, index: int) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Origin]]:
        true = self.source.labels(index)
        labels, origins = {}, {}
        for task in self._tasks:
            name, pseudo = task.name, self._pseudo.get(task.name)
            if name in true:
                labels[name], origins[name] = true[name], "true"
            elif pseudo is not None and not pseudo.column.is_empty(index):
                labels[name] = task.decode(pseudo.column.read(index), pseudo.threshold)
                origins[name] = "pseudo"
            else:
                labels[name], origins[name] = task.missing(), "missing"
        return labels, origins


class Union:
    """Several labelled sources one after the other; all images are equally likely."""

    def __init__(self, parts: Sequence[Labelled]):
        self.parts = tuple(parts)
        self._ends = list(itertools.accumulate(len(part) for part in self.parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, index: int) -> tuple[Labelled, int]:
        """The part that holds an index, and the index within it."""
        part = bisect.bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """See Labelled.load."""
        part, local = self.locate(index)
        return part.load(local)


def check_label_spaces(source: Source, tasks: Sequence[Task]) -> None:
    """Raises UserError where a source's labels mean something else than the head's."""
    for task in tasks:
        space = source.label_spaces.get(task.name)
        difference = space and space.difference(LabelSpace.of(task))
        if difference:
            raise UserError(
                f"source {source.name!r} does not fit head {task.name!r} (the other): {difference}"
            )
