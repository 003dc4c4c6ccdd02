"""Heads whose labels are computed in the training step, and so need no teacher stage."""

import dataclasses
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, Protocol

import numpy as np

from must_keras.errors import UserError, expect, expect_each
from must_keras.tasks.parts import Size, Tensors
from must_keras.tasks.self_labeled import SelfLabeledTask
from must_keras.tasks.streams import Stream, distinct
from must_keras.training.config import TrainingConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfLabeled:
    """A self-labeled task, how much its loss counts, and the sources that it learns from.

    No rule knows its loss weight: Uniform() and Uncertainty() replace it like that of any head.

    Attributes:
        task: Rotation(), Jigsaw(), Contrast(), Features(...) or another SelfLabeledTask.
        loss_weight: of its head, above 0.
        sources: names of sources; images of others have no label for it. (): all images have one.

    Raises:
        UserError: a value is of another type or range.

    Example:
        rotation = mk.SelfLabeled(task=mk.Rotation(), loss_weight=0.5)
        contrast = mk.SelfLabeled(task=mk.Contrast(), loss_weight=1.0, sources=("pool",))
        mk.Student(training=training, self_labeled=(rotation, contrast))
    """

    task: SelfLabeledTask
    loss_weight: float
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        expect("a self-labeled head", self, task=SelfLabeledTask, loss_weight=Real)
        where = f"self-labeled head {self.name!r}"
        if not 0.0 < self.loss_weight < float("inf"):
            raise UserError.of(where, "loss_weight", self.loss_weight, "expected a number above 0")
        expect_each(where, self, sources=str)

    @property
    def name(self) -> str:
        """The name of its head."""
        return self.task.name

    def prepared(self, size: Size, inputs: Iterable[Tensors]) -> "SelfLabeled":
        """Return the head with its task ready for a training: see SelfLabeledTask.prepared."""
        return dataclasses.replace(self, task=self.task.prepared(size, inputs))

    def without_weight(self) -> Any:
        """Return what a student depends on beside its loss weights: the task, and the sources."""
        return {"task": self.task, "sources": self.sources} if self.sources else self.task


class _OfSources(Protocol):
    """Examples of several sources: data.examples.ConcatenatedExamples."""

    def is_of(self, sources: Sequence[str]) -> np.ndarray: ...


def streams_of(heads: Iterable[SelfLabeled]) -> tuple[Stream, ...]:
    """Return the streams of some heads that need passes of their own, each once, in order."""
    return distinct(stream for head in heads for stream in head.task.streams)


def limits_of(heads: Iterable[SelfLabeled], examples: _OfSources) -> dict[str, np.ndarray]:
    """Return {head: [N] bool, the examples that it learns from} of heads with `sources`."""
    return {head.name: examples.is_of(head.sources) for head in heads if head.sources}


def check_training(where: str, training: TrainingConfig, heads: Iterable[SelfLabeled]) -> None:
    """Raise UserError where a training cannot compare the images of its batches."""
    for head in (head for head in heads if head.task.compares_images):
        check_comparing(f"{where}: self-labeled head {head.name!r}", training)


def check_comparing(where: str, training: TrainingConfig) -> None:
    """Raise UserError where a training does not compute whole batches of several images at once."""
    check_whole_batches(where, training)
    if training.batch < 2:
        raise UserError(
            f"{where}: batch={training.batch} has no image to compare with; choose batch=2 or more"
        )


def check_whole_batches(where: str, training: TrainingConfig) -> None:
    """Raise UserError where a training computes a batch in several microbatches."""
    if training.accumulate > 1:
        raise UserError(
            f"{where}: accumulate={training.accumulate} would compare images with microbatches of "
            "their batch; choose accumulate=1"
        )
