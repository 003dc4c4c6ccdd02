"""Heads of the student whose labels are computed from its input, and so need no teacher stage."""

import dataclasses
from numbers import Real

from must_keras.errors import UserError, expect
from must_keras.tasks.self_labeled import SelfLabeledTask


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfLabeled:
    """A self-labeled task, and how much its loss counts.

    Every image of the student has a label for it. No rule knows its loss weight: Uniform() and
    Uncertainty() replace it like that of any head.

    Attributes:
        task: Features(...) or another SelfLabeledTask.
        loss_weight: of its head in the student, above 0.

    Raises:
        UserError: a value is of another type or range.

    Example:
        task = mk.Features(name="lite0", backbone=mk.EfficientNetLite0())
        mk.Student(training=training, self_labeled=(mk.SelfLabeled(task=task, loss_weight=1.0),))
    """

    task: SelfLabeledTask
    loss_weight: float

    def __post_init__(self) -> None:
        expect("a self-labeled head", self, task=SelfLabeledTask, loss_weight=Real)
        if not 0.0 < self.loss_weight < float("inf"):
            where = f"self-labeled head {self.name!r}"
            raise UserError.of(where, "loss_weight", self.loss_weight, "expected a number above 0")

    @property
    def name(self) -> str:
        """The name of its head."""
        return self.task.name
