"""The interface of a task: everything that depends on the meaning of a label.

A label has four forms, and a task names the keys of each:

    stored       as a source or a pseudo-label dataset provides it: the original's resolution
    label        seen through a view: fixed shapes, pixels of the network's input; the loss's input
    prediction   decoded from a head's output: in the units and under the keys of a label
    record       as a pseudo-label dataset stores it: before any threshold, scores included
"""

import abc
import dataclasses
import math
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np

from must_keras.errors import UserError, check_classes
from must_keras.tasks.evaluation import Metrics
from must_keras.tasks.mixtures import Mixtures
from must_keras.tasks.parts import (
    Arrays,
    Head,
    Labels,
    Part,
    Predictions,
    Records,
    Size,
    subclasses,
)
from must_keras.tasks.visualization import Visualization

ClassIds = tuple[int, ...] | None
"""A model's number of each class of a task."""


class External(Part):
    """Answers of models that were trained elsewhere.

    Example:
        Normals(name="facing").external.forms  # ("normals",)
    """

    forms: ClassVar[tuple[str, ...]] = ()
    """The forms of answers that `decode` reads."""

    def check_form(self, form: str) -> None:
        """Raise UserError where `decode` reads no such form."""
        if form not in self.forms:
            allowed = ", ".join(self.forms) or "none"
            raise self.task.error(f"form={form!r} cannot be read; allowed are {allowed}")

    def check_class_ids(self, class_ids: tuple[int, ...]) -> None:
        """Raise UserError where a model's classes cannot be given by their numbers."""
        raise self.task.error(f"class_ids={class_ids} belong to a detector")

    def decode(
        self, values: Any, form: str, map_size: Size, *, size: Size, class_ids: ClassIds = None
    ) -> Arrays:
        """Return a model's answers as `Predictions.decode` returns a prediction.

        Args:
            values: the answers for a batch, as numpy arrays: [B, ...], maps over the whole input.
            form: one of `forms`.
            map_size: (H', W') of per-pixel values.
            size: (H, W) of the images that the model received.
            class_ids: the model's number of each class; None: see ExternalModel.

        Raises:
            UserError: the answers are not of the form's shape.
        """
        raise NotImplementedError

    def check_shape(self, values: Any, shape: tuple[int | None, ...], form: str) -> None:
        """Raise UserError where answers, [B, *shape] (None: any), are of another shape."""
        try:
            found = np.shape(values)
        except ValueError:
            raise self.task.error(
                f"an external model returns {len(values)} arrays of different "
                "shapes: name one, output=0 for example"
            ) from None
        is_long = len(found) == len(shape) + 1
        if not is_long or any(n not in (None, m) for n, m in zip(shape, found[1:], strict=True)):
            expected = ", ".join("any" if n is None else str(n) for n in ("batch", *shape))
            raise self.task.error(
                f"an external model returns the shape {found}; {form} are ({expected})"
            )

    def check_distribution(self, values: np.ndarray, form: str) -> None:
        """Raise UserError where answers, [..., K], are no probabilities."""
        sums = values.sum(axis=-1)
        if not np.isfinite(values).all() or values.min() < -1e-3 or np.abs(sums - 1.0).max() > 1e-2:
            raise self.task.error(
                f"an external model's {form} lie in {values.min():.3g} to "
                f"{values.max():.3g} and add up to {sums.min():.3g} to {sums.max():.3g}, expected "
                "1: are they logits, or of another output?"
            )


