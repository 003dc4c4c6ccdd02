"""A recipe: the values of a whole run, from the first teacher to the last transfer."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Literal

from must_keras.data.sources import Source
from must_keras.tasks.base import Task, Threshold
from must_keras.training.model import Network
from must_keras.training.trainer import Training

Aligned = Literal["none", "task", "images", "set"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splits:
    """A labelled set. Sweeps, thresholds and stopping see validation only."""

    train: Source
    validation: Source
    test: Source


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A specialist: one task, trained on the set that is labelled for it.

    Attributes:
        name: names its folder and its label columns.
        task: what it learns; the student has a head for the same task.
        sets: its images.
        training: its run.
        threshold: pseudo labels below it become what the task says; None: all are used.
        loss_weight: of the student's head; None: the formula (see student_weights).
    """

    name: str
    task: Task
    sets: Splits
    training: Training
    threshold: Threshold = None
    loss_weight: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """Images for the teachers to label.

    Attributes:
        source: the images; true labels that it brings win over pseudo labels.
        truth: the same images with labels that only the report may see (drawn worlds know them).
    """

    source: Source
    truth: Source | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """One network with a head for every teacher's task.

    Attributes:
        training: its run.
        union: whether it also sees the teachers' training sets, with their true labels.
    """

    training: Training
    union: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """A downstream set that no training run has seen.

    Attributes:
        name: names its folder.
        task: with a fresh head.
        sets: its images.
        training: the same budget for every start.
        aligned: {start: how far it has seen this before}: "task" (the kind of task), "images"
            (the images, with any label) or "set"; "none" where a start is absent.
    """

    name: str
    task: Task
    sets: Splits
    training: Training
    aligned: Mapping[str, Aligned] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """All of a run.

    Attributes:
        name: what the report calls it.
        seed: of initial weights, order, views and sampling.
        network: backbone and pyramid of teachers, student and transfers.
        teachers: one for every head of the student.
        pools: what the teachers label.
        student: the student's run.
        transfers: the downstream sets.
        starts: "random", "student", "teacher-<name>": where transfers start from.
        transfer_seeds: how often each transfer is repeated with other random numbers.
        neck: "fpn" transfers the pyramid too where the start has one; "backbone" never does.
        evaluation_batch: images of a batch when nothing is trained.
    """

    name: str
    seed: int
    network: Network
    teachers: tuple[Teacher, ...]
    pools: tuple[Pool, ...]
    student: Student
    transfers: tuple[Transfer, ...]
    starts: tuple[str, ...]
    transfer_seeds: int = 1
    neck: Literal["fpn", "backbone"] = "fpn"
    evaluation_batch: int = 32

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The student's tasks."""
        return tuple(teacher.task for teacher in self.teachers)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weight:
    """A head's loss weight and where it is from: "formula" or "given"."""

    value: float
    source: Literal["formula", "given"]


def student_weights(recipe: Recipe) -> dict[str, Weight]:
    """{head: loss weight} of the student.

    w_i = (b_s * lr_i) / (b_i * lr_s) from batch sizes b and peak learning rates lr of the student
    s and the teacher i (Ghiasi et al., 2021), where the recipe gives none.
    """
    student = recipe.student.training
    weights = {}
    for teacher in recipe.teachers:
        training = teacher.training
        if teacher.loss_weight is not None:
            weights[teacher.task.name] = Weight(value=teacher.loss_weight, source="given")
        else:
            value = (student.batch * training.learning_rate) / (
                training.batch * student.learning_rate
            )
            weights[teacher.task.name] = Weight(value=value, source="formula")
    return weights
