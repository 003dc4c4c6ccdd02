"""Classification of images, hard or soft; `Classification`, at the end, lists its parts."""

import collections
import dataclasses
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import keras
import numpy as np
from keras import ops
from PIL import Image, ImageDraw

from must_keras.modeling.heads import ImageHead
from must_keras.ops.views import View
from must_keras.tasks import base
from must_keras.tasks.details import Details, Disagreement, ratio
from must_keras.tasks.evaluation import Evaluator, ScoredPredictions, TrivialBaseline, share
from must_keras.tasks.parts import Arrays, Norm, Size, Spec, Stored, Tensor, Tensors
from must_keras.tasks.summaries import Framing, LabelContent, Ranking, Sketch
from must_keras.tasks.thresholds import Threshold
from must_keras.tasks.typed import ClassProbabilities
from must_keras.tasks.visualization import enlarge, font, letter_size

# A probability of 0 would have no finite cross-entropy.
_SMALLEST = 1e-7


class Labels(base.Labels):
    """{"probabilities": [K] float32, "labelled": 0 or 1}.

    One-hot where a person labeled the image, a distribution where a teacher did.

    Example:
        Classification(name="kind", classes=("ant", "bee")).labels.missing()
    """

    content_unit: ClassVar[str] = "image"

    def stored_spec(self) -> dict[str, Spec]:
        num_classes = len(self.classes)
        return {"probabilities": Spec((num_classes,), "float32"), "labelled": Spec((), "float32")}

    def missing(self) -> dict[str, np.ndarray]:
        return {key: np.zeros(spec.shape, spec.dtype) for key, spec in self.stored_spec().items()}

    def relabel(self, stored: Stored, table: np.ndarray) -> dict[str, Any] | None:
        """Return the renormalized probabilities of the classes that are kept, or None."""
        kept = table >= 0
        probabilities = np.zeros(len(self.classes), np.float32)
        np.add.at(probabilities, table[kept], stored["probabilities"][kept])
        total = probabilities.sum()
        return dict(stored) | {"probabilities": probabilities / total} if total > 0 else None

    def spec(self, size: Size) -> dict[str, Spec]:
        return self.stored_spec()

    def warp(self, stored: Tensors, view: View) -> dict[str, Tensor]:
        return dict(stored)

    def weight(self, label: Tensors) -> Tensor:
        return ops.cast(label["labelled"], "float32")

    def content(self, stored: Stored, framing: Framing) -> LabelContent:
        """Count the classes that have any probability."""
        found = (np.asarray(stored["probabilities"]) > 0).astype(np.int64)
        return LabelContent(total=1, found=found, usable=found, lost={})

    def taught_by(self, stored: Stored) -> tuple[str, ...]:
        return self.teachable if float(stored["labelled"]) > 0 else ()

    def count_classes(self, stored: Stored) -> np.ndarray:
        """Return 1 for the image's most likely class."""
        probabilities = np.asarray(stored["probabilities"])
        most = np.arange(len(probabilities)) == probabilities.argmax()
        return most * float(np.asarray(stored["labelled"]) > 0)

    @property
    def num_groups(self) -> int:
        """A group for each class: a low-shot subset has as many images of every class."""
        return len(self.classes)

    def group(self, stored: Stored) -> int | None:
        """Return the most likely class."""
        counts = self.count_classes(stored)
        return int(counts.argmax()) if counts.any() else None


class Mixtures(base.Mixtures):
    """The weighted mean of two distributions.

    Example:
        Classification(name="kind", classes=("ant", "bee")).mixtures.blends  # True
    """

    blends: ClassVar[bool] = True

    def blended(self, label: Tensors, other: Tensors, share: Tensor) -> Tensors:
        """Return the mean where both images are labeled, else a missing label.

        `label_smoothing` leaves it unchanged where the two have different classes.
        """
        one, two = label["probabilities"], other["probabilities"]
        labeled = label["labelled"] * other["labelled"]
        mean = share * one + (1.0 - share) * two
        return {"probabilities": labeled * mean, "labelled": labeled}


