"""Where the student's labels come from, counted by source and head."""

import dataclasses

from must_keras.data.examples import LabeledExamples
from must_keras.inference.visualization import spread
from must_keras.pseudo_labels import training_set
from must_keras.runs.run import Run
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Stored

# Images of a source whose labels are read.
_MAX_READ = 512


@dataclasses.dataclass(frozen=True, kw_only=True)
class HeadCounts:
    """Numbers of images by the origin of their label of one head.

    Attributes:
        true: with ground truth.
        pseudo: with a pseudo label.
        missing: with neither.
        empty: of those with a label, the ones whose label contains nothing: no object, no pixel.

    Example:
        HeadCounts(true=0, pseudo=940, missing=60, empty=112)
    """

    true: int
    pseudo: int
    missing: int
    empty: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class SourceCounts:
    """The labels of one source of the student.

    Attributes:
        images: that the student learns from; without those that are left out.
        read: how many of them were counted, evenly spread.
        heads: {head: its counts}.

    Example:
        counted = count(run)["pool"]
        counted.heads["objects"].empty / counted.read
    """

    images: int
    read: int
    heads: dict[str, HeadCounts]


def count(run: Run) -> dict[str, SourceCounts]:
    """Return {source: its counts} of all that a run's student learns from.

    Raises:
        UserError: see training_set.of_student.
    """
    parts = {part.source.name: part for part in training_set.of_student(run).parts}
    return {name: count_in(part) for name, part in parts.items()}


def count_in(examples: LabeledExamples, *, limit: int = _MAX_READ) -> SourceCounts:
    """Count the labels of a source.

    Args:
        examples: the source, with its labels.
        limit: how many images are read at most.
    """
    indices = spread(limit, len(examples)) if len(examples) else []
    counts = {task.name: dict.fromkeys(_KINDS, 0) for task in examples.tasks}
    for index in indices:
        labels, origins = examples.labels_and_origins(index)
        for task in examples.tasks:
            origin, of_head = origins[task.name], counts[task.name]
            of_head[origin] += 1
            of_head["empty"] += origin != "missing" and is_empty(task, labels[task.name])
    heads = {head: HeadCounts(**of_head) for head, of_head in counts.items()}
    return SourceCounts(images=len(examples), read=len(indices), heads=heads)


_KINDS = tuple(field.name for field in dataclasses.fields(HeadCounts))


def is_empty(task: Task, stored: Stored) -> bool:
    """Return whether a stored label contains nothing: no object, or no pixel that is labeled."""
    amounts = task.labels.count_classes(stored)
    return not (task.labels.taught_by(stored) if amounts is None else amounts.any())
