"""Every head's label for every image: the true one where there is one, else the teacher's.

The rule is per image and head, and whole: a true label is never mixed with a pseudo label.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import itertools
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from must_keras.data.sources import LabelSpace, LabelSpaces, Source
from must_keras.data.splits import Splits
from must_keras.data.stored import Stored
from must_keras.errors import DataError, UserError
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.tasks.base import Task
from must_keras.tasks.thresholds import Threshold

Origin = Literal["true", "pseudo", "missing"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """A label column and the threshold with which it is read."""

    column: PseudoLabelReader
    threshold: Threshold


class LabeledExamples:
    """A source's images with a stored label for every task.

    Args:
        source: images, and the true labels of some heads.
        tasks: the heads asked for.
        pseudo: {head: what a teacher said of this source}; for heads without a true label.
        indices: which images of the source, in their order; None: all.
    """

    def __init__(
        self,
        source: Source,
        tasks: Sequence[Task],
        pseudo: Mapping[str, PseudoLabels] | None = None,
        *,
        indices: Sequence[int] | None = None,
    ):
        self.source = source
        self._tasks = tuple(tasks)
        self._pseudo = dict(pseudo or {})
        self._places = range(len(source)) if indices is None else np.asarray(indices, np.int64)
        self._told: set[str] = set()
        self._spaces = LabelSpaces(source.name, source.label_spaces)
        check_label_spaces(source, tasks)

    def __len__(self) -> int:
        return len(self._places)

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of the tasks."""
        return tuple(task.name for task in self._tasks)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """[h, w, 3] uint8, and {head: stored label}."""
        return self.source.image(self._place(index)), self.labels(index)

    def image_id(self, index: int) -> str:
        """The source's name and the image's id in it."""
        return f"{self.source.name}/{self.source.image_id(self._place(index))}"

    def labels(self, index: int) -> dict[str, dict[str, np.ndarray]]:
        """{head: stored label}."""
        return self._labels(self._place(index))[0]

    def labels_and_origins(
        self, index: int
    ) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Origin]]:
        """{head: stored label} and {head: where it comes from}, read once."""
        return self._labels(self._place(index))

    def labels_for(
        self, tasks: Sequence[Task], index: int
    ) -> list[tuple[Task, dict[str, np.ndarray]]]:
        """Return (task, stored label) of some of the tasks, without reading any for the others."""
        labels = self._labels(self._place(index), tasks)[0]
        return [(task, labels[task.name]) for task in tasks]

    def origins(self, index: int) -> dict[str, Origin]:
        """{head: where the label of this image comes from}."""
        return self._labels(self._place(index))[1]

    def _place(self, index: int) -> int:
        """Where an image is in the source, and its record in a column."""
        return int(self._places[index])

    def _labels(
        self, index: int, tasks: Sequence[Task] | None = None
    ) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, Origin]]:
        gone = self.source.is_gone(index)
        tasks = self._tasks if tasks is None else tasks
        is_asked = any(task.name in self.source.label_spaces for task in tasks)
        true = self.source.labels(index) if is_asked and not gone else {}
        self._check_heads(true, index)
        labels, origins = {}, {}
        for task in tasks:
            name, pseudo = task.name, None if gone else self._pseudo.get(task.name)
            if name in true:
                kind = self._spaces[name].kind
                check_label(self._where(index), task, true[name])
                labels[name], origins[name] = task.adapt(true[name], kind), "true"
            elif pseudo is not None and not pseudo.column.is_empty(index):
                labels[name] = task.decode(pseudo.column.read(index), pseudo.threshold)
                origins[name] = "pseudo"
            else:
                labels[name], origins[name] = task.missing(), "missing"
            self._tell_surplus(task, labels[name], index)
        return labels, origins

    def _check_heads(self, true: Mapping[str, Stored], index: int) -> None:
        """Raise UserError where labels are of heads that the source does not name."""
        if not isinstance(true, Mapping):
            raise UserError(
                f"{self._where(index)}: its labels are a {type(true).__name__}, expected {{head: "
                "stored label}"
            )
        for head in true:
            if head not in self.source.label_spaces:
                raise UserError(f"{self._where(index)}: {self._spaces.unknown(head)}")

    def _where(self, index: int) -> str:
        return f"source {self.source.name!r}, image {self.source.image_id(index)!r}"

    def _tell_surplus(self, task: Task, label: Mapping[str, np.ndarray], index: int) -> None:
        """Warns of the first image that has more objects than a batch has room for."""
        surplus = 0 if task.name in self._told else task.surplus(label)
        if surplus:
            self._told.add(task.name)
            print(
                f"warning: {self.source.name}: image {self.source.image_id(index)!r} has {surplus} "
                f"more objects than head {task.name!r} has room for; they are ignored",
                file=sys.stderr,
            )


class ReadableExamples(LabeledExamples):
    """The same, where a label that cannot be read counts as missing."""

    def labels_for(
        self, tasks: Sequence[Task], index: int
    ) -> list[tuple[Task, dict[str, np.ndarray]]]:
        """See LabeledExamples.labels_for."""
        try:
            return super().labels_for(tasks, index)
        except (UserError, DataError):
            return [(task, task.missing()) for task in tasks]


