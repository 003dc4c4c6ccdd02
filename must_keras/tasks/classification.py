"""Classification: one label for the whole image, hard or soft."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops
from PIL import Image, ImageDraw

from must_keras.errors import UserError, check_classes
from must_keras.modeling.heads import ImageHead
from must_keras.ops.views import View
from must_keras.tasks.base import Spec, Task, Tensor
from must_keras.tasks.evaluation import Evaluator, ScoredPredictions, TrivialBaseline
from must_keras.tasks.external import check_distribution, check_foreign_shape
from must_keras.tasks.label_content import Framing, LabelContent
from must_keras.tasks.sketch import Ranking, Sketch
from must_keras.tasks.thresholds import Threshold
from must_keras.tasks.visualization import enlarge, font


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Classification(Task):
    """Which of K classes an image shows.

    A label is {"probabilities": [K] float32, "labelled": 0 or 1}: one-hot where a person gave it,
    a whole distribution where a teacher did.

    Attributes:
        classes: names, in the order of the indices.
        label_smoothing: share of a one-hot label that is spread evenly over all classes (Szegedy
            et al., arXiv 1512.00567). A teacher's distribution stays as it is: it says itself how
            sure it is, and the teacher was trained on smoothed labels already.
        top_k: how many probabilities a label column keeps; None: all of them.
        hard: whether a pseudo label is the teacher's first class instead of its distribution.
    """

    classes: tuple[str, ...]
    label_smoothing: float = 0.0
    top_k: int | None = None
    hard: bool = False

    def __post_init__(self) -> None:
        check_classes(self.name, self.classes)
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise UserError(f"{self.name}: classes must be distinct, received {self.classes}")
        if not 0.0 <= self.label_smoothing < 1.0:
            raise UserError(
                f"{self.name}: label_smoothing must be in [0, 1), received {self.label_smoothing}"
            )
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"{self.name}: top_k must be at least 1, received {self.top_k}")

    def describe(self) -> dict[str, Any]:
        """Where labels are smoothed, also which: it once was all of them."""
        smoothed = {"smoothed": "one-hot"} if self.label_smoothing else {}
        return super().describe() | smoothed

    def before_reading(self) -> Classification:
        """Columns keep distributions; whether they count as hard is said when they are read."""
        return dataclasses.replace(self, hard=False)

    def stored_spec(self) -> dict[str, Spec]:
        return {
            "probabilities": Spec((len(self.classes),), "float32"),
            "labelled": Spec((), "float32"),
        }

    def missing(self) -> dict[str, np.ndarray]:
        return {
            "probabilities": np.zeros(len(self.classes), np.float32),
            "labelled": np.zeros((), np.float32),
        }

    content_unit: ClassVar[str] = "image"

    def content(self, stored: Mapping[str, Any], framing: Framing) -> LabelContent:
        """Count the classes that have any probability."""
        del framing
        found = (np.asarray(stored["probabilities"]) > 0).astype(np.int64)
        return LabelContent(total=1, found=found, usable=found, lost={})

    def taught_by(self, stored: Mapping[str, Any]) -> tuple[str, ...]:
        return self.teachable if float(stored["labelled"]) > 0 else ()

    def label_spec(self, size: tuple[int, int]) -> dict[str, Spec]:
        return self.stored_spec()

    def warp(self, stored: Mapping[str, Tensor], view: View) -> dict[str, Tensor]:
        return dict(stored)

    @property
    def features(self) -> tuple[str, ...]:
        return ("C5",)

    def build_head(self, size: tuple[int, int], norm: Mapping[str, Any]) -> keras.Layer:
        return ImageHead(len(self.classes), size=size, name=self.name)

    def label_weight(self, label: Mapping[str, Tensor]) -> Tensor:
        return ops.cast(label["labelled"], "float32")

    def loss(
        self, label: Mapping[str, Tensor], prediction: Any, head: keras.Layer, keys: Tensor
    ) -> Tensor:
        """Cross-entropy with the label's distribution."""
        target = self._target(label["probabilities"])
        entropy = -ops.sum(target * ops.log_softmax(prediction["logits"], axis=-1), axis=-1)
        return ops.where(self.label_weight(label) > 0.0, entropy, 0.0)

    def _target(self, probabilities: Tensor) -> Tensor:
        if not self.label_smoothing:
            return probabilities
        smooth = self.label_smoothing
        is_hard = ops.max(probabilities, axis=-1, keepdims=True) == 1.0
        smoothed = probabilities * (1.0 - smooth) + smooth / len(self.classes)
        return ops.where(is_hard, smoothed, probabilities)

    def outputs(
        self, prediction: Any, head: keras.Layer, map_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        return {"probabilities": ops.softmax(ops.cast(prediction["logits"], "float32"))}

    @property
    def kind(self) -> str:
        return "classes"

    @property
    def unit(self) -> str:
        return ""

    def record_spec(self) -> dict[str, Spec]:
        return {"classes": Spec((None,), "int32"), "probabilities": Spec((None,), "float32")}

    def encode(
        self, outputs: Mapping[str, np.ndarray], area: np.ndarray, size: tuple[int, int]
    ) -> dict[str, Any]:
        probabilities = np.asarray(outputs["probabilities"], np.float32)
        kept = min(self.top_k or len(self.classes), len(self.classes))
        order = np.argsort(-probabilities, kind="stable")[:kept].astype(np.int32)
        return {"classes": order, "probabilities": probabilities[order]}

    def record_of(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Of a soft label with top_k the rest is lost; what is one-hot is kept as it is."""
        return self.encode(stored, np.zeros(4), (1, 1))

    def decode(self, record: Mapping[str, Any], threshold: Threshold) -> dict[str, np.ndarray]:
        """The whole distribution: what top-k left out is spread evenly over the other classes."""
        self.check_threshold(threshold)
        order, kept = np.asarray(record["classes"]), np.asarray(record["probabilities"])
        others = len(self.classes) - len(order)
        rest = max(0.0, 1.0 - float(kept.sum())) / others if others else 0.0
        probabilities = np.full(len(self.classes), rest, np.float32)
        probabilities[order] = kept
        if self.hard:
            probabilities = np.eye(len(self.classes), dtype=np.float32)[probabilities.argmax()]
        else:
            probabilities /= probabilities.sum()
        return {"probabilities": probabilities, "labelled": np.ones((), np.float32)}

    def sketch(self, record: Mapping[str, Any]) -> Sketch:
        """As certain as its most likely class is probable."""
        probabilities = np.asarray(record["probabilities"])
        return Sketch(
            certainty=float(np.clip(probabilities[0], 0.0, 1.0)),
            answers=Ranking(classes=np.asarray(record["classes"]), probabilities=probabilities),
        )

    foreign_forms: ClassVar[tuple[str, ...]] = ("probabilities", "logits")

    def external_outputs(
        self, values: Any, form: str, map_size: tuple[int, int], **of_detectors: Any
    ) -> dict[str, np.ndarray]:
        """[B, K], in the order of the task's classes."""
        check_foreign_shape(self.name, values, (len(self.classes),), form)
        values = np.asarray(values, np.float32)
        if form == "logits":
            values = ops.convert_to_numpy(ops.softmax(values))
        check_distribution(self.name, values, form)
        return {"probabilities": values}

    def evaluator(self) -> Evaluator:
        return _Accuracy(num_classes=len(self.classes))

    def quality(self) -> Evaluator:
        return self.evaluator()

    def count_classes(self, stored: Mapping[str, Any]) -> np.ndarray:
        """1 for the image's most likely class."""
        probabilities = np.asarray(stored["probabilities"])
        most = np.arange(len(probabilities)) == probabilities.argmax()
        return most * float(np.asarray(stored["labelled"]) > 0)

    def certainty(
        self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> ScoredPredictions:
        """An answer is the most likely class."""
        known = np.asarray(label["labelled"]) > 0
        said, true = outputs["probabilities"][known], label["probabilities"][known].argmax(-1)
        return ScoredPredictions(
            scores=said.max(-1),
            classes=said.argmax(-1),
            right=said.argmax(-1) == true,
            true=np.bincount(true, minlength=len(self.classes)),
        )

    def prior(self) -> TrivialBaseline:
        return _Frequency(num_classes=len(self.classes))

    kinds: ClassVar[tuple[str, ...]] = ("classes",)

    def tell(self, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """{"classes": the five most likely ones, {"name", "probability"}}."""
        probabilities = np.asarray(outputs["probabilities"])
        order = np.argsort(-probabilities, kind="stable")[:5]
        return {
            "classes": [
                {"name": self.classes[i], "probability": round(float(probabilities[i]), 4)}
                for i in order
            ]
        }

    def draw(self, image: np.ndarray, shown: Mapping[str, np.ndarray]) -> np.ndarray:
        """The three most likely classes over the darkened image, enlarged so that it is legible."""
        picture = Image.fromarray(enlarge(image))
        canvas = Image.blend(picture, Image.new("RGB", picture.size), 0.45)
        pen = ImageDraw.Draw(canvas)
        probabilities = np.asarray(shown["probabilities"])
        for line, index in enumerate(np.argsort(-probabilities)[:3]):
            share = float(probabilities[index])
            if share < 0.01:
                continue
            top = 8 + 22 * line
            end = 6 + share * max(0, canvas.width - 12)
            pen.rectangle((6, top + 14, end, top + 17), fill=(255, 200, 60))
            text = f"{self.classes[index]} {share:.2f}"
            pen.text((6, top), text, fill=(255, 255, 255), font=font())
        return np.asarray(canvas)


class _Accuracy(Evaluator):
    """top1 and, of more than five classes, top5: the share of labeled images whose class is among
    the 1 or 5 most likely ones. The class of a soft label is its most likely one.
    """

    def __init__(self, *, num_classes: int) -> None:
        self._right = dict.fromkeys((1, 5) if num_classes > 5 else (1,), 0)
        self._all = 0

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        # Pseudo labels say whether they are labels; outputs of a head always are.
        labeled = np.asarray(label["labelled"]) > 0
        labeled &= np.asarray(outputs.get("labelled", labeled)) > 0
        true = np.asarray(label["probabilities"])[labeled].argmax(-1)
        order = np.argsort(-np.asarray(outputs["probabilities"])[labeled], axis=-1, kind="stable")
        for count in self._right:
            self._right[count] += int((order[:, :count] == true[:, None]).sum())
        self._all += int(labeled.sum())

    def result(self) -> dict[str, float]:
        return {
            f"top{count}": right / self._all if self._all else math.nan
            for count, right in self._right.items()
        }


class _Frequency(TrivialBaseline):
    """The frequencies of the classes, so that the most frequent one comes first."""

    def __init__(self, *, num_classes: int) -> None:
        self._sum = np.zeros(num_classes)

    def update(self, label: Mapping[str, np.ndarray]) -> None:
        labeled = np.asarray(label["labelled"])[:, None]
        self._sum += (np.asarray(label["probabilities"]) * labeled).sum(0)

    def outputs(self, num_images: int) -> dict[str, np.ndarray]:
        share = self._sum / max(self._sum.sum(), 1.0)
        return {"probabilities": np.tile(share.astype(np.float32), (num_images, 1))}
