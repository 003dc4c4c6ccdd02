"""The interfaces of a task's parts, one subject each.

Metrics, visualization and external models have files of their own.

Shapes: B images, H W pixels of the network's input, h w cells of a level or of a stored map,
N boxes, K classes. Boxes are (ymin, xmin, ymax, xmax), half-open. For "stored", "label",
"prediction" and "record" see tasks/base.py.
"""

import abc
import types
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, NamedTuple

import keras
import numpy as np

from must_keras.ops import Tensor
from must_keras.ops.views import View
from must_keras.tasks.summaries import Framing, LabelContent, Sketch
from must_keras.tasks.thresholds import Threshold, thresholds_by_class

Arrays = Mapping[str, np.ndarray]
Tensors = Mapping[str, Tensor]
Stored = Mapping[str, Any]
"""A stored label, or a record."""

Norm = Mapping[str, Any]
"""Keyword arguments of every keras BatchNormalization."""

Size = tuple[int, int]
"""(height, width)"""


class Spec(NamedTuple):
    """Shape (None: any length) and dtype ("bytes": encoded) of a tensor; some were added later.

    Example:
        Spec((None, None, 3), "float32")  # a map of normals of any size
    """

    shape: tuple[int | None, ...]
    dtype: str
    optional: bool = False


class Part:
    """One subject of a task.

    Args:
        task: its fields are what the methods depend on.

    Example:
        class Legend(Part):
            def text(self):
                return f"{self.task.name}: near is yellow"
    """

    def __init__(self, task: Any):
        self.task = task


class Labels(Part, abc.ABC):
    """Structure of a label, its view, and its content.

    Example:
        Normals(name="facing").labels.spec((64, 64))  # {"normals": Spec((64, 64, 3), "float32")}
    """

    @property
    def classes(self) -> tuple[str, ...]:
        """Names in the order of the indices; empty for a task without classes."""
        return tuple(getattr(self.task, "classes", ()))

    @abc.abstractmethod
    def stored_spec(self) -> dict[str, Spec]:
        """Return the keys of a stored label; `compact` adds an optional one that is absent."""

    @abc.abstractmethod
    def missing(self) -> dict[str, np.ndarray]:
        """Return a stored label in which nothing is labeled."""

    has_length: bool = False
    """Whether values are lengths, which stay as they are where a view enlarges the image."""

    def accepts(self, kind: str) -> bool:
        """Return whether ground truth of a kind can serve the head (see `adapt`)."""
        return kind == self.task.kind

    def adapt(self, stored: Stored, kind: str) -> Stored:
        """Return a stored label of an accepted kind as one of the task's own kind."""
        return stored

    def check_classes(self, stored: Stored) -> None:
        """Raise UserError where a label from outside has a class beyond the task's."""

    def relabel(self, stored: Stored, table: np.ndarray) -> dict[str, Any] | None:
        """Return a label of another class list in the task's own.

        Args:
            stored: of an image that is labeled.
            table: [K'] the task's class of each of the other classes; -1: left out.

        Returns:
            The label without what is of a class that is left out; None where no label remains.
        """
        raise self.task.error(f"labels of kind {self.task.kind!r} have no classes")

    def compact(self, stored: Stored) -> Stored:
        """Return a stored label as it becomes tensors: without what `warp` never reads.

        A label without the optional "weight" of a weighted task has a weight of 1 everywhere.
        """
        return stored

    def num_truncated(self, stored: Stored) -> int:
        """Return how many objects of a stored label exceed the room of a batch; ignored there."""
        return 0

    @abc.abstractmethod
    def spec(self, size: Size) -> dict[str, Spec]:
        """Return the keys of one image's label at an input of (H, W) pixels; no side is None."""

    @abc.abstractmethod
    def warp(self, stored: Tensors, view: View) -> dict[str, Tensor]:
        """Return the label of one image seen through a crop, resize or mirror."""

    @abc.abstractmethod
    def weight(self, label: Tensors) -> Tensor:
        """Return each image's number of valid elements, [B] float32; 0 without a label.

        Pixels for a map; 1 for a labeled image elsewhere. The weights of a weighted task lower the
        loss and not this number; a pixel of weight 0 is not counted.
        """

    content_unit: ClassVar[str] = "pixel"
    """What `content` counts, in the singular: "image", "object" or "pixel"."""

    @abc.abstractmethod
    def content(self, stored: Stored, framing: Framing) -> LabelContent:
        """Count what a stored label contains and what of it can be learned.

        Args:
            stored: of an image that is labeled for the head.
            framing: how large the network receives the image.
        """

    def misfits(self, boxes: np.ndarray, size: int) -> list[str]:
        """Return what of the task's values does not fit its training boxes, a sentence each.

        Args:
            boxes: [N, 4], those of `content` of many labels.
            size: sides of the network's input in pixels.
        """
        return []

    @property
    def teachable(self) -> tuple[str, ...]:
        """Keys of predictions that labels teach one by one; here one, which stands for all.

        The first is taught by every label that is neither missing nor empty.
        """
        return (next(iter(self.stored_spec())),)

    def taught_by(self, stored: Stored) -> tuple[str, ...]:
        """Return which of `teachable` a stored label teaches; a missing or empty one, none.

        Here of a head with one map: all where anything is found in it, at any input size.
        """
        height, width = np.asarray(stored[self.teachable[0]]).shape[:2]
        framing = Framing((height, width), max(height, width))
        return self.teachable if self.content(stored, framing).found.any() else ()

    count_unit: ClassVar[str] = ""
    """What `count_classes` counts in an image, as a table's title."""

    def count_classes(self, stored: Stored) -> np.ndarray | None:
        """Return how much of each class a stored label has, [K]; None without classes.

        Images, objects, or shares of the image.
        """
        return None

    num_groups: int = 1
    """Groups of images in a low-shot subset, which has as many images of each."""

    def group(self, stored: Stored) -> int | None:
        """Return the group in [0, num_groups) of an image; None where it is not labeled.

        Args:
            stored: of an image that is labeled for the head.
        """
        return 0


