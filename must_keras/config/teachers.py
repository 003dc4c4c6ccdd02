"""The kinds of teachers: values of a recipe."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from numbers import Real
from typing import TYPE_CHECKING, Any, ClassVar

from must_keras.config.imported_labels import ImportedLabels
from must_keras.data.sources import Source
from must_keras.data.splits import Splits
from must_keras.errors import UserError, expect
from must_keras.inference.external import ExternalModel
from must_keras.runs.workdir import describe
from must_keras.tasks.base import Task
from must_keras.tasks.thresholds import Threshold
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromModel, FromScratch, Start
from must_keras.training.thresholds import AtPrecision, check_threshold

if TYPE_CHECKING:
    from must_keras.config.recipe import Recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher:
    """A specialist: one task, trained on the set that is labeled for it.

    Attributes:
        name: names its folder and its label columns.
        task: what it learns; the student has a head for the same task.
        sets: its images.
        training: its run.
        threshold: pseudo labels below it become what the task says; None: all are used. One for
            all classes, one for each, or AtPrecision(0.8).
        loss_weight: of the student's head; None: the formula (see training/weighting).
        start: where its weights come from; with training.steps=0 they stay as they are.
        has_scores: whether its labels come with scores, as a model's do.
    """

    name: str
    task: Task
    sets: Splits
    training: TrainingConfig
    threshold: Threshold | AtPrecision = None
    loss_weight: float | None = None
    start: Start = dataclasses.field(default_factory=FromScratch)
    has_scores: ClassVar[bool] = True

    def __post_init__(self) -> None:
        where = f"teacher {self.name!r}"
        expect(where, self, task=Task, sets=Splits, training=TrainingConfig, start=Start)
        expect(where, self, name=str, loss_weight=Real | None)
        check_threshold(self)
        if not self.training.steps and not isinstance(self.start, FromModel):
            raise UserError(f"{where}: steps=0 needs a start that knows its task: FromModel(...)")

    def depends_on(self, recipe: Recipe) -> dict[str, Any]:
        """What it is made from, of a recipe."""
        return {
            "seed": recipe.seed,
            "network": recipe.network,
            "task": self.task.before_reading(),
            "sets": self.sets,
            "training": self.training,
            "start": self.start.depends_on(recipe.network),
        }

    def covers(self, source: Source, *, is_pool: bool) -> bool:
        """Whether it labels a source that the student sees: all but its own training set."""
        del is_pool
        return source.name != self.sets.train.name


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExternalTeacher:
    """A model that somebody else trained; it labels, and is not trained here.

    Attributes:
        name: names its folder and its label columns.
        task: what it knows; the student has a head for the same task.
        model: the model, and how it wants its images.
        loss_weight: of the student's head: no formula knows how the model was trained.
        threshold: see Teacher.
        sets: a labeled set to score it on; None: there is none.
        has_scores: see Teacher.
    """

    name: str
    task: Task
    model: ExternalModel
    loss_weight: float
    threshold: Threshold | AtPrecision = None
    sets: Splits | None = None
    has_scores: ClassVar[bool] = True

    def __post_init__(self) -> None:
        where = f"teacher {self.name!r}"
        expect(where, self, task=Task, model=ExternalModel, sets=Splits | None)
        expect(where, self, name=str, loss_weight=Real)
        check_threshold(self)
        self.task.check_external_form(self.model.form)
        if self.model.class_ids is not None:
            self.task.check_class_ids(self.model.class_ids)

    def depends_on(self, recipe: Recipe) -> dict[str, Any]:
        """See Teacher.depends_on."""
        del recipe
        return {"task": self.task.before_reading(), "sets": self.sets, "model": self.model}

    def sha256(self) -> str:
        """Of the model, and of how it is asked and its answers are read."""
        text = json.dumps(describe(self.model), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def covers(self, source: Source, *, is_pool: bool) -> bool:
        """See Teacher.covers: all."""
        del source, is_pool
        return True


AnyTeacher = Teacher | ExternalTeacher | ImportedLabels
