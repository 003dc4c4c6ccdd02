"""Pretraining with self-labeled tasks alone: any sum of them, on images without labels."""

import dataclasses
from collections.abc import Iterable
from typing import Self

from must_keras import naming
from must_keras.errors import UserError, expect_each
from must_keras.self_supervised.method import SelfSupervised
from must_keras.tasks.parts import Size, Tensors
from must_keras.training.building import build_model
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import Network
from must_keras.training.self_labeled import SelfLabeled, check_training


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfLabeling(SelfSupervised):
    """A backbone that is pretrained with a weighted sum of self-labeled tasks.

    The backbone alone is saved.

    Attributes:
        name: of the initialization and the folder.
        tasks: the heads, with their loss weights and sources.

    Raises:
        UserError: a value is of another type or range, there is no task, or two have one name.

    Example:
        tasks = (
            mk.SelfLabeled(task=mk.Rotation(), loss_weight=1.0),
            mk.SelfLabeled(task=mk.Jigsaw(), loss_weight=1.0),
        )
        mk.Recipe(..., selfsup=(mk.SelfLabeling(training=training, tasks=tasks),))

    """

    name: str = "self_labeling"
    tasks: tuple[SelfLabeled, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        expect_each(self.where, self, tasks=SelfLabeled)
        if not self.tasks:
            raise UserError.of(self.where, "tasks", self.tasks, "at least one is needed")
        heads = [head.name for head in self.tasks]
        for head in heads:
            naming.check_head(head, self.where)
        naming.check_distinct(heads, self.where, "heads")
        naming.check_pairs(heads, self.where)
        check_training(self.where, self.training, self.tasks)

    @property
    def heads(self) -> tuple[SelfLabeled, ...]:
        return self.tasks

    def prepared(self, size: Size, inputs: Iterable[Tensors]) -> Self:
        tasks = tuple(head.prepared(size, inputs) for head in self.tasks)
        return dataclasses.replace(self, tasks=tasks)

    def build(self, network: Network, *, seed: int, num_images: int) -> MultiTaskModel:
        model = build_model(
            network,
            (),
            seed=seed,
            loss_weights={head.name: head.loss_weight for head in self.tasks},
            self_labeled=[head.task for head in self.tasks],
            **self.training.of_model(),
        )
        self.start.apply(model, network)
        return model
