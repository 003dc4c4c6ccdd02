"""Labels that were made elsewhere, found for the images of a pool by their ids."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any

from must_keras.data.examples import check_label, check_label_spaces, check_labels_head
from must_keras.data.sources import Source, pool_name, without_keys
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError, expect
from must_keras.experiment import nearest
from must_keras.runs.workdir import describe
from must_keras.tasks.base import Task
from must_keras.tasks.thresholds import Threshold
from must_keras.training.thresholds import AtPrecision, check_threshold


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportedLabels:
    """Labels of a pool's images that a person or another program made before, as a teacher.

    They get a column like every teacher's. A label belongs to the pool's image of the same id. An
    image that the labels do not name is not labeled; one that they name without any object has
    none.

    Attributes:
        name: names its folder and its label columns.
        task: what they label; the student has a head for the same task.
        labels: the labels, as a source of the same images.
        origin: who made them, and how: a sentence or an address, for the ledger.
        loss_weight: of the student's head: no formula knows how they were made.
        threshold: numbers, see recipe.Teacher. What comes without a score is sure.
        sets: a labeled set to score the student's head on; None: there is none.
        pool: the name of the pool that they are of; None: every pool that has images of theirs.

    Raises:
        UserError: they are of another kind or of other classes than the task.

    Example:
        ImportedLabels(name="elsewhere", task=Detection(name="fruit", classes=("apple", "pear")),
                      labels=CocoJson(name="found", images="pile", annotations="pile.json",
                                      results="yolo.json", head="fruit"),
                      origin="YOLO11 of Ultralytics 8.3, run on 3 May", loss_weight=1.0)

    """

    name: str
    task: Task
    labels: Source
    origin: str
    loss_weight: float
    threshold: Threshold | AtPrecision = None
    sets: Splits | None = None
    pool: str | None = None

    def __post_init__(self) -> None:
        where = f"teacher {self.name!r}"
        expect(where, self, task=Task, labels=Source, sets=Splits | None, origin=str)
        expect(where, self, name=str, loss_weight=Real)
        if not self.origin.strip():
            raise UserError(f"{where}: origin is empty: say who made the labels, and how")
        check_labels_head(where, self.labels, self.task)
        check_label_spaces(self.labels, [self.task])
        if isinstance(self.threshold, AtPrecision) and self.has_scores:
            raise UserError(f"{where}: AtPrecision needs a model that sees validation images")
        check_threshold(self)

    @property
    def has_scores(self) -> bool:
        """Whether the labels come with scores that a threshold can be above."""
        return self.labels.has_scores

    def depends_on(self, recipe: Any) -> dict[str, Any]:
        """See recipe.Teacher.depends_on."""
        del recipe
        return {
            "task": self.task.before_reading(),
            "sets": self.sets,
            "labels": self._described,
        }

    def sha256(self) -> str:
        """Of what the labels depend on: not of which other images lie in their folder."""
        text = json.dumps(self._described, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    def provenance(self) -> dict[str, Any]:
        """What the ledger says of them."""
        return {
            "made_by": self.origin,
            "labels": self._described,
            "scores": self.has_scores,
        }

    # ---- images --------------------------------------------------------------------------------

    def covers(self, source: Source, *, is_pool: bool) -> bool:
        """See recipe.Teacher.covers: pools alone, since ids are the names of files."""
        return is_pool and self.pool in (None, pool_name(source)) and any(self.known(source))

    def known(self, source: Source) -> Iterator[bool]:
        """Of each image of a source, in order, whether the labels name it."""
        return (source.image_id(index) in self._places for index in range(len(source)))

    def record(self, image_id: str) -> dict[str, Any] | None:
        """An image's record; None where it has no label.

        Raises:
            UserError: the label cannot be read.
            DataError: see Source.labels.
        """
        place = self._places.get(image_id)
        found = {} if place is None else self.labels.labels(place)
        if self.task.name not in found:
            return None
        where = f"source {self.labels.name!r}, image {image_id!r}"
        check_label(where, self.task, found[self.task.name])
        kind = self.labels.label_spaces[self.task.name].kind
        return self.task.record_of(self.task.adapt(found[self.task.name], kind))

    def why_none(self, image_id: str) -> str:
        """Why an image has no label, for a person."""
        if image_id not in self._places:
            return f"the labels {self.labels.name!r} do not name it"
        try:
            self.record(image_id)
        except (UserError, DataError) as error:
            return str(error)
        return f"it has no label in {self.labels.name!r}"

    def check_pools(self, pools: Sequence[Source]) -> None:
        """Raises UserError unless the labels are of images of a pool, and it is clear of which."""
        where = f"teacher {self.name!r}"
        names = [pool_name(source) for source in pools]
        if self.pool not in (None, *names):
            raise UserError(f"{where}: pool={self.pool!r}; {nearest(self.pool, names)}")
        owners: dict[str, str] = {}
        for source in pools:
            name = pool_name(source)
            if self.pool not in (None, name):
                continue
            for index in range(len(source)):
                image_id = source.image_id(index)
                if image_id in self._places and owners.setdefault(image_id, name) != name:
                    raise UserError(
                        f"{where}: {image_id!r} is an image of the pools {owners[image_id]!r} and "
                        f"{name!r}: say of which one the labels are, pool={name!r}"
                    )
        if not owners:
            here = next(iter(self._places), None)
            there = next((source.image_id(0) for source in pools if len(source)), None)
            raise UserError(
                f"{where}: not one image of the labels is an image of a pool: the labels of "
                f"{self.labels.name!r} name {here!r}, the pool {there!r}; both are paths below the "
                "folder of the images, with the suffix"
            )

    @functools.cached_property
    def _places(self) -> dict[str, int]:
        return {self.labels.image_id(i): i for i in range(len(self.labels))}

    @functools.cached_property
    def _described(self) -> dict[str, Any]:
        return without_keys(describe(self.labels), ("files", "images"))
