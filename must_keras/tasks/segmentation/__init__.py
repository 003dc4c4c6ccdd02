"""Semantic segmentation: a class for every pixel; `Segmentation`, at the end, lists its parts."""

import dataclasses
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from must_keras.errors import UserError, check_classes
from must_keras.ops import maps
from must_keras.ops.views import View, sample
from must_keras.tasks import base, pixel_maps
from must_keras.tasks.parts import Arrays, Size, Spec, Stored, Tensor, Tensors
from must_keras.tasks.segmentation.metrics import IGNORE, Metrics
from must_keras.tasks.summaries import Lost, Pixels, Sketch
from must_keras.tasks.thresholds import Threshold
from must_keras.tasks.typed import ClassMap
from must_keras.tasks.visualization import Swatch, class_swatches, palette

# The byte of a confidence of 1.
CERTAIN = 255


class Labels(pixel_maps.MapLabels):
    """{"map": [H, W] uint8}, 255 where the class is unknown.

    Labels of a weighted task have "weight" as well, [h, w] uint8 of any size when stored: the
    factor of each pixel's loss in 255ths, the confidence of a pseudo label.

    Example:
        Segmentation(name="parts", classes=("wall", "floor")).labels.missing()
    """

    key = "map"
    pixel = Spec((), "uint8")
    unknown = IGNORE
    why_unknown = Lost(
        f"unknown ({IGNORE}, or a value that the source ignores)",
        f"if {IGNORE} stands for a class in the files, give the source the value of each class, "
        f"for example values=(0, {IGNORE})",
    )

    def stored_spec(self) -> dict[str, Spec]:
        weight = {"weight": Spec((None, None), "uint8", optional=True)}
        return super().stored_spec() | (weight if self.task.weighted else {})

    def missing(self) -> dict[str, np.ndarray]:
        weight = {"weight": np.zeros((1, 1), np.uint8)} if self.task.weighted else {}
        return super().missing() | weight

    def compact(self, stored: Stored) -> dict[str, Any]:
        """Return the label; without weights, one certain pixel stands for all of the image."""
        weight = {"weight": np.full((1, 1), CERTAIN, np.uint8)} if self.task.weighted else {}
        return {**weight, **stored}

    def spec(self, size: Size) -> dict[str, Spec]:
        weight = {"weight": Spec(size, "uint8", optional=True)} if self.task.weighted else {}
        return super().spec(size) | weight

    def warp(self, stored: Tensors, view: View) -> dict[str, Tensor]:
        """Return the nearest pixels, and their weights."""
        label = super().warp(stored, view)
        if "weight" not in stored:
            return label
        weights = stored["weight"][:, :, None]
        # Padding has no class: the weight there does not matter.
        weights = sample(weights, view, interpolation="nearest", fill=CERTAIN)
        return label | {"weight": weights[:, :, 0]}

    def weight(self, label: Tensors) -> Tensor:
        if "weight" not in label:
            return super().weight(label)
        known = ops.where(label["weight"] > 0, label["map"], IGNORE)
        return super().weight({"map": known})

    def check_classes(self, stored: Stored) -> None:
        classes, count = np.asarray(stored["map"]), len(self.classes)
        odd = classes[(classes != IGNORE) & ((classes < 0) | (classes >= count))]
        if odd.size:
            raise UserError(
                f"class {odd[0]} is in its map; classes are 0 to {count - 1}, {IGNORE} is ignored"
            )

    def relabel(self, stored: Stored, table: np.ndarray) -> dict[str, Any]:
        """Return the map; pixels of a class that is left out are ignored."""
        bytes_ = np.full(256, IGNORE, np.uint8)
        bytes_[: len(table)] = np.where(table >= 0, table, IGNORE)
        return dict(stored) | {"map": bytes_[stored["map"]]}

    def count(self, known: np.ndarray) -> np.ndarray:
        return np.bincount(known, minlength=len(self.classes))[: len(self.classes)]

    count_unit: ClassVar[str] = "share of the pixels with a label"

    def count_classes(self, stored: Stored) -> np.ndarray:
        """Return shares of the image's pixels."""
        classes = np.asarray(stored["map"]).reshape(-1)
        counts = np.bincount(classes[classes != IGNORE], minlength=len(self.classes))
        return counts / max(classes.size, 1)