class Head(base.Head):
    """Global average pooling of C5 and cross-entropy with the label's distribution.

    Example:
        norm = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
        Classification(name="kind", classes=("ant", "bee")).head.build((64, 64), norm)
    """

    features = ("C5",)

    def build(self, size: Size, norm: Norm) -> keras.Layer:
        return ImageHead(len(self.task.classes), size=size, name=self.task.name)

    def loss(self, label: Tensors, prediction: Any, layer: keras.Layer, keys: Tensor) -> Tensor:
        target, smooth = label["probabilities"], self.task.label_smoothing
        if smooth:
            is_hard = ops.max(target, axis=-1, keepdims=True) == 1.0
            smoothed = target * (1.0 - smooth) + smooth / len(self.task.classes)
            target = ops.where(is_hard, smoothed, target)
        if self.task.class_weights is not None:
            target = target * ops.convert_to_tensor(self.task.class_weights, target.dtype)
        entropy = -ops.sum(target * ops.log_softmax(prediction["logits"], axis=-1), axis=-1)
        return ops.where(self.task.labels.weight(label) > 0.0, entropy, 0.0)


class Predictions(base.Predictions):
    """{"probabilities": [B, K]}.

    Example:
        task = Classification(name="kind", classes=("ant", "bee"))
        task.predictions.to_json({"probabilities": np.float32([0.2, 0.8])})
    """

    def decode(self, prediction: Any, layer: keras.Layer, map_size: Size) -> dict[str, Tensor]:
        return {"probabilities": ops.softmax(ops.cast(prediction["logits"], "float32"))}

    def typed(self, prediction: Arrays, size: Size) -> ClassProbabilities:
        return ClassProbabilities(**prediction, class_names=self.task.classes)

    def to_json(self, prediction: Arrays) -> dict[str, Any]:
        """Return {"classes": the five most likely ones, {"name", "probability"}}."""
        probabilities = np.asarray(prediction["probabilities"])
        order = np.argsort(-probabilities, kind="stable")[:5]
        shares = {self.task.classes[i]: round(float(probabilities[i]), 4) for i in order}
        return {"classes": [{"name": name, "probability": p} for name, p in shares.items()]}


class Records(base.Records):
    """The `top_k` most likely classes and their probabilities.

    Example:
        Classification(name="kind", classes=("ant", "bee")).records.spec()
    """

    why_unweighted: ClassVar[str | None] = "are whole distributions, soft where a teacher is unsure"

    def spec(self) -> dict[str, Spec]:
        return {"classes": Spec((None,), "int32"), "probabilities": Spec((None,), "float32")}

    def from_prediction(self, prediction: Arrays, area: np.ndarray, size: Size) -> dict[str, Any]:
        return self.from_label(prediction)

    def from_label(self, stored: Stored) -> dict[str, Any]:
        """Return all of a one-hot label; of a soft one with `top_k` the rest is lost."""
        probabilities = np.asarray(stored["probabilities"], np.float32)
        num_classes = len(self.task.classes)
        kept = min(self.task.top_k or num_classes, num_classes)
        order = np.argsort(-probabilities, kind="stable")[:kept].astype(np.int32)
        return {"classes": order, "probabilities": probabilities[order]}

    def to_label(self, record: Stored, threshold: Threshold) -> dict[str, np.ndarray]:
        """Return the whole distribution: the rest is spread evenly over the other classes."""
        self.check_threshold(threshold)
        num_classes = len(self.task.classes)
        order, kept = np.asarray(record["classes"]), np.asarray(record["probabilities"])
        others = num_classes - len(order)
        rest = max(0.0, 1.0 - float(kept.sum())) / others if others else 0.0
        probabilities = np.full(num_classes, rest, np.float32)
        probabilities[order] = kept
        if self.task.hard:
            probabilities = np.eye(num_classes, dtype=np.float32)[probabilities.argmax()]
        else:
            probabilities /= probabilities.sum()
        return {"probabilities": probabilities, "labelled": np.ones((), np.float32)}

    def sketch(self, record: Stored) -> Sketch:
        """Return the ranking, whose certainty is the probability of its first class."""
        probabilities = np.asarray(record["probabilities"])
        ranking = Ranking(classes=np.asarray(record["classes"]), probabilities=probabilities)
        return Sketch(certainty=float(np.clip(probabilities[0], 0.0, 1.0)), answers=ranking)


