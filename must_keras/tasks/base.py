"""The interface of a task: everything that depends on the meaning of a label.

A label has four forms, and a task names the keys of each:

    stored       as a source or a pseudo-label dataset provides it: the original's resolution
    label        seen through a view: fixed shapes, pixels of the network's input; the loss's input
    prediction   decoded from a head's output: in the units and under the keys of a label
    record       as a pseudo-label dataset stores it: before any threshold, scores included
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

from must_keras.tasks.evaluation import Metrics
from must_keras.tasks.external import External
from must_keras.tasks.parts import Head, Labels, Predictions, Records, subclasses
from must_keras.tasks.visualization import Visualization


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task(abc.ABC):
    """One head: a name, a label space, and one small object for each subject.

    Attributes:
        name: the head's name in models, pseudo-label datasets, logs and reports.

    Example:
        task = Segmentation(name="parts", classes=("wall", "floor"))
        task.labels.missing()          # {"map": [[255]]}
        task.metrics.evaluator()       # mean IoU
    """

    name: str

    version: ClassVar[int] = 1
    """Raised when the same inputs would give other labels, losses or scores than before."""

    kind: ClassVar[str]
    """What the labels are: "classes", "boxes", "metric", ..."""

    kinds: ClassVar[tuple[str, ...]] = ()
    """Every value of `kind`, where it is a field of the task."""

    unit: ClassVar[str] = ""
    """The unit of stored values, "" without one."""

    @property
    @abc.abstractmethod
    def labels(self) -> Labels:
        """Structure of a label, its view, and its content."""

    @property
    @abc.abstractmethod
    def head(self) -> Head:
        """The layer that predicts, and its loss."""

    @property
    @abc.abstractmethod
    def predictions(self) -> Predictions:
        """Decoding of the layer's output, and the forms in which users get it."""

    @property
    @abc.abstractmethod
    def records(self) -> Records:
        """What a pseudo-label dataset stores of an image."""

    @property
    @abc.abstractmethod
    def metrics(self) -> Metrics:
        """Scores, and the trivial baseline to compare them with."""

    @property
    @abc.abstractmethod
    def visualization(self) -> Visualization:
        """Pictures of labels and predictions."""

    external = property(External)
    """Answers of models that were trained elsewhere; a task that reads none has this one."""

    def describe(self) -> dict[str, Any]:
        """Return the fields and the version: what an artifact made with the task depends on."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {"type": type(self).__name__, "version": self.version} | fields

    def before_reading(self) -> Task:
        """Return the task without fields that count only when its pseudo labels are read.

        A teacher of the task and its pseudo-label datasets depend on this task.
        """
        return self

    @classmethod
    def of_kind(cls, name: str, kind: str, classes: tuple[str, ...]) -> Task | None:
        """Return a task with default fields for labels of a kind; None where no task has it.

        Every class of task that was imported is considered, those of a recipe's own file too.
        """
        for task in subclasses(Task):
            if kind in (task.kinds or (task.kind,)):
                given = {"name": name, "kind": kind, "classes": classes}
                known = {field.name for field in dataclasses.fields(task)}
                return task(**{key: given[key] for key in given.keys() & known})
        return None

    def get_config(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Task:
        """Return the task of some fields; lists that JSON made of tuples become tuples again."""
        return cls(**{key: _tuples(value) for key, value in config.items()})


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, list | tuple) else value