class ConcatenatedExamples:
    """Several labeled sources one after the other; all images are equally likely."""

    def __init__(self, parts: Sequence[LabeledExamples]):
        self.parts = tuple(parts)
        self._ends = list(itertools.accumulate(len(part) for part in self.parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def locate(self, index: int) -> tuple[LabeledExamples, int]:
        """The part that holds an index, and the index within it."""
        part = bisect.bisect_right(self._ends, index)
        return self.parts[part], index - (self._ends[part - 1] if part else 0)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, dict[str, np.ndarray]]]:
        """See LabeledExamples.load."""
        part, local = self.locate(index)
        return part.load(local)

    def image_id(self, index: int) -> str:
        """See LabeledExamples.image_id."""
        part, local = self.locate(index)
        return part.image_id(local)


def count_classes(
    examples: LabeledExamples, task: Task, *, indices: Sequence[int]
) -> dict[str, float] | None:
    """{class: how much of it} in the labels of some images; None where a task has no classes.

    Images, objects, or shares of images: see Task.count_classes.
    """
    total = 0.0
    for index in indices:
        counts = task.count_classes(examples.labels(index)[task.name])
        if counts is None:
            return None
        total = total + counts
    return dict(zip(task.classes, map(float, np.round(total, 3)), strict=True))


def untaught(
    examples: LabeledExamples | ConcatenatedExamples, tasks: Sequence[Task]
) -> dict[str, tuple[str, ...]]:
    """Return {head: outputs that no label teaches}, of heads with any (see Task.teachable).

    Labels are read in their order, and no image, until each output is found to be taught: in the
    first ones as a rule, and in all of them where an output is untaught.
    """
    left = {task.name: set(task.teachable) for task in tasks}
    for part in [examples] if isinstance(examples, LabeledExamples) else examples.parts:
        for index in range(len(part)):
            tasks = [task for task in tasks if left[task.name]]
            if not tasks:
                return {}
            for task, label in part.labels_for(tasks, index):
                left[task.name] -= set(task.taught_by(label))
    return {
        task.name: tuple(key for key in task.teachable if key in left[task.name])
        for task in tasks
        if left[task.name]
    }


def count_origins(
    examples: ConcatenatedExamples, *, num_examples: int, seed: int
) -> dict[str, dict[str, collections.Counter]]:
    """{source: {head: {"true", "pseudo", "missing": how many}}} among uniformly drawn examples."""
    random = np.random.default_rng(seed)
    counts = {
        part.source.name: {
            head: collections.Counter(true=0, pseudo=0, missing=0) for head in part.heads
        }
        for part in examples.parts
    }
    for index in random.integers(len(examples), size=num_examples):
        part, local = examples.locate(int(index))
        for head, origin in part.origins(local).items():
            counts[part.source.name][head][origin] += 1
    return counts


def labeled_shares(
    counts: Mapping[str, Mapping[str, collections.Counter]],
) -> dict[str, float]:
    """{head: share of the examples of `count_origins` that have a label}."""
    totals: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for heads in counts.values():
        for head, counter in heads.items():
            totals[head] += counter
    return {head: 1.0 - t["missing"] / t.total() for head, t in totals.items()}


def check_label(where: str, task: Task, label: Any) -> None:
    """Raise UserError where a stored label lacks a part, or one is of another shape."""
    expected = task.stored_spec()
    found = tuple(label) if isinstance(label, Mapping) else (f"a {type(label).__name__}",)
    where = f"{where}: its label of head {task.name!r}"
    if not expected.keys() <= set(found):
        raise UserError(
            f"{where} has {', '.join(map(str, found))}, expected the parts {', '.join(expected)}"
        )
    for key, spec in expected.items():
        shape = np.shape(label[key])
        if len(shape) != len(spec.shape) or any(
            side not in (None, given) for side, given in zip(spec.shape, shape, strict=True)
        ):
            wanted = ", ".join("any" if side is None else str(side) for side in spec.shape)
            raise UserError(f"{where} has {key!r} of the shape {shape}, expected ({wanted})")


def check_labels_head(where: str, source: Source, task: Task) -> None:
    """Raise UserError where a source has no labels for a head; `where` names who needs them."""
    found = LabelSpaces(source.name, source.label_spaces)
    if task.name not in found:
        raise UserError(
            f"{where}: {found.unknown(task.name)}: the source's head= and the name of the task "
            "must be the same"
        )


def check_sets(where: str, sets: Splits | None, task: Task) -> None:
    """Raise UserError where a split of a set has no labels for a head."""
    for split in ("train", "validation", "test") if sets is not None else ():
        check_labels_head(f"{where}, {split}", getattr(sets, split), task)


def check_label_spaces(source: Source, tasks: Sequence[Task]) -> None:
    """Raises UserError where a source's labels mean something else than the head's."""
    for task in tasks:
        space, own = source.label_spaces.get(task.name), LabelSpace.of(task)
        if space is not None and not isinstance(space, LabelSpace):
            raise UserError(
                f"source {source.name!r}: the label space of head {task.name!r} is {space!r}, "
                f"expected a LabelSpace, here {own!r}"
            )
        if space and task.accepts(space.kind):
            space = dataclasses.replace(space, kind=own.kind)
        difference = space and space.difference(own)
        if difference:
            raise UserError(
                f"source {source.name!r} does not fit head {task.name!r} (the other): {difference}"
            )