class Accuracy(Evaluator):
    """The share of labeled images whose class is among the 1 or 5 most likely ones.

    top1, and of more than five classes top5. The class of a soft label is its most likely one.

    Example:
        accuracy = Accuracy(num_classes=2)
        label = {"probabilities": np.eye(2), "labelled": np.ones(2)}
        accuracy.update(label, {"probabilities": np.eye(2)})
        accuracy.result()  # {"top1": 1.0}
    """

    metrics = (share("top1"), share("top5"))

    def __init__(self, *, num_classes: int) -> None:
        self._right = dict.fromkeys((1, 5) if num_classes > 5 else (1,), 0)
        self.metrics = Accuracy.metrics[: len(self._right)]
        self._all = 0
        self._num_classes = num_classes
        self._confused = collections.Counter[tuple[int, int]]()

    def update(self, label: Arrays, prediction: Arrays) -> None:
        # Pseudo labels may be missing; predictions of a head never are.
        labeled = np.asarray(label["labelled"]) > 0
        labeled &= np.asarray(prediction.get("labelled", labeled)) > 0
        true = np.asarray(label["probabilities"])[labeled].argmax(-1)
        probabilities = np.asarray(prediction["probabilities"])[labeled]
        order = np.argsort(-probabilities, axis=-1, kind="stable")
        for count in self._right:
            self._right[count] += int((order[:, :count] == true[:, None]).sum())
        self._all += int(labeled.sum())
        self._confused.update(zip(true.tolist(), order[:, 0].tolist(), strict=True))

    def details(self, classes: Sequence[str], *, size: int) -> Details:
        """Return the images of each class, the share that is right, precision, and confusions."""
        true, predicted, right = (np.zeros(self._num_classes, np.int64) for _ in range(3))
        for (one, other), count in self._confused.items():
            true[one] += count
            predicted[other] += count
            right[one] += count * (one == other)
        columns = {"images": true, "top1": ratio(right, true), "precision": ratio(right, predicted)}
        return Details.of_classes(classes, columns, confused=self._confused)

    def values(self) -> list[float]:
        return [n / self._all if self._all else math.nan for n in self._right.values()]


class ClassFrequency(TrivialBaseline):
    """The frequencies of the classes, so that the most frequent one comes first.

    Example:
        baseline = ClassFrequency(num_classes=2)
        baseline.update({"probabilities": np.eye(2), "labelled": np.ones(2)})
        baseline.predict(1)  # {"probabilities": [[0.5, 0.5]]}
    """

    def __init__(self, *, num_classes: int) -> None:
        self._sum = np.zeros(num_classes)

    def update(self, label: Arrays) -> None:
        labeled = np.asarray(label["labelled"])[:, None]
        self._sum += (np.asarray(label["probabilities"]) * labeled).sum(0)

    def prediction(self) -> dict[str, np.ndarray]:
        frequencies = self._sum / max(self._sum.sum(), 1.0)
        return {"probabilities": frequencies.astype(np.float32)}


class Metrics(base.Metrics):
    """Accuracy, compared with the most frequent class.

    Example:
        Classification(name="kind", classes=("ant", "bee")).metrics.evaluator()
    """

    def evaluator(self) -> Evaluator:
        return Accuracy(num_classes=len(self.task.classes))

    def scored_predictions(self, label: Arrays, prediction: Arrays) -> ScoredPredictions:
        """Return the most likely class of every labeled image."""
        known = np.asarray(label["labelled"]) > 0
        probabilities = prediction["probabilities"][known]
        true, predicted = label["probabilities"][known].argmax(-1), probabilities.argmax(-1)
        return ScoredPredictions.of(probabilities.max(-1), predicted, true, len(self.task.classes))

    def disagreements(self, label: Arrays, prediction: Arrays) -> list[Disagreement | None]:
        """Return the cross-entropy of each image, without label smoothing."""
        truth, outputs = (np.asarray(s["probabilities"], float) for s in (label, prediction))
        losses = -(truth * np.log(np.maximum(outputs, _SMALLEST))).sum(-1)
        classes, disagreements = self.task.classes, list[Disagreement | None]()
        for known, loss, of, by in zip(label["labelled"], losses, truth, outputs, strict=True):
            true, likely = int(of.argmax()), int(by.argmax())
            named = dict.fromkeys((true, likely))
            text = ", ".join(f"{classes[k]} {by[k]:.2f}" for k in named)
            found = Disagreement(float(loss), f"loss {loss:.3g}: {text}")
            disagreements.append(found if known > 0 else None)
        return disagreements

    def trivial_baseline(self) -> TrivialBaseline:
        return ClassFrequency(num_classes=len(self.task.classes))