class Head(Part, abc.ABC):
    """The layer that predicts, and its loss.

    Example:
        Classification(name="kind", classes=("ant", "bee")).head.features  # ("C5",)
    """

    is_regression: ClassVar[bool] = False
    """Whether the loss compares quantities instead of classes."""

    has_rule_weight: ClassVar[bool] = True
    """Whether the scaling rule determines the loss weight; otherwise a recipe must give one."""

    @property
    @abc.abstractmethod
    def features(self) -> tuple[str, ...]:
        """The feature maps that the layer reads: of "C2".."C5", "P2" (fused), "P3".."P7"."""

    @abc.abstractmethod
    def build(self, size: Size, norm: Norm) -> keras.Layer:
        """Return a Keras layer with the task's name for an input of (H, W) pixels.

        It is called on one dict: `self.features`, each [B, h, w, C], and "area", [B, 4], the
        picture without its padding in pixels of the input. It returns a tensor or a (nested)
        dict of tensors, the raw prediction.

        Args:
            size: (H, W).
            norm: keyword arguments of every keras BatchNormalization.
        """

    @abc.abstractmethod
    def loss(self, label: Tensors, prediction: Any, layer: keras.Layer, keys: Tensor) -> Tensor:
        """Return each image's loss, [B] float32, summed over its valid elements; always finite.

        Args:
            label: as `Labels.warp` returns it, batched.
            prediction: the output of `layer`.
            layer: for tasks that run sublayers of it on sampled regions.
            keys: [B] int32, the only source of randomness (see ops/sampling.py).
        """


