"""Semantic segmentation: a class for every pixel."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from must_keras.errors import UserError, check_classes
from must_keras.modeling.heads import PixelHead
from must_keras.ops import maps
from must_keras.ops.views import View, sample
from must_keras.tasks.base import Spec, Task, Tensor
from must_keras.tasks.evaluation import Evaluator, ScoredPredictions, TrivialBaseline
from must_keras.tasks.external import check_distribution, check_foreign_shape
from must_keras.tasks.label_content import Framing, LabelContent, Lost
from must_keras.tasks.sketch import Pixels, Sketch
from must_keras.tasks.thresholds import Threshold, thresholds_by_class
from must_keras.tasks.visualization import palette

IGNORE = 255
_IGNORED = Lost(
    f"unknown ({IGNORE}, or a value that the source ignores)",
    f"if {IGNORE} stands for a class in the files, give the source the value of each class, for "
    f"example values=(0, {IGNORE})",
)


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation(Task):
    """Which of K classes each pixel shows.

    A label is {"map": [H, W] uint8}, 255 where nobody knows.

    Attributes:
        classes: names, in the order of the values; at most 255.
        loss_stride: pixels between two that the loss sees; logits are resized to that resolution.
            4 is the head's own.
        channels: of the head's hidden convolutions.
        num_convs: how many of them.
    """

    classes: tuple[str, ...]
    loss_stride: int = 4
    channels: int = 256
    num_convs: int = 3

    def __post_init__(self) -> None:
        check_classes(self.name, self.classes)
        maps.check_stride(self.name, self.loss_stride)
        if not 1 <= len(self.classes) <= IGNORE:
            raise UserError(f"{self.name}: 1 to {IGNORE} classes, received {len(self.classes)}")
        if len(set(self.classes)) != len(self.classes):
            raise UserError(f"{self.name}: classes must be distinct, received {self.classes}")

    def stored_spec(self) -> dict[str, Spec]:
        return {"map": Spec((None, None), "uint8")}

    def missing(self) -> dict[str, np.ndarray]:
        return {"map": np.full((1, 1), IGNORE, np.uint8)}

    def label_spec(self, size: tuple[int, int]) -> dict[str, Spec]:
        return {"map": Spec(tuple(size), "uint8")}

    def warp(self, stored: Mapping[str, Tensor], view: View) -> dict[str, Tensor]:
        seen = sample(stored["map"][:, :, None], view, interpolation="nearest", fill=IGNORE)
        return {"map": seen[:, :, 0]}

    @property
    def features(self) -> tuple[str, ...]:
        return ("P2",)

    def build_head(self, size: tuple[int, int], norm: Mapping[str, Any]) -> keras.Layer:
        maps.check_stride(self.name, self.loss_stride, size)
        return PixelHead(
            len(self.classes),
            channels=self.channels,
            num_convs=self.num_convs,
            norm=norm,
            name=self.name,
        )

    def content(self, stored: Mapping[str, Any], framing: Framing) -> LabelContent:
        """Count pixels; usable are as many as the loss reads of the whole image."""
        classes = np.asarray(stored["map"]).reshape(-1)
        known = classes[classes != IGNORE]
        found = np.bincount(known, minlength=len(self.classes))[: len(self.classes)]
        share = maps.loss_pixels(framing.visible, self.loss_stride) / max(classes.size, 1)
        lost = {_IGNORED: classes.size - known.size} if known.size < classes.size else {}
        return LabelContent(total=classes.size, found=found, usable=found * share, lost=lost)

    def label_weight(self, label: Mapping[str, Tensor]) -> Tensor:
        valid = maps.at_stride(label["map"], self.loss_stride) != IGNORE
        return ops.sum(ops.cast(valid, "float32"), axis=(1, 2))

    def loss(
        self, label: Mapping[str, Tensor], prediction: Any, head: keras.Layer, keys: Tensor
    ) -> Tensor:
        """Softmax cross-entropy, summed over the pixels that have a class."""
        target = ops.cast(maps.at_stride(label["map"], self.loss_stride), "int32")
        size = label["map"].shape[1:3]
        logits = maps.resize_at_stride(prediction["values"], size, self.loss_stride)
        valid = target != IGNORE
        target = ops.where(valid, target, 0)
        log_likelihood = ops.log_softmax(logits, axis=-1)
        entropy = -ops.take_along_axis(log_likelihood, target[..., None], axis=-1)[..., 0]
        return ops.sum(ops.where(valid, entropy, ops.zeros_like(entropy)), axis=(1, 2))

    def outputs(
        self, prediction: Any, head: keras.Layer, map_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        logits = maps.resize(prediction["values"], map_size)
        return {
            "map": ops.cast(maps.largest(logits), "uint8"),
            "confidence": ops.max(ops.softmax(logits, axis=-1), axis=-1),
        }

    @property
    def kind(self) -> str:
        return "map"

    @property
    def unit(self) -> str:
        return ""

    def record_spec(self) -> dict[str, Spec]:
        return {"map": Spec((), "bytes"), "confidence": Spec((), "bytes")}

    def encode(
        self, outputs: Mapping[str, np.ndarray], area: np.ndarray, size: tuple[int, int]
    ) -> dict[str, Any]:
        classes = maps.cut(np.asarray(outputs["map"], np.uint8), area, size)
        confidence = maps.cut(np.asarray(outputs["confidence"], np.float32), area, size)
        return {"map": maps.encode_png(classes), "confidence": maps.encode_png(_byte(confidence))}

    def record_of(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Every pixel is sure; a map with a side above `maps.MAX_STORED_SIDE` becomes coarser."""
        classes = maps.shrink(np.asarray(stored["map"], np.uint8), maps.MAX_STORED_SIDE)
        sure = np.full_like(classes, 255)
        return {"map": maps.encode_png(classes), "confidence": maps.encode_png(sure)}

    def decode(self, record: Mapping[str, Any], threshold: Threshold) -> dict[str, np.ndarray]:
        """The map; pixels under the threshold (one, or one for each class) are ignored.

        All pixels of a class that is dropped are.
        """
        classes = maps.decode_png(record["map"])
        if threshold is None:
            return {"map": classes}
        limits = thresholds_by_class(self.name, threshold, self.classes, lowest=0.0)
        # k / 255 * 255 may be a rounding error above k.
        lowest = np.ceil(255.0 * limits - 1e-9)
        kept = maps.decode_png(record["confidence"]) >= lowest[np.minimum(classes, len(lowest) - 1)]
        return {"map": np.where(kept, classes, IGNORE).astype(np.uint8)}

    takes_threshold: ClassVar[bool] = True

    def check_threshold(self, threshold: Threshold) -> None:
        thresholds_by_class(self.name, threshold, self.classes, lowest=0.0)

    def sketch(self, record: Mapping[str, Any]) -> Sketch:
        """As certain as its pixels are on average."""
        confidence = maps.decode_png(record["confidence"])
        return Sketch(
            certainty=float(confidence.mean() / 255.0),
            pixels=Pixels(classes=maps.decode_png(record["map"]), confidence=confidence),
        )

    foreign_forms: ClassVar[tuple[str, ...]] = ("probabilities", "logits")

    def external_outputs(
        self, values: Any, form: str, map_size: tuple[int, int], **of_detectors: Any
    ) -> dict[str, np.ndarray]:
        """[B, h, w, K], in the order of the task's classes."""
        check_foreign_shape(self.name, values, (None, None, len(self.classes)), form)
        logits = np.asarray(values, np.float32)
        if form == "probabilities":
            check_distribution(self.name, logits, form)
            logits = np.log(np.maximum(logits, 1e-12))
        # Probabilities are resized as logits too, as the column's own teachers do it.
        outputs = self.outputs({"values": logits}, None, map_size)
        return {key: ops.convert_to_numpy(value) for key, value in outputs.items()}

    def evaluator(self) -> Evaluator:
        return _MeanIou(len(self.classes))

    def quality(self) -> Evaluator:
        return _Quality(len(self.classes))

    counted: ClassVar[str] = "share of the pixels with a label"

    def count_classes(self, stored: Mapping[str, Any]) -> np.ndarray:
        """Shares of the image's pixels."""
        classes = np.asarray(stored["map"]).reshape(-1)
        counts = np.bincount(classes[classes != IGNORE], minlength=len(self.classes))
        return counts / max(classes.size, 1)

    def certainty(
        self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> ScoredPredictions:
        """An answer is a pixel's class."""
        known = np.asarray(label["map"]) != IGNORE
        said, true = np.asarray(outputs["map"])[known], np.asarray(label["map"])[known]
        return ScoredPredictions(
            scores=_byte(np.asarray(outputs["confidence"])[known]) / np.float32(255),
            classes=said,
            right=said == true,
            true=np.bincount(true, minlength=len(self.classes)),
        )

    def prior(self) -> TrivialBaseline:
        return _Frequency(len(self.classes))

    kinds: ClassVar[tuple[str, ...]] = ("map",)

    def tell(self, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """{"shares": {class: its share of the pixels}}, the largest first; absent ones not."""
        counts = np.bincount(np.asarray(outputs["map"]).reshape(-1), minlength=len(self.classes))
        shares = counts / counts.sum()
        order = np.argsort(-shares[: len(self.classes)], kind="stable")
        return {"shares": {self.classes[i]: round(float(shares[i]), 4) for i in order if counts[i]}}

    def map_png(self, outputs: Mapping[str, np.ndarray]) -> bytes:
        """8 bits: the class of each pixel."""
        return maps.encode_png(np.asarray(outputs["map"], np.uint8))

    def draw(self, image: np.ndarray, shown: Mapping[str, np.ndarray]) -> np.ndarray:
        """The map in colors over the gray image; black where it is ignored.

        Of outputs the colors are the paler, the less sure they are.
        """
        classes = np.asarray(shown["map"])
        colors = palette(len(self.classes))[np.minimum(classes, len(self.classes) - 1)]
        colors[classes == IGNORE] = 0
        gray = image.mean(-1, keepdims=True)
        sure = np.asarray(shown.get("confidence", np.ones(classes.shape)))[..., None]
        weight = 0.75 * np.where(classes[..., None] == IGNORE, 1.0, sure)
        return np.clip(weight * colors + (1.0 - weight) * gray, 0, 255).astype(np.uint8)


def _byte(confidence: np.ndarray) -> np.ndarray:
    """A confidence in [0, 1] as a record keeps it."""
    # A float32 softmax can be a rounding error above 1.
    return np.floor(255.0 * np.minimum(confidence, 1.0)).astype(np.uint8)


class _Confusion:
    """Counts of (true class, predicted class) over all pixels that have a true class."""

    def __init__(self, num_classes: int):
        self.counts = np.zeros((num_classes, num_classes), np.int64)

    def update(self, true: np.ndarray, predicted: np.ndarray) -> None:
        num_classes = len(self.counts)
        known = (true != IGNORE) & (predicted < num_classes)
        pairs = true[known].astype(np.int64) * num_classes + predicted[known]
        self.counts += np.bincount(pairs, minlength=num_classes**2).reshape(self.counts.shape)

    def mean_iou(self) -> float:
        """Classes that are in neither truth nor prediction are left out."""
        both = np.diag(self.counts)
        either = self.counts.sum(0) + self.counts.sum(1) - both
        return float((both[either > 0] / either[either > 0]).mean()) if either.any() else math.nan


class _MeanIou(Evaluator):
    """miou over the set's summed confusion, and the share of right pixels."""

    def __init__(self, num_classes: int):
        self._confusion = _Confusion(num_classes)

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        self._confusion.update(np.asarray(label["map"]), np.asarray(outputs["map"]))

    def result(self) -> dict[str, float]:
        counts = self._confusion.counts
        right = np.trace(counts) / counts.sum() if counts.sum() else math.nan
        return {"miou": self._confusion.mean_iou(), "pixel_accuracy": float(right)}


class _Quality(Evaluator):
    """The same over the pixels that the pseudo label names, and their share."""

    def __init__(self, num_classes: int):
        self._named = _MeanIou(num_classes)
        self._num_known = self._num_named = 0

    def update(self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]) -> None:
        self._named.update(label, outputs)
        known = np.asarray(label["map"]) != IGNORE
        self._num_known += int(known.sum())
        self._num_named += int((known & (np.asarray(outputs["map"]) != IGNORE)).sum())

    def result(self) -> dict[str, float]:
        share = self._num_named / self._num_known if self._num_known else math.nan
        return self._named.result() | {"labeled_share": share}


class _Frequency(TrivialBaseline):
    """The most frequent class of each pixel of the input."""

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        self._counts: Any = 0

    def update(self, label: Mapping[str, np.ndarray]) -> None:
        classes = np.asarray(label["map"])
        # Class by class: all at once would be K times the size of the batch.
        counts = [(classes == k).sum(0, dtype=np.int32) for k in range(self._num_classes)]
        self._counts = self._counts + np.stack(counts, axis=-1)

    def outputs(self, num_images: int) -> dict[str, np.ndarray]:
        most = self._counts.argmax(-1).astype(np.uint8)
        share = self._counts.max(-1) / np.maximum(self._counts.sum(-1), 1)
        return {
            "map": np.broadcast_to(most, (num_images, *most.shape)),
            "confidence": np.broadcast_to(share, (num_images, *most.shape)).astype(np.float32),
        }