def _own(interface: type[Part]) -> property:
    """Return a property: the part of a task whose class is one of an interface, or the interface's.

    An interface with abstract methods cannot be instantiated: a task needs a class of its own.
    """

    def own(task: "Task") -> Part:
        classes = (part for part in task.parts if issubclass(part, interface))
        return next(classes, interface)(task)

    return property(own)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(abc.ABC):
    """One head: a name, a label space, and one small object for each subject.

    Attributes:
        name: the head's name in models, pseudo-label datasets, logs and reports.
        weighted: whether labels have a "weight" for each object or pixel, by which its loss is
            multiplied. A teacher's `weight_by_score` sets it for the student's labels; networks
            and all other labels are those of the task without it.

    Example:
        task = Segmentation(name="parts", classes=("wall", "floor"))
        task.labels.missing()          # {"map": [[255]]}
        task.metrics.evaluator()       # mean IoU
    """

    name: str
    weighted: bool = False

    added: ClassVar[tuple[str, ...]] = ("weighted",)
    """Fields that are no inputs at their defaults: artifacts without them stay valid."""

    version: ClassVar[int] = 1
    """Raised when the same inputs would give other labels, losses or scores than before."""

    kind: ClassVar[str] = ""
    """What the labels are: "classes", "boxes", "metric", ..."""

    kinds: ClassVar[tuple[str, ...]] = ()
    """Every value of `kind`, where it is a field of the task."""

    unit: ClassVar[str] = ""
    """The unit of stored values, "" without one."""

    hub_task: ClassVar[str] = ""
    """What hubs of models call the task, "" where they have no name for it."""

    @property
    @abc.abstractmethod
    def parts(self) -> tuple[type[Part], ...]:
        """The class of each part below; without one of `External`, no answers are read."""

    labels = _own(Labels)
    """Structure of a label, its view, and its content."""

    head = _own(Head)
    """The layer that predicts, and its loss."""

    predictions = _own(Predictions)
    """Decoding of the layer's output, and the forms in which users get it."""

    records = _own(Records)
    """What a pseudo-label dataset stores of an image."""

    metrics = _own(Metrics)
    """Scores, and the trivial baseline to compare them with."""

    visualization = _own(Visualization)
    """Pictures of labels and predictions."""

    mixtures = _own(Mixtures)
    """Labels of images that show two."""

    external = _own(External)
    """Answers of models that were trained elsewhere."""

    def error(self, problem: str) -> UserError:
        """Return the error for a user's mistake: the head's name, then the problem."""
        return UserError(f"{self.name}: {problem}")

    def meaning(self) -> dict[str, Any]:
        """Return {"kind", "unit", "classes"}: what the numbers of its files mean.

        Example:
            Depth(name="distance").meaning()  # {"kind": "metric", "unit": "m", "classes": []}
        """
        return {"kind": self.kind, "unit": self.unit, "classes": list(self.labels.classes)}

    def check_distinct(self) -> None:
        """Raise UserError where the classes are not a tuple of distinct names."""
        check_classes(self.name, self.classes)
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise self.error(f"classes must be distinct, received {self.classes}")

    def check_class_weights(self, weights: tuple[float, ...] | None) -> None:
        """Raise UserError where there are weights that are not a positive number of each class."""
        if weights is None:
            return
        if len(weights) != len(self.labels.classes):
            raise self.error(
                f"class_weights has {len(weights)} numbers, expected one for each of the "
                f"{len(self.labels.classes)} classes in their order"
            )
        for name, weight in zip(self.labels.classes, weights, strict=True):
            if not (isinstance(weight, Real) and 0.0 < weight < math.inf):
                raise self.error(f"class_weights: {weight!r} of {name!r}, expected above 0")

    def describe(self) -> dict[str, Any]:
        """Return the fields and the version: what an artifact made with the task depends on."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"type": type(self).__name__, "version": self.version} | self._without_default(
            fields
        )

    def before_reading(self) -> Self:
        """Return the task without fields that count only when its pseudo labels are read.

        A teacher of the task and its pseudo-label datasets depend on this task.
        """
        return self

    @classmethod
    def of_kind(cls, name: str, kind: str, classes: tuple[str, ...]) -> "Task | None":
        """Return a task with default fields for labels of a kind; None where no task has it.

        Every class of task that was imported is considered, those of a recipe's own file too.
        """
        for task in subclasses(Task):
            if kind and kind in (task.kinds or (task.kind,)):
                given = {"name": name, "kind": kind, "classes": classes}
                known = {field.name for field in dataclasses.fields(task)}
                return task(**{key: given[key] for key in given.keys() & known})
        return None

    @classmethod
    def of(cls, source: Any, **fields: Any) -> Self:
        """Return the task for the labels of a source: of their head, with their classes.

        Args:
            source: a Source with labels of one kind that the task has.
            fields: further fields, or others in place of those of the source.

        Raises:
            UserError: the source has no such labels, or those of several heads.

        Example:
            Detection.of(CocoJson(name="fruit", images=..., annotations=..., head="fruit"))
        """
        kinds, spaces = cls.kinds or (cls.kind,), source.label_spaces
        fitting = [head for head, space in spaces.items() if space.kind in kinds]
        heads = [fields["name"]] if "name" in fields else fitting
        if len(heads) != 1 or heads[0] not in fitting:
            kind, found = " or ".join(kinds), ", ".join(fitting) or "none"
            problem = f"expected labels of kind {kind} of one head, it has {found}"
            raise UserError(f"source {source.name!r}: {problem}", allowed=fitting)
        space = spaces[heads[0]]
        given = {"name": heads[0], "kind": space.kind, "classes": space.classes}
        own = {field.name for field in dataclasses.fields(cls)}
        return cls(**{key: given[key] for key in given.keys() & own} | fields)

    def get_config(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return self._without_default(dataclasses.asdict(self))

    def _without_default(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return fields without those that were added and have their defaults."""
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        unused = {name for name in self.added if getattr(self, name) == defaults[name]}
        return {name: value for name, value in fields.items() if name not in unused}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the task of some fields; lists that JSON made of tuples become tuples again."""
        return cls(**{key: _tuples(value) for key, value in config.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