class Predictions(Part, abc.ABC):
    """Decoding of the layer's output, and the forms in which users get it.

    Example:
        Depth(name="distance").predictions.to_json({"depth": np.ones((4, 4))})
    """

    coordinates: ClassVar[tuple[str, ...]] = ()
    """Keys of positions in pixels, (y, x) in turn on the last axis; serving rescales them."""

    per_pixel: ClassVar[Mapping[str, Literal["nearest", "bilinear"]]] = {}
    """{key of a value for every pixel: how serving resizes it to the image}."""

    has_objects: ClassVar[bool] = False
    """Whether predictions are objects, for which `coco` returns annotations."""

    @abc.abstractmethod
    def decode(self, prediction: Any, layer: keras.Layer, map_size: Size) -> dict[str, Tensor]:
        """Return a layer's output in the units and under the keys of a label, batched, float32.

        Args:
            prediction: the output of `layer` in inference.
            layer: the layer.
            map_size: (H', W') of per-pixel values; coordinates are in pixels of the input.
        """

    def differences(self, one: Arrays, other: Arrays) -> dict[str, float]:
        """Return the largest difference of each continuous value, relative to its size.

        Here of every floating-point value.
        """
        return {
            key: relative_difference(value, other[key])
            for key, value in one.items()
            if value.dtype.kind == "f"
        }

    def agreements(self, one: Arrays, other: Arrays, *, tolerance: float) -> dict[str, float]:
        """Return the share in [0, 1] of equal decisions; here of every integer value.

        Args:
            one: predictions of a batch.
            other: of another copy of the model.
            tolerance: the largest relative difference of continuous values that counts as equal.
        """
        return {
            key: float(np.mean(value == other[key]))
            for key, value in one.items()
            if value.dtype.kind != "f"
        }

    def typed(self, prediction: Arrays, size: Size) -> Any:
        """Return one image's prediction as users get it: see tasks/typed.py.

        Here an object with the prediction's keys as attributes.

        Args:
            prediction: of one image, at the image's own size; coordinates in its pixels.
            size: (height, width) of the image.
        """
        return types.SimpleNamespace(**prediction)

    def to_json(self, prediction: Arrays) -> dict[str, Any]:
        """Return one image's prediction as plain JSON data; maps as their summary.

        Args:
            prediction: of one image, at the image's own size; coordinates in its pixels.
        """
        return {}

    def map_png(self, prediction: Arrays) -> bytes | None:
        """Return one image's per-pixel prediction as PNG; None for a task without one."""
        return None

    def coco(self, prediction: Arrays, size: Size) -> list[dict[str, Any]]:
        """Return the objects of an image of (height, width) pixels as COCO's annotations.

        Without the keys "id" and "image_id"; "category_id" is the class + 1.
        """
        raise NotImplementedError


class Records(Part, abc.ABC):
    """What a pseudo-label dataset stores of an image.

    Example:
        Depth(name="distance").records.spec().keys()  # depth, offset, scale
    """

    @property
    def floor(self) -> float:
        """The lowest score that is stored; no threshold can be below it."""
        return 0.0

    takes_threshold: ClassVar[bool] = False
    """Whether `to_label` takes a threshold; `Metrics.scored_predictions` then has scores."""

    takes_ignore_from: ClassVar[bool] = False
    """Whether `to_label` takes `ignore_from`: what is below the threshold would be background."""

    why_unweighted: ClassVar[str | None] = "have no scores"
    """What keeps scores from being weights ("labels of this kind ..."); None: they can be."""

    @abc.abstractmethod
    def spec(self) -> dict[str, Spec]:
        """Return the keys of a record."""

    @abc.abstractmethod
    def from_prediction(self, prediction: Arrays, area: np.ndarray, size: Size) -> dict[str, Any]:
        """Return the record of one image's prediction (no batch axis).

        Args:
            prediction: decoded; maps may be smaller than the input by a whole factor.
            area: [4], the picture without its padding, in pixels of the input.
            size: (H, W) of the input, to which `area` and coordinates refer.
        """

    def from_label(self, stored: Stored) -> dict[str, Any]:
        """Return the record of a stored label that was made elsewhere, as `to_label` reads it.

        A label without a score counts as certain. Each task documents what has no room.

        Raises:
            UserError: the task cannot store labels that were made elsewhere.
        """
        raise self.task.error(f"labels of kind {self.task.kind!r} made elsewhere cannot be stored")

    @abc.abstractmethod
    def to_label(self, record: Stored, threshold: Threshold) -> dict[str, np.ndarray]:
        """Return a stored label; each task documents what scores below the threshold become."""

    def limits(self, threshold: Threshold) -> np.ndarray:
        """Return the threshold of each class, [K]; scores below the floor are not stored."""
        classes = self.task.classes
        return thresholds_by_class(self.task.name, threshold, classes, lowest=self.floor)

    def check_threshold(self, threshold: Threshold) -> None:
        """Raise UserError where `to_label` takes no such threshold."""
        if self.takes_threshold:
            self.limits(threshold)
        elif threshold is not None:
            raise self.task.error(f"labels of kind {self.task.kind!r} take no threshold")

    def sketch(self, record: Stored) -> Sketch:
        """Return a record in forms that a page can show and compare; here in none of them.

        A record without such a form is shown as `Visualization.visualize` shows it.
        """
        return Sketch()


def relative_difference(one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest absolute difference, relative to the largest value or to 1."""
    return float(np.abs(one - other).max() / max(np.abs(one).max(), 1.0))


def subclasses(of: type) -> list[type]:
    """Return every class below one, each before those below it."""
    return [found for one in of.__subclasses__() for found in (one, *subclasses(one))]
