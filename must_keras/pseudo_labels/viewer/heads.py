"""The heads of which a page of labels can say something, and the images that it is made from."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from must_keras.config.recipe import AnyTeacher, Recipe
from must_keras.data.examples import ConcatenatedExamples, LabeledExamples
from must_keras.data.sources import LabelSpace, Source
from must_keras.errors import DataError, UserError
from must_keras.inference import visualization
from must_keras.pseudo_labels import thresholds
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.workdir import Workdir
from must_keras.stages.label import sources_to_label, student_sources
from must_keras.tasks.base import Task
from must_keras.tasks.thresholds import thresholds_by_class


class Place(NamedTuple):
    """An image of a source."""

    source: Source
    index: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """A teacher with the columns that it has finished.

    Attributes:
        teacher: whose they are, with numbers for its thresholds.
        columns: {name of a source: what the teacher said of it}.
        untaught: outputs that the teacher never learned; no label has any.
    """

    teacher: AnyTeacher
    columns: Mapping[str, PseudoLabelReader]
    untaught: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """What the teacher knows."""
        return self.teacher.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the indices; empty where there are none."""
        return LabelSpace.of(self.task).classes

    @property
    def limits(self) -> np.ndarray | None:
        """[K] float64: each class's lowest score that counts; None where no threshold is taken."""
        if not (self.task.takes_threshold and self.teacher.has_scores):
            return None
        return thresholds_by_class(
            self.task.name, self.teacher.threshold, self.classes, lowest=self.task.floor
        )

    def knows(self, place: Place) -> bool:
        """Whether the teacher has said something of an image."""
        column = self.columns.get(place.source.name)
        return column is not None and not column.is_empty(place.index)

    def record(self, place: Place) -> dict[str, Any]:
        """What the teacher said of an image that it knows."""
        return self.columns[place.source.name].read(place.index)


def finished_heads(recipe: Recipe, workdir: Workdir) -> list[Head]:
    """The teachers that have finished a column; one that cannot be read is left out, and told."""
    heads = []
    for teacher in recipe.teachers:
        columns, untaught = {}, {}
        for source in sources_to_label(recipe, teacher):
            part = workdir.labels(teacher.name, source.name)
            if part.result() is None:
                continue
            untaught |= dict.fromkeys(part.result().get("untaught", ()))
            try:
                columns[source.name] = PseudoLabelReader(part.folder, source, teacher.task)
            except (UserError, DataError) as error:
                print(f"warning: not in the label report: {error}", file=sys.stderr)
        if not columns:
            continue
        try:
            resolved = thresholds.resolved(teacher, workdir)
            heads.append(Head(teacher=resolved, columns=columns, untaught=tuple(untaught)))
        except UserError as error:
            print(f"warning: not in the label report: {error}", file=sys.stderr)
    return heads


def spread_images(recipe: Recipe, heads: Sequence[Head], number: int) -> list[Place]:
    """Images with labels, evenly spread over the pools; over the training sets if no pool has any.

    An image that is gone has no label.
    """
    labeled = {name for head in heads for name in head.columns}
    pools = [pool.source for pool in recipe.pools if pool.source.name in labeled]
    sources = pools or [s for s in student_sources(recipe) if s.name in labeled]
    if not sources:
        return []
    images = ConcatenatedExamples([LabeledExamples(source, []) for source in sources])
    found = []
    for i in visualization.spread(number, len(images)):
        part, index = images.locate(i)
        place = Place(part.source, index)
        if any(head.knows(place) for head in heads) and not place.source.is_gone(place.index):
            found.append(place)
    return found