class Visualization(base.Visualization):
    """Names and bars over the image.

    Example:
        image = np.zeros((64, 64, 3), np.uint8)
        Classification(name="kind", classes=("ant", "bee")).visualization.visualize(
            image, {"probabilities": np.float32([0.2, 0.8])}
        )
    """

    def visualize(self, image: np.ndarray, shown: Arrays) -> np.ndarray:
        """Return the three most likely classes over the darkened image, enlarged for the text."""
        picture = Image.fromarray(enlarge(image))
        canvas = Image.blend(picture, Image.new("RGB", picture.size), 0.45)
        pen, letter = ImageDraw.Draw(canvas), letter_size(canvas.height, canvas.width)
        probabilities = np.asarray(shown["probabilities"])
        for line, index in enumerate(np.argsort(-probabilities)[:3]):
            probability = float(probabilities[index])
            if probability < 0.01:
                continue
            left, top = 0.6 * letter, (0.8 + 2.2 * line) * letter
            end = left + probability * max(0, canvas.width - 2 * left)
            bar = (left, top + 1.4 * letter, end, top + 1.7 * letter)
            pen.rectangle(bar, fill=(255, 200, 60))
            text = f"{self.task.classes[index]} {probability:.2f}"
            pen.text((left, top), text, fill=(255, 255, 255), font=font(letter))
        return np.asarray(canvas)


class External(base.External):
    """[B, K] probabilities or logits, in the order of the task's classes.

    Example:
        Classification(name="kind", classes=("ant", "bee")).external.forms
    """

    forms: ClassVar[tuple[str, ...]] = ("probabilities", "logits")

    def decode(self, values: Any, form: str, map_size: Size, **of_detectors: Any) -> Arrays:
        self.check_shape(values, (len(self.task.classes),), form)
        values = np.asarray(values, np.float32)
        if form == "logits":
            values = ops.convert_to_numpy(ops.softmax(values))
        self.check_distribution(values, form)
        return {"probabilities": values}


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification(base.Task):
    """Which of K classes an image shows.

    Attributes:
        classes: names, in the order of the indices.
        label_smoothing: share of a one-hot label that is spread evenly over all classes (Szegedy
            et al., arXiv 1512.00567). A teacher's distribution stays as it is: it has its own
            uncertainty, and the teacher was trained on smoothed labels already.
        top_k: how many probabilities a pseudo-label dataset stores; None: all of them.
        hard: whether a pseudo label is the teacher's first class instead of its distribution.
        class_weights: factor of each class's term of the cross-entropy, in ground truth and pseudo
            labels; losses are not divided by it. None: 1 each. See balanced_class_weights.

    Example:
        mk.Classification(name="species", classes=("ant", "bee"), label_smoothing=0.1)
    """

    classes: tuple[str, ...]
    label_smoothing: float = 0.0
    top_k: int | None = None
    hard: bool = False
    class_weights: tuple[float, ...] | None = None

    added: ClassVar[tuple[str, ...]] = (*base.Task.added, "class_weights")
    kind: ClassVar[str] = "classes"
    hub_task: ClassVar[str] = "image-classification"
    parts = (Labels, Head, Predictions, Records, Metrics, Visualization, External, Mixtures)

    def __post_init__(self) -> None:
        self.check_distinct()
        self.check_class_weights(self.class_weights)
        if not 0.0 <= self.label_smoothing < 1.0:
            raise self.error(f"label_smoothing must be in [0, 1), received {self.label_smoothing}")
        if self.top_k is not None and self.top_k < 1:
            raise self.error(f"top_k must be at least 1, received {self.top_k}")

    def describe(self) -> dict[str, Any]:
        """Return also which labels are smoothed: it once was all of them."""
        smoothed = {"smoothed": "one-hot"} if self.label_smoothing else {}
        return super().describe() | smoothed

    def before_reading(self) -> Self:
        """Return the task with soft labels: `hard` counts when a record becomes a label."""
        return dataclasses.replace(self, hard=False)
