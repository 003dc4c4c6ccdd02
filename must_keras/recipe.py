"""A recipe: the values of a whole run, from the first teacher to the last transfer."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from must_keras.data.sources import Source, check_not_empty
from must_keras.data.splits import Splits
from must_keras.errors import UserError
from must_keras.experiment import nearest
from must_keras.selfsup import SelfSupervised
from must_keras.tasks import Depth
from must_keras.tasks.base import Task
from must_keras.tasks.thresholds import Threshold
from must_keras.training.foreign import ForeignModel
from must_keras.training.foreign_labels import ForeignLabels
from must_keras.training.model import Network
from must_keras.training.start import FromModel, FromScratch, Start
from must_keras.training.thresholds import AtPrecision, check_threshold
from must_keras.training.trainer import Training
from must_keras.workdir import describe

# The network's own layers.
_RESERVED = ("image", "area", "backbone", "neck")
# Starts that no self-supervised method can be.
_OWN_STARTS = ("random", "checkpoint", "student", "supervised", "all")

_HEAD = re.compile("[a-zA-Z][a-zA-Z0-9_-]*")

Aligned = Literal["none", "task", "images", "set"]


def _expect(where: str, value: Any, **kinds: type) -> None:
    """Raises UserError where a field of a value is not of its kind."""
    for field, kind in kinds.items():
        found = getattr(value, field)
        if not isinstance(found, kind):
            name = getattr(kind, "__name__", str(kind))
            raise UserError(f"{where}: {field} is a {type(found).__name__}, expected a {name}")


def _expect_each(where: str, value: Any, **kinds: type) -> None:
    """Raises UserError where a field of a value is not a sequence of its kind."""
    for field, kind in kinds.items():
        found = getattr(value, field)
        name = getattr(kind, "__name__", str(kind))
        if not isinstance(found, tuple | list):
            raise UserError(f"{where}: {field} is no tuple; with one {name}: (one,)")
        for item in found:
            if not isinstance(item, kind):
                raise UserError(f"{where}: {field} hold a {type(item).__name__}, expected {name}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A specialist: one task, trained on the set that is labelled for it.

    Attributes:
        name: names its folder and its label columns.
        task: what it learns; the student has a head for the same task.
        sets: its images.
        training: its run.
        threshold: pseudo labels below it become what the task says; None: all are used. One for
            all classes, one for each, or AtPrecision(0.8).
        loss_weight: of the student's head; None: the formula (see student_weights).
        start: where its weights come from; with training.steps=0 they stay as they are.
        has_scores: whether its labels come with scores, as a model's do.
    """

    name: str
    task: Task
    sets: Splits
    training: Training
    threshold: Threshold | AtPrecision = None
    loss_weight: float | None = None
    start: Start = dataclasses.field(default_factory=FromScratch)
    has_scores: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _expect(
            f"teacher {self.name!r}", self, task=Task, sets=Splits, training=Training, start=Start
        )
        check_threshold(self)
        if not self.training.steps and not isinstance(self.start, FromModel):
            raise UserError(
                f"teacher {self.name!r}: steps=0 needs a start that knows its task: FromModel(...)"
            )

    def depends_on(self, recipe: Recipe) -> dict[str, Any]:
        """What it is made from, of a recipe."""
        return {
            "seed": recipe.seed,
            "network": recipe.network,
            "task": self.task,
            "sets": self.sets,
            "training": self.training,
            "start": self.start.depends_on(recipe.network),
        }

    def covers(self, source: Source, *, is_pool: bool) -> bool:
        """Whether it labels a source that the student sees: all but its own training set."""
        del is_pool
        return source.name != self.sets.train.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class ForeignTeacher:
    """A model that somebody else trained; it labels, and is not trained here.

    Attributes:
        name: names its folder and its label columns.
        task: what it knows; the student has a head for the same task.
        model: the model, and how it wants its images.
        loss_weight: of the student's head: no formula knows how the model was trained.
        threshold: see Teacher.
        sets: a labelled set to score it on; None: there is none.
        has_scores: see Teacher.
    """

    name: str
    task: Task
    model: ForeignModel
    loss_weight: float
    threshold: Threshold | AtPrecision = None
    sets: Splits | None = None
    has_scores: ClassVar[bool] = True

    def __post_init__(self) -> None:
        where = f"teacher {self.name!r}"
        _expect(where, self, task=Task, model=ForeignModel, sets=Splits | None)
        check_threshold(self)
        self.task.check_foreign_form(self.model.form)
        if self.model.class_ids is not None:
            self.task.check_class_ids(self.model.class_ids)

    def depends_on(self, recipe: Recipe) -> dict[str, Any]:
        """See Teacher.depends_on."""
        del recipe
        return {"task": self.task, "sets": self.sets, "model": self.model}

    def sha256(self) -> str:
        """Of the model, and of how it is asked and its answers are read."""
        text = json.dumps(describe(self.model), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def covers(self, source: Source, *, is_pool: bool) -> bool:
        """See Teacher.covers: all."""
        del source, is_pool
        return True


AnyTeacher = Teacher | ForeignTeacher | ForeignLabels


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pool:
    """Images for the teachers to label.

    Attributes:
        source: the images; true labels that it brings win over pseudo labels.
        truth: the same images with labels that only the report may see (drawn worlds know them).
    """

    source: Source
    truth: Source | None = None

    def __post_init__(self) -> None:
        _expect("a pool", self, source=Source, truth=Source | None)
        check_not_empty(self.source)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Student:
    """One network with a head for every teacher's task.

    Attributes:
        training: its run.
        union: whether it also sees the teachers' training sets, with their true labels.
        start: where its weights come from.
    """

    training: Training
    union: bool = True
    start: Start = dataclasses.field(default_factory=FromScratch)

    def __post_init__(self) -> None:
        _expect("the student", self, training=Training, start=Start)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """A downstream set that no training run has seen.

    Attributes:
        name: names its folder.
        task: with a fresh head.
        sets: its images.
        training: the same budget for every start.
        aligned: {start: "images" (it saw these images, whatever the label) or "set"}; the kind of
            task need not be said (see Recipe.alignment).
    """

    name: str
    task: Task
    sets: Splits
    training: Training
    aligned: Mapping[str, Aligned] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        _expect(f"transfer {self.name!r}", self, task=Task, sets=Splits, training=Training)


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
        starts: "random", "checkpoint" (the backbone's own), "student", "teacher-<name>",
            "supervised", a self-supervised method's name: where transfers start from.
        supervised: the run of the student's network on true labels alone; None: there is none.
        selfsup: methods that pre-train the backbone on the student's images without labels. Of
            these and of `supervised`, what is not among `starts` is not trained.
        transfer_seeds: how often each transfer is repeated with other random numbers.
        neck: "fpn" transfers the pyramid too where the start has one; "backbone" never does.
        evaluation_batch: images of a batch when nothing is trained.
        max_unreadable: share of a source's images that may be unreadable; more end the labelling.
    """

    name: str
    seed: int
    network: Network
    teachers: tuple[AnyTeacher, ...]
    pools: tuple[Pool, ...]
    student: Student
    transfers: tuple[Transfer, ...]
    starts: tuple[str, ...]
    supervised: Training | None = None
    selfsup: tuple[SelfSupervised, ...] = ()
    transfer_seeds: int = 1
    neck: Literal["fpn", "backbone"] = "fpn"
    evaluation_batch: int = 32
    max_unreadable: float = 0.1

    def __post_init__(self) -> None:
        where = f"recipe {self.name}"
        _expect(where, self, network=Network, student=Student, starts=tuple | list)
        _expect(where, self, supervised=Training | None)
        kinds = {"teachers": AnyTeacher, "pools": Pool, "transfers": Transfer}
        _expect_each(where, self, **kinds, selfsup=SelfSupervised)
        for what, names in (
            ("teachers", [t.name for t in self.teachers]),
            ("heads", [t.task.name for t in self.teachers]),
            ("transfers", [t.name for t in self.transfers]),
            ("self-supervised methods", [m.name for m in self.selfsup]),
            ("pools", [p.source.name for p in self.pools]),
        ):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise UserError(f"recipe {self.name}: two {what} are named {twice[0]!r}")
        tasks = (*self.tasks, *(t.task for t in self.transfers))
        for task in tasks:
            if task.name in _RESERVED:
                raise UserError(f"recipe {self.name}: a head cannot be named {task.name!r}")
            if not _HEAD.fullmatch(task.name):
                raise UserError(
                    f"recipe {self.name}: a head cannot be named {task.name!r}: only a-z, A-Z, "
                    "0-9, _ and - are allowed, and a letter comes first"
                )
        for name in (*(t.name for t in self.teachers), *(t.name for t in self.transfers)):
            if not name or name.startswith(".") or set(name) & set("/\\,:"):
                raise UserError(
                    f"recipe {self.name}: {name!r} names a folder: / \\ , : and a leading dot "
                    "are not allowed"
                )
        for method in self.selfsup:
            taken = method.name in _OWN_STARTS or method.name.startswith("teacher-")
            if taken or not _HEAD.fullmatch(method.name):
                raise UserError(
                    f"recipe {self.name}: a self-supervised method cannot be named "
                    f"{method.name!r}: it is a start, a folder and a loss"
                )
        for transfer in self.transfers:
            for start in transfer.aligned:
                if start not in (*self._all_starts, "checkpoint"):
                    raise UserError(
                        f"transfer {transfer.name!r}: aligned names the start {start!r}; "
                        f"{nearest(start, self._all_starts)}"
                    )
        for teacher in self.teachers:
            if isinstance(teacher, ForeignLabels):
                teacher.check_pools([pool.source for pool in self.pools])
        if self.transfer_seeds < 1:
            raise UserError(f"transfer_seeds={self.transfer_seeds}: at least 1 is needed")
        for start in self.starts:
            if start not in (*self._all_starts, "all"):
                raise UserError(f"starts={start}: {nearest(start, (*self._all_starts, 'all'))}")

    @property
    def _all_starts(self) -> tuple[str, ...]:
        checkpoint = ("checkpoint",) if self.network.backbone.has_checkpoint else ()
        teachers = (f"teacher-{t.name}" for t in self.trained_teachers)
        supervised = ("supervised",) if self.supervised else ()
        methods = (method.name for method in self.selfsup)
        return ("random", *checkpoint, *teachers, "student", *supervised, *methods)

    @property
    def trained_teachers(self) -> tuple[Teacher, ...]:
        """Those that are trained here."""
        return tuple(t for t in self.teachers if isinstance(t, Teacher))

    @property
    def start_names(self) -> tuple[str, ...]:
        """Where transfers start from; "all" stands for every one."""
        return self._all_starts if "all" in self.starts else self.starts

    @property
    def wanted_supervised(self) -> Training | None:
        """`supervised`, if transfers start from it."""
        return self.supervised if "supervised" in self.start_names else None

    @property
    def wanted_selfsup(self) -> tuple[SelfSupervised, ...]:
        """The self-supervised methods that transfers start from."""
        return tuple(method for method in self.selfsup if method.name in self.start_names)

    @property
    def trainings(self) -> tuple[Training, ...]:
        """All that is trained."""
        baselines = (self.wanted_supervised,) if self.wanted_supervised else ()
        items = (*self.trained_teachers, self.student, *self.wanted_selfsup, *self.transfers)
        return (*(item.training for item in items), *baselines)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The student's tasks."""
        return tuple(teacher.task for teacher in self.teachers)

    def alignment(self, transfer: Transfer, start: str) -> Aligned:
        """How far a start has seen a set: what the transfer says, else its kind of task."""
        if start in transfer.aligned:
            return transfer.aligned[start]
        learned = {f"teacher-{t.name}": (t.task,) for t in self.teachers}
        learned |= {"student": self.tasks, "supervised": self.tasks}
        same = any(type(task) is type(transfer.task) for task in learned.get(start, ()))
        return "task" if same else "none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Weight:
    """A head's loss weight and where it is from: "formula" or "given"."""

    value: float
    source: Literal["formula", "given"]


def student_weights(recipe: Recipe) -> dict[str, Weight]:
    """{head: loss weight} of the student.

    w_i = (b_s * lr_i) / (b_i * lr_s) from batch sizes b and peak learning rates lr of the student
    s and the teacher i (Ghiasi et al., 2021), where the recipe gives none.

    Raises:
        UserError: a depth head has no weight: the paper gives depth a number of its own.
    """
    student = recipe.student.training
    weights = {}
    for teacher in recipe.teachers:
        if teacher.loss_weight is not None:
            weights[teacher.task.name] = Weight(value=teacher.loss_weight, source="given")
        elif isinstance(teacher.task, Depth):
            raise UserError(
                f"head {teacher.task.name!r}: depth takes no weight from the formula; "
                f"give teacher {teacher.name!r} a loss_weight"
            )
        else:
            training = teacher.training
            value = (student.batch * training.learning_rate) / (
                training.batch * student.learning_rate
            )
            weights[teacher.task.name] = Weight(value=value, source="formula")
    return weights