class Head(pixel_maps.MapHead):
    """Convolutions on P2, and softmax cross-entropy summed over the pixels that have a class.

    Where a label has weights, each pixel's cross-entropy is multiplied by its own. The sum is
    divided by the number of pixels (see Labels.weight) and not by the sum of their weights: less
    certain labels lower the loss instead of only shifting it to the certain ones.

    Reference: CW-BASS (arXiv 2502.15152) weights pixels by confidence as one of its four changes.

    Example:
        norm = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
        Segmentation(name="parts", classes=("wall", "floor")).head.build((64, 64), norm)
    """

    @property
    def num_outputs(self) -> int:
        return len(self.task.classes)

    def loss(self, label: Tensors, prediction: Any, layer: keras.Layer, keys: Tensor) -> Tensor:
        stride, size = self.task.loss_stride, label["map"].shape[1:3]
        target = ops.cast(maps.at_stride(label["map"], stride), "int32")
        logits = maps.resize_at_stride(prediction["values"], size, stride)
        valid = target != IGNORE
        target = ops.where(valid, target, 0)
        log_likelihood = ops.log_softmax(logits, axis=-1)
        entropy = -ops.take_along_axis(log_likelihood, target[..., None], axis=-1)[..., 0]
        if self.task.class_weights is not None:
            of_classes = ops.convert_to_tensor(self.task.class_weights, entropy.dtype)
            entropy = entropy * ops.take(of_classes, target, axis=0)
        if "weight" in label:
            weights = maps.at_stride(label["weight"], stride)
            entropy = entropy * (ops.cast(weights, entropy.dtype) / CERTAIN)
        return ops.sum(ops.where(valid, entropy, ops.zeros_like(entropy)), axis=(1, 2))


class Predictions(pixel_maps.MapPredictions):
    """{"map": [B, H, W] uint8, "confidence": [B, H, W] in [0, 1]}.

    Example:
        task = Segmentation(name="parts", classes=("wall", "floor"))
        task.predictions.to_json({"map": np.zeros((64, 64), np.uint8)})
    """

    per_pixel: ClassVar = {"map": "nearest", "confidence": "bilinear"}

    def of_values(self, values: Tensor) -> dict[str, Tensor]:
        return {
            "map": ops.cast(maps.largest(values), "uint8"),
            "confidence": ops.max(ops.softmax(values, axis=-1), axis=-1),
        }

    def typed(self, prediction: Arrays, size: Size) -> ClassMap:
        return ClassMap(**prediction, class_names=self.task.classes)

    def to_json(self, prediction: Arrays) -> dict[str, Any]:
        """Return {"shares": {class: its share of the pixels}}, the largest first."""
        classes = self.task.classes
        counts = np.bincount(np.asarray(prediction["map"]).reshape(-1), minlength=len(classes))
        shares = counts / counts.sum()
        order = np.argsort(-shares[: len(classes)], kind="stable")
        return {"shares": {classes[i]: round(float(shares[i]), 4) for i in order if counts[i]}}

    def map_png(self, prediction: Arrays) -> bytes:
        """Return 8 bits: the class of each pixel."""
        return maps.encode_png(np.asarray(prediction["map"], np.uint8))


