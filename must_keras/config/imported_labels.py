"""Labels that were made elsewhere, found for the images of a pool by their ids."""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from numbers import Real
from typing import Any, ClassVar

from must_keras.config.domain_gate import DomainGate, check_gate
from must_keras.config.teachers import AnyPredictor, AnyTeacher
from must_keras.data.examples import ReadableExamples, untaught
from must_keras.data.label_checks import check_label, check_label_spaces, check_labels_head
from must_keras.data.sources import Source, pool_name, preflight_indices, without_keys
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError, expect, not_allowed
from must_keras.files import json_sha256
from must_keras.runs.fingerprint import describe
from must_keras.tasks.base import Task
from must_keras.tasks.thresholds import AtPrecision, Threshold, check_threshold
from must_keras.training.network import Network
from must_keras.training.untaught import refuse


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImportedLabels(AnyTeacher):
    """Labels of a pool's images that a person or another program made before, as a teacher.

    They become a pseudo-label dataset like every teacher's. A label belongs to the pool's image of
    the same id. An image that the labels do not name is not labeled; one that they name without
    any object has none.

    Attributes:
        name: names its folder and its pseudo-label datasets.
        task: what they label; the student has a head for the same task.
        labels: the labels, as a source of the same images.
        origin: who made them, and how: a sentence or an address, for the ledger.
        loss_weight: of the student's head, since no rule fits labels of an unknown origin.
        threshold: numbers, see recipe.Teacher. What comes without a score is sure.
        ignore_from: see recipe.Teacher.
        weight_by_score: the same; labels without scores refuse it.
        gate: see recipe.AnyTeacher.
        sets: a labeled set to score the student's head on; None: there is none.
        pool: the name of the pool that they are of; None: every pool that has images of theirs.

    Raises:
        UserError: they are of another kind or of other classes than the task.

    Example:
        mk.ImportedLabels(
            name="elsewhere",
            task=mk.Detection(name="fruit", classes=("apple", "pear")),
            labels=mk.CocoJson(
                name="found", images="pile", annotations="pile.json", results="yolo.json",
                head="fruit",
            ),
            origin="YOLO11 of Ultralytics 8.3, run on 3 May",
            loss_weight=1.0,
        )

    """

    name: str
    task: Task
    labels: Source
    origin: str
    loss_weight: float
    threshold: Threshold | AtPrecision = None
    ignore_from: float | None = None
    weight_by_score: bool = False
    gate: DomainGate | None = None
    sets: Splits | None = None
    pool: str | None = None
    predicts: ClassVar[bool] = False

    def __post_init__(self) -> None:
        where = f"teacher {self.name!r}"
        expect(where, self, task=Task, labels=Source, sets=Splits | None, origin=str)
        expect(where, self, name=str, loss_weight=Real, ignore_from=Real | None)
        expect(where, self, weight_by_score=bool)
        if not self.origin.strip():
            raise UserError(f"{where}: origin is empty: say who made the labels, and how")
        check_labels_head(where, self.labels, self.task)
        check_label_spaces(self.labels, [self.task])
        if self.rule is not None and self.has_scores:
            raise UserError(
                f"{where}: AtPrecision needs a model that predicts from validation images"
            )
        check_threshold(self)
        check_gate(self)

    @property
    def has_scores(self) -> bool:
        """Whether the labels come with scores that a threshold can be above."""
        return self.labels.has_scores

    def depends_on(self, network: Network, seed: int) -> dict[str, Any]:
        return {"task": self.task.before_reading(), "sets": self.sets, "labels": self._described}

    def sha256(self, model_path: pathlib.Path) -> str:
        """Return the digest of the labels, whichever other images lie in their folder."""
        return json_sha256(self._described)

    def label_inputs(self, network: Network, batch: int) -> dict[str, Any]:
        return {}

    def unlabeled_outputs(self, predictor: AnyPredictor | None) -> dict[str, str]:
        examples = ReadableExamples(self.labels, [self.task])
        found = untaught(examples, [self.task]).get(self.task.name, ())
        refuse(self.task, found, title=f"teacher {self.name}", count=len(examples))
        return dict.fromkeys(found, "no label has any")

    def preflight(self) -> None:
        """Read labels all over the source; some may be unreadable, but not most of them."""
        errors, read = [], preflight_indices(self.labels)
        for index in read:
            try:
                self.record(self.labels.image_id(index))
            except (UserError, DataError) as error:
                errors.append(error)
        if len(errors) > len(read) / 2:
            raise errors[0]

    def sources(self) -> list[Source]:
        return [*super().sources(), self.labels]

    def provenance(self) -> dict[str, Any]:
        """Return what the ledger records of them."""
        return {"made_by": self.origin, "labels": self._described, "scores": self.has_scores}

    # ---- images --------------------------------------------------------------------------------

    def labels_source(self, source: Source, *, is_pool: bool) -> bool:
        """Return whether it is a pool with images of theirs: ids are the names of files."""
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
        return self.task.records.from_label(self.task.labels.adapt(found[self.task.name], kind))

    def why_empty(self, source: Source, index: int) -> str:
        """Return why an image has no label, for a person."""
        if source.is_gone(index):
            return super().why_empty(source, index)
        image_id = source.image_id(index)
        if image_id not in self._places:
            return f"the labels {self.labels.name!r} do not name it"
        try:
            self.record(image_id)
        except (UserError, DataError) as error:
            return str(error)
        return f"it has no label in {self.labels.name!r}"

    def check_pools(self, pools: Sequence[Source]) -> None:
        where = f"teacher {self.name!r}"
        names = [pool_name(source) for source in pools]
        if self.pool not in (None, *names):
            raise not_allowed(f"{where}: pool={self.pool!r}", self.pool, names, key="pool")
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
