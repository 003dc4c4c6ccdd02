"""Changed views of which a head recognizes the change: one of K, sampled for each image.

A changed view is a random crop of the original, half of them mirrored. Unlike the plain view it
never shows padding, whose place would give a rotation away.
"""

import abc
import dataclasses
import zlib
from typing import Any, ClassVar

from keras import ops

from must_keras.errors import expect
from must_keras.ops import Tensor
from must_keras.ops.sampling import fold, uniform
from must_keras.self_supervised.views import RandomViews, random_view
from must_keras.tasks import evaluation, parts, self_labeled
from must_keras.tasks.classification import Accuracy, ClassFrequency, Classification
from must_keras.tasks.parts import Arrays, Tensors
from must_keras.tasks.streams import Stream, whole

# Purposes of the random numbers of one key.
_CHOICE, _CROP = 131, 132
# Crops alone, colors as they are.
CROPS = RandomViews(least_area=0.3, jitter_share=0.0, gray_share=0.0, blur_share=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Changed(Stream):
    """A random view of the original, changed in one of K ways, each as likely as the others.

    Attributes:
        views: ranges and probabilities of the view, before it is changed.

    Example:
        class UpsideDown(Changed):
            classes = ("upright", "upside down")

            def change(self, image, choice):
                return ops.where(choice == 1, ops.flip(image, axis=0), image)
    """

    views: RandomViews = CROPS

    def __post_init__(self) -> None:
        expect(f"a {type(self).__name__} stream", self, views=RandomViews)

    @property
    @abc.abstractmethod
    def classes(self) -> tuple[str, ...]:
        """The names of the K ways."""

    @abc.abstractmethod
    def change(self, image: Tensor, choice: Tensor) -> Tensor:
        """Return a changed image of the same shape.

        Args:
            image: [S, S, 3] uint8, square.
            choice: int32 scalar, which of the K ways.
        """

    def choose(self, keys: Tensor) -> Tensor:
        """Return which of the K ways is each image's: [B] int32 of keys [B] int32."""
        numbers = uniform(self._own(keys), 1, purpose=_CHOICE)[:, 0]
        return ops.cast(numbers * len(self.classes), "int32")

    def _own(self, keys: Tensor) -> Tensor:
        """Return keys with which each kind of change is sampled independently of the others."""
        return fold(keys, zlib.crc32(type(self).__name__.encode()) % 2**31)

    def view(self, original: Tensor, x: Tensors, key: Tensor) -> dict[str, Tensor]:
        size = tuple(x["image"].shape[:2])
        own = fold(self._own(key[None]), _CROP)[0]
        image = random_view(original, own, self.views, size)
        image = self.change(image, self.choose(key[None])[0])
        return {"image": ops.reshape(image, (*size, 3)), "area": whole(size)}


class Labels(self_labeled.SelfLabels):
    """{"probabilities": [B, K] one-hot, "labelled": [B] of ones}: how the stream is changed.

    Example:
        Rotation().labels.label(x, keys)["probabilities"].shape  # (8, 4)
    """

    def label(self, x: Tensors, keys: Tensor) -> dict[str, Tensor]:
        (stream,) = self.task.streams
        choice = ops.one_hot(stream.choose(keys), len(stream.classes), dtype="float32")
        return {"probabilities": choice, "labelled": ops.ones_like(choice[:, 0])}

    def weight(self, label: Tensors) -> Tensor:
        return label["labelled"]


class Evaluator(evaluation.Evaluator):
    """The share of images whose change is found: top1, and of more than five ways top5.

    Args:
        num_classes: K.

    Example:
        evaluator = Rotation().metrics.evaluator()
        evaluator.update(label, {"logits": logits})
        evaluator.result()  # {"top1": 0.62}
    """

    def __init__(self, num_classes: int):
        self._accuracy = Accuracy(num_classes=num_classes)
        self.metrics = self._accuracy.metrics

    def update(self, label: Arrays, prediction: Arrays) -> None:
        self._accuracy.update(label, {"probabilities": prediction["logits"]})

    def values(self) -> list[float]:
        return self._accuracy.values()


class TrivialBaseline(evaluation.TrivialBaseline):
    """The change that is most frequent among the training images: right at chance.

    Args:
        num_classes: K.

    Example:
        baseline = Rotation().metrics.trivial_baseline()
        baseline.update(label)
        baseline.predict(2)["logits"].shape  # (2, 4)
    """

    def __init__(self, num_classes: int):
        self._frequency = ClassFrequency(num_classes=num_classes)

    def update(self, label: Arrays) -> None:
        self._frequency.update(label)

    def prediction(self) -> dict[str, Any]:
        return {"logits": self._frequency.prediction()["probabilities"]}


class Metrics(evaluation.Metrics):
    """Accuracy, compared with the most frequent change.

    Example:
        Jigsaw().metrics.evaluator().metrics  # top1 and top5
    """

    def evaluator(self) -> Evaluator:
        return Evaluator(self._num_classes)

    def trivial_baseline(self) -> TrivialBaseline:
        return TrivialBaseline(self._num_classes)

    @property
    def _num_classes(self) -> int:
        return len(self.task.stream.classes)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ChangeRecognition(self_labeled.SelfLabeledTask):
    """A self-labeled task: in which of K ways its stream is changed.

    The head is that of a classification: the mean of C5 and one linear layer.

    Example:
        class Tilt(ChangeRecognition):
            stream = UpsideDown()

        mk.SelfLabeled(task=Tilt(name="tilt"), loss_weight=1.0)
    """

    def __post_init__(self) -> None:
        expect(f"self-labeled task {self.name!r}", self, name=str, stream=Changed)

    @property
    @abc.abstractmethod
    def stream(self) -> Changed:
        """The changed view."""

    labels: ClassVar[Any] = property(Labels)
    metrics: ClassVar[Any] = property(Metrics)

    @property
    def streams(self) -> tuple[Stream, ...]:
        return (self.stream,)

    @property
    def head(self) -> parts.Head:
        """The head of a classification of the ways."""
        return Classification(name=self.name, classes=self.stream.classes).head