class Records(pixel_maps.MapRecords):
    """The map, and its confidence in a byte.

    Example:
        Segmentation(name="parts", classes=("wall", "floor")).records.spec()
    """

    takes_threshold: ClassVar[bool] = True
    why_unweighted: ClassVar[str | None] = None

    def spec(self) -> dict[str, Spec]:
        return {"map": Spec((), "bytes"), "confidence": Spec((), "bytes")}

    def encode(self, found: Arrays) -> dict[str, Any]:
        """Return the record; the pixels of a label made elsewhere are certain."""
        classes = found["map"].astype(np.uint8)
        certain = np.ones(classes.shape, np.float32)
        confidence = maps.as_byte(found.get("confidence", certain).astype(np.float32))
        return {"map": maps.encode_png(classes), "confidence": maps.encode_png(confidence)}

    def to_label(self, record: Stored, threshold: Threshold) -> dict[str, np.ndarray]:
        """Return the map; pixels under the threshold of their class are ignored.

        All pixels of a class that is dropped are. The weight of a pixel is its confidence.
        """
        classes = maps.decode_png(record["map"])
        if threshold is None and not self.task.weighted:
            return {"map": classes}
        confidence = maps.decode_png(record["confidence"])
        weight = {"weight": confidence} if self.task.weighted else {}
        if threshold is None:
            return {"map": classes} | weight
        kept = Pixels(classes=classes, confidence=confidence).kept(self.limits(threshold))
        return {"map": np.where(kept, classes, IGNORE).astype(np.uint8)} | weight

    def sketch(self, record: Stored) -> Sketch:
        """Return the pixels, whose certainty is their mean confidence."""
        confidence = maps.decode_png(record["confidence"])
        pixels = Pixels(classes=maps.decode_png(record["map"]), confidence=confidence)
        return Sketch(certainty=float(confidence.mean() / 255.0), pixels=pixels)


class Visualization(base.Visualization):
    """A color for each class.

    Example:
        Segmentation(name="parts", classes=("wall", "floor")).visualization.swatches()
    """

    legend: ClassVar[str] = "black has no label, pale is uncertain"

    def swatches(self, *shown: Arrays) -> list[Swatch]:
        return class_swatches(self.task.classes, [one["map"] for one in shown] or None)

    def visualize(self, image: np.ndarray, shown: Arrays) -> np.ndarray:
        """Return the map in colors over the gray image: the paler, the less certain."""
        classes, num_classes = np.asarray(shown["map"]), len(self.task.classes)
        colors = palette(num_classes)[np.minimum(classes, num_classes - 1)]
        colors[classes == IGNORE] = 0
        gray = image.mean(-1, keepdims=True)
        confidence = np.asarray(shown.get("confidence", np.ones(classes.shape)))[..., None]
        weight = 0.75 * np.where(classes[..., None] == IGNORE, 1.0, confidence)
        return np.clip(weight * colors + (1.0 - weight) * gray, 0, 255).astype(np.uint8)


class External(pixel_maps.MapExternal):
    """[B, h, w, K] probabilities or logits, in the order of the task's classes.

    Example:
        Segmentation(name="parts", classes=("wall", "floor")).external.forms
    """

    forms: ClassVar[tuple[str, ...]] = ("probabilities", "logits")

    def decode(self, values: Any, form: str, map_size: Size, **of_detectors: Any) -> Arrays:
        self.check_shape(values, (None, None, len(self.task.classes)), form)
        logits = np.asarray(values, np.float32)
        if form == "probabilities":
            self.check_distribution(logits, form)
            logits = np.log(np.maximum(logits, 1e-12))
        # Probabilities are resized as logits too, as those of our own teachers are.
        return self.of_values(logits, map_size)


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Segmentation(pixel_maps.MapTask):
    """Which of K classes each pixel shows.

    Attributes:
        classes: names, in the order of the values; at most 255.
        loss_stride: pixels between two that the loss reads; 4 is the head's own resolution.
        channels: of the head's hidden convolutions.
        num_convs: how many of them.
        class_weights: factor of the cross-entropy of each class's pixels, in ground truth and
            pseudo labels; losses are not divided by it. None: 1 each. See balanced_class_weights.

    Example:
        mk.Segmentation(name="parts", classes=("wall", "floor"), loss_stride=8)
    """

    classes: tuple[str, ...]
    class_weights: tuple[float, ...] | None = None

    added: ClassVar[tuple[str, ...]] = (*base.Task.added, "class_weights")
    kind: ClassVar[str] = "map"
    hub_task: ClassVar[str] = "image-segmentation"
    parts = (
        Labels, Head, Predictions, Records, Metrics, Visualization, External,
        pixel_maps.MapMixtures,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_classes(self.name, self.classes)
        super().__post_init__()
        if not 1 <= len(self.classes) <= IGNORE:
            raise self.error(f"1 to {IGNORE} classes, received {len(self.classes)}")
        self.check_distinct()
        self.check_class_weights(self.class_weights)
