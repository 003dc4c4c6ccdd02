"""The interface of self-supervised methods: values of a recipe, and the model that they build."""

import abc
import dataclasses
from collections.abc import Iterable
from typing import ClassVar, Self

from must_keras.data.pipeline import MakeViews
from must_keras.errors import UserError, expect
from must_keras.tasks.parts import Size, Tensors
from must_keras.training.config import TrainingConfig
from must_keras.training.fitted import FittedModel
from must_keras.training.initialization import FromScratch, Start
from must_keras.training.network import Network
from must_keras.training.self_labeled import SelfLabeled


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfSupervised(abc.ABC):
    """A method that pretrains a backbone on images without labels; an initialization of transfers.

    Attributes:
        name: of the initialization and the folder.
        training: length, batch, learning rate.
        start: initialization of the backbone.

    Raises:
        UserError: a value is of another type or range.

    Example:
        methods = (SimCLR(training=training), MoCo(training=training))

    """

    name: str
    training: TrainingConfig
    start: Start = dataclasses.field(default_factory=FromScratch)

    metrics: ClassVar[tuple[str, ...]] = ("loss",)
    """The logged numbers that a run reports: means of the last steps."""

    def __post_init__(self) -> None:
        expect(self.where, self, training=TrainingConfig, start=Start)
        if self.start.has_heads:
            raise UserError(
                f"{self.where}: it has no heads to initialize from a whole model; "
                f"take FromBackbone({str(self.start)!r})"
            )
        if self.training.keeps_weights:
            raise UserError(f"{self.where}: steps=0 would keep the backbone as it is")

    @property
    def where(self) -> str:
        """The beginning of messages."""
        return f"self-supervised method {self.name!r}"

    @property
    def heads(self) -> tuple[SelfLabeled, ...]:
        """The self-labeled heads that it trains; here none."""
        return ()

    def make_views(self, *, size: int) -> MakeViews | None:
        """Return what makes the inputs of an example; None: one view, with the augmentation."""
        return None

    def prepared(self, size: Size, inputs: Iterable[Tensors]) -> Self:
        """Return the method with its tasks ready for a training: see SelfLabeledTask.prepared."""
        return self

    @abc.abstractmethod
    def build(self, network: Network, *, seed: int, num_images: int) -> FittedModel:
        """Return a new model with random weights.

        Args:
            network: its backbone and size.
            seed: of the initial weights.
            num_images: of the training set.
        """
