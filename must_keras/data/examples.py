"""Every head's label for every image: ground truth where there is any, else the pseudo label.

The rule is per image and head, and whole: ground truth is never mixed with a pseudo label.
"""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, Self

import numpy as np

from must_keras.data.ground_truth_share import by_ground_truth
from must_keras.data.label_checks import check_label, check_label_spaces
from must_keras.data.sources.source import Source, Stored, unknown_head
from must_keras.errors import DataError, UserError, warn
from must_keras.tasks.base import Task
from must_keras.tasks.thresholds import Threshold

Origin = Literal["true", "pseudo", "missing"]


class Records(Protocol):
    """The records of one teacher for a source, record i of image i: a `PseudoLabelReader`.

    Example:
        records = PseudoLabelReader(folder, source, task)
        None if records.is_empty(0) else records.read(0)["probabilities"]
    """

    def is_empty(self, index: int) -> bool:
        """Return whether the teacher has no label of an image."""

    def read(self, index: int) -> Mapping[str, Any]:
        """Return the record of an image: {part: array or bytes}, before any threshold."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """A pseudo-label dataset and the thresholds with which it is read.

    Attributes:
        reader: of the dataset.
        threshold: see Records.to_label of the task.
        ignore_from: the same; None: the task's labels are read without it.
        beyond: [N] bool, the images that are too far from the teacher's own, whose labels are
            missing; None: there are none.

    Example:
        PseudoLabels(reader=PseudoLabelReader(folder, source, task), threshold=0.5)
    """

    reader: Records
    threshold: Threshold
    ignore_from: float | None = None
    beyond: np.ndarray | None = None

    def is_missing(self, index: int) -> bool:
        """Return whether an image has no label of the teacher."""
        is_beyond = self.beyond is not None and bool(self.beyond[index])
        return is_beyond or self.reader.is_empty(index)

    def label(self, task: Task, index: int) -> Stored:
        """Return the stored label of an image whose label is not missing."""
        more = {} if self.ignore_from is None else {"ignore_from": self.ignore_from}
        return task.records.to_label(self.reader.read(index), self.threshold, **more)


class LabeledExamples:
    """A source's images with a stored label for every task.

    Args:
        source: images, and the ground truth of some heads.
        tasks: the heads.
        pseudo: {head: pseudo labels of this source}; for images without ground truth of the head.
        indices: which images of the source, in their order; None for all.

    Attributes:
        source: see above.
        tasks: see above.

    Raises:
        UserError: the source's labels have another meaning than the head's.

    Example:
        examples = LabeledExamples(source, [task], {task.name: pseudo_labels})
        image, labels = examples.load(0)
        examples.origins(0)  # {"objects": "pseudo"}
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
        self.tasks = tuple(tasks)
        self._pseudo = dict(pseudo or {})
        self._places = range(len(source)) if indices is None else np.asarray(indices, np.int64)
        self._warned: set[str] = set()
        check_label_spaces(source, tasks)

    def __len__(self) -> int:
        return len(self._places)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, Stored]]:
        """Return the image, [h, w, 3] uint8, and {head: stored label}."""
        return self.source.image(self._place(index)), self.labels(index)

    def repeated(self, times: Sequence[int]) -> Self:
        """Return the same examples, the i-th of them times[i] times in a row."""
        places = np.repeat(np.asarray(self._places, np.int64), times)
        return type(self)(self.source, self.tasks, self._pseudo, indices=places)

    def image_id(self, index: int) -> str:
        """Return "<name of the source>/<the image's id there>"."""
        return f"{self.source.name}/{self.source.image_id(self._place(index))}"

    def labels(self, index: int) -> dict[str, Stored]:
        """Return {head: stored label}."""
        return self.labels_and_origins(index)[0]

    def origins(self, index: int) -> dict[str, Origin]:
        """Return {head: origin of the image's label}."""
        return self.labels_and_origins(index)[1]

    @functools.cached_property
    def has_ground_truth(self) -> np.ndarray:
        """[N] bool: whether each image has ground truth of a task; no label is read.

        A label that turns out to be absent or unreadable counts: see Source.labeled_heads.
        """
        heads = self.source.label_spaces.keys() & {task.name for task in self.tasks}
        if not heads:
            return np.zeros(len(self), bool)
        labeled = self.source.labeled_heads
        return np.array([not heads.isdisjoint(labeled(int(i))) for i in self._places], bool)

    def is_of(self, sources: Sequence[str]) -> np.ndarray:
        """Return whether each image is of one of some sources, by name: [N] bool."""
        return np.full(len(self), self.source.name in sources)

    def origin(self, head: str, index: int) -> Origin:
        """Return the origin of the image's label of one head; the others are not read."""
        tasks = [task for task in self.tasks if task.name == head]
        return self.labels_and_origins(index, tasks)[1][head]

    def labels_for(self, tasks: Sequence[Task], index: int) -> list[tuple[Task, Stored]]:
        """Return (task, stored label) of some of the tasks, without reading any for the others."""
        labels, _ = self.labels_and_origins(index, tasks)
        return [(task, labels[task.name]) for task in tasks]

    def group(self, index: int, task: Task) -> int | None:
        """Return the group of an image (`Labels.group`); None where it is not labeled."""
        labels, origins = self.labels_and_origins(index)
        return None if origins[task.name] == "missing" else task.labels.group(labels[task.name])

    def labels_and_origins(
        self, index: int, tasks: Sequence[Task] | None = None
    ) -> tuple[dict[str, Stored], dict[str, Origin]]:
        """Return {head: stored label} and {head: its origin}, read once.

        Args:
            index: of the image.
            tasks: some of the tasks; None for all.
        """
        index = self._place(index)
        is_gone = self.source.is_gone(index)
        tasks = self.tasks if tasks is None else tasks
        is_asked = any(task.name in self.source.label_spaces for task in tasks)
        ground_truth = self.source.labels(index) if is_asked and not is_gone else {}
        self._check_heads(ground_truth, index)
        labels, origins = {}, {}
        for task in tasks:
            name, pseudo = task.name, None if is_gone else self._pseudo.get(task.name)
            if name in ground_truth:
                kind = self.source.label_spaces[name].kind
                check_label(self._where(index), task, ground_truth[name])
                labels[name], origins[name] = task.labels.adapt(ground_truth[name], kind), "true"
            elif pseudo is not None and not pseudo.is_missing(index):
                labels[name] = pseudo.label(task, index)
                origins[name] = "pseudo"
            else:
                labels[name], origins[name] = task.labels.missing(), "missing"
            self._warn_if_truncated(task, labels[name], index)
        return labels, origins

    def _place(self, index: int) -> int:
        """Return the index of an image in the source, which is that of its record too."""
        return int(self._places[index])

    def _check_heads(self, labels: Mapping[str, Stored], index: int) -> None:
        """Raise UserError where labels are of heads that the source does not name."""
        if not isinstance(labels, Mapping):
            raise UserError(
                f"{self._where(index)}: its labels are a {type(labels).__name__}, expected {{head: "
                "stored label}"
            )
        known = self.source.label_spaces
        for head in labels:
            if head not in known:
                problem = unknown_head(self.source.name, known, head)
                raise UserError(f"{self._where(index)}: {problem}")

    def _where(self, index: int) -> str:
        return f"source {self.source.name!r}, image {self.source.image_id(index)!r}"

    def _warn_if_truncated(self, task: Task, label: Stored, index: int) -> None:
        """Warn of the first image that has more objects than a batch has room for."""
        count = 0 if task.name in self._warned else task.labels.num_truncated(label)
        if count:
            self._warned.add(task.name)
            warn(
                f"{self.source.name}: image {self.source.image_id(index)!r} has {count} "
                f"more objects than head {task.name!r} has room for; they are ignored"
            )


