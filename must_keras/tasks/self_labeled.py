"""The interface of a self-labeled task: a head whose label is computed in the training step.

From the network's input, from how a stream has changed it, or from the batch. Such a head has no
stored labels and no records. It shapes the backbone while it is trained; the saved network is
without it. Metrics compare its prediction with the label of the same image.
"""

import abc
import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar, Self

from must_keras.ops import Tensor
from must_keras.tasks.evaluation import Metrics
from must_keras.tasks.parts import Head, Part, Size, Tensors
from must_keras.tasks.streams import PLAIN, Stream


class SelfLabels(Part, abc.ABC):
    """Labels that are computed in the training step.

    Example:
        class Brightness(SelfLabels):
            def label(self, x, keys):
                return {"mean": ops.mean(x["image"], axis=(1, 2, 3))}

            def weight(self, label):
                return ops.ones_like(label["mean"])
    """

    @abc.abstractmethod
    def label(self, x: Tensors, keys: Tensor) -> dict[str, Tensor]:
        """Return the label of a batch, without gradients.

        Args:
            x: the inputs of the plain view, {"image": [B, H, W, 3], "area": [B, 4]}, and "shown":
                [B] bool, False for images of sources that the head does not learn from.
            keys: [B] int32, the only source of randomness (see ops/sampling.py); streams get the
                same ones.
        """

    @abc.abstractmethod
    def weight(self, label: Tensors) -> Tensor:
        """Return each image's number of valid elements, [B] float32: see parts.Labels.weight."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class SelfLabeledTask(abc.ABC):
    """One head that labels its own input: a name, its labels, and its layer with the loss.

    Attributes:
        name: the head's name in the network and in logs.

    Example:
        task = Features(name="lite0", backbone=EfficientNetLite0())
        task = task.prepared((224, 224), batches)
        label = task.labels.label(x, keys)
        task.labels.weight(label)  # [B]
    """

    name: str

    version: ClassVar[int] = 1
    """Raised when the same inputs would give other labels or losses than before."""

    compares_images: ClassVar[bool] = False
    """Whether the loss of an image depends on the other images of the batch."""

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The copies of the input that the head receives.

        The head's layer is called on each. Its prediction is the layer's output, of several streams
        a list of these.
        """
        return (PLAIN,)

    @property
    @abc.abstractmethod
    def labels(self) -> SelfLabels:
        """The labels and the number of their valid elements."""

    @property
    @abc.abstractmethod
    def head(self) -> Head:
        """The layer that predicts, and its loss."""

    @property
    def metrics(self) -> Metrics | None:
        """Scores of the head of a prepared task, from its raw prediction; None: there are none."""
        return None

    def recorded(self) -> "SelfLabeledTask | None":
        """Return a task with the same loss of labels that a file contains; None: there is none.

        A step that is not finite is kept with it, so that `replay` computes the loss again. Its
        class is registered as serializable, and its `labels` need no `label`.
        """
        return None

    def preflight(self) -> None:  # noqa: B027
        """Check before a run that the task can be prepared.

        Raises:
            UserError: what it needs cannot be read.
        """

    def prepared(self, size: Size, inputs: Iterable[Tensors]) -> Self:
        """Return the task ready for a training, with what it computes once; here the task itself.

        Args:
            size: (H, W) of the network's input.
            inputs: batches of the training's inputs, from the first step on.

        Raises:
            UserError: what it needs cannot be read.
        """
        return self

    def describe(self) -> dict[str, Any]:
        """Return the fields and the version: what the student depends on."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.compare}
        return {"type": type(self).__name__, "version": self.version} | fields