class ReadableExamples(LabeledExamples):
    """Labeled examples in which a label that cannot be read counts as missing.

    Example:
        ReadableExamples(source, [task]).labels_for([task], 0)
    """

    def labels_for(self, tasks: Sequence[Task], index: int) -> list[tuple[Task, Stored]]:
        """See LabeledExamples.labels_for."""
        try:
            return super().labels_for(tasks, index)
        except (UserError, DataError):
            return [(task, task.labels.missing()) for task in tasks]


class ConcatenatedExamples:
    """Several labeled sources one after the other; all images are equally likely.

    Args:
        parts: the sources.
        names: of each part's source, which several may share, as blocks of a pool; None: their own.

    Example:
        examples = ConcatenatedExamples([LabeledExamples(s, tasks) for s in sources])
        part, index = examples.locate(len(examples) - 1)
    """

    def __init__(self, parts: Sequence[LabeledExamples], *, names: Sequence[str] | None = None):
        self.parts = tuple(parts)
        self._names = [part.source.name for part in self.parts] if names is None else [*names]
        self._firsts = np.cumsum([0, *map(len, self.parts)])

    def __len__(self) -> int:
        return int(self._firsts[-1])

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks of the labels, which are those of every part."""
        return self.parts[0].tasks

    def locate(self, index: int) -> tuple[LabeledExamples, int]:
        """Return the part that contains an index, and the index within it."""
        part = self._firsts.searchsorted(index, side="right") - 1
        return self.parts[part], index - int(self._firsts[part])

    def load(self, index: int) -> tuple[np.ndarray, dict[str, Stored]]:
        """See LabeledExamples.load."""
        part, local = self.locate(index)
        return part.load(local)

    def image_id(self, index: int) -> str:
        """See LabeledExamples.image_id."""
        part, local = self.locate(index)
        return part.image_id(local)

    @property
    def has_ground_truth(self) -> np.ndarray:
        """See LabeledExamples.has_ground_truth."""
        return np.concatenate([part.has_ground_truth for part in self.parts])

    def is_of(self, sources: Sequence[str]) -> np.ndarray:
        """See LabeledExamples.is_of."""
        return np.concatenate([part.is_of(sources) for part in self.parts])

    def of_parts(self, parts: Sequence[LabeledExamples]) -> Self:
        """Return other examples of the same sources, one part for each of these, in their order."""
        return type(self)(parts, names=self._names)

    @property
    def source_numbers(self) -> np.ndarray:
        """Number of each example's source, [N]: of sources with images, in their order."""
        sized = [(name, len(part)) for name, part in zip(self._names, self.parts, strict=True)]
        names, counts = zip(*(pair for pair in sized if pair[1]), strict=True)
        known = list(dict.fromkeys(names))
        return np.repeat([known.index(name) for name in names], counts)

    def origin(self, head: str, index: int) -> Origin:
        """See LabeledExamples.origin."""
        part, local = self.locate(index)
        return part.origin(head, local)


def count_classes(
    examples: LabeledExamples, task: Task, *, indices: Sequence[int]
) -> dict[str, float] | None:
    """Return {class: amount} in the labels of some images; None for a task without classes.

    The amount is in images, objects, or shares of images: see Task.count_classes.
    """
    total = 0.0
    for index in indices:
        counts = task.labels.count_classes(examples.labels(index)[task.name])
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
    left = {task.name: set(task.labels.teachable) for task in tasks}
    for part in [examples] if isinstance(examples, LabeledExamples) else examples.parts:
        for index in range(len(part)):
            tasks = [task for task in tasks if left[task.name]]
            if not tasks:
                return {}
            for task, label in part.labels_for(tasks, index):
                left[task.name] -= set(task.labels.taught_by(label))
    return {
        task.name: tuple(key for key in task.labels.teachable if key in left[task.name])
        for task in tasks
        if left[task.name]
    }


def count_origins(
    examples: ConcatenatedExamples,
    *,
    num_examples: int,
    seed: int,
    ground_truth_share: float | None = None,
    equal_sources: bool = False,
) -> dict[str, dict[str, collections.Counter]]:
    """Return {source: {head: {origin: count}}} of randomly sampled examples.

    Args:
        examples: all examples.
        num_examples: how many are sampled.
        seed: of the choice.
        ground_truth_share: share of them that have ground truth; None: all are equally likely.
        equal_sources: whether each source has an equal share of them.
    """
    random = np.random.default_rng(seed)
    if equal_sources:
        numbers = examples.source_numbers
        groups = [np.flatnonzero(numbers == number) for number in range(numbers.max() + 1)]
        indices = [random.choice(groups[i % len(groups)]) for i in range(num_examples)]
    elif ground_truth_share is None:
        indices = random.integers(len(examples), size=num_examples)
    else:
        known, others = by_ground_truth(examples.has_ground_truth, ground_truth_share)
        number = round(num_examples * ground_truth_share)
        some = random.choice(known, number), random.choice(others, num_examples - number)
        indices = np.concatenate(some)
    counts = {
        part.source.name: {
            task.name: collections.Counter(true=0, pseudo=0, missing=0) for task in part.tasks
        }
        for part in examples.parts
    }
    for index in indices:
        part, local = examples.locate(int(index))
        for head, origin in part.origins(local).items():
            counts[part.source.name][head][origin] += 1
    return counts


def labeled_shares(counts: Mapping[str, Mapping[str, collections.Counter]]) -> dict[str, float]:
    """Return {head: share of the examples of `count_origins` that have a label}."""
    totals: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for heads in counts.values():
        for head, counter in heads.items():
            totals[head] += counter
    return {head: 1.0 - t["missing"] / t.total() for head, t in totals.items()}
