"""What tasks with a value for every pixel have in common: one map, predicted from the fused P2."""

import abc
import dataclasses
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from must_keras.modeling.heads import PixelHead
from must_keras.ops import maps
from must_keras.ops.letterboxing import cut
from must_keras.ops.views import View, sample
from must_keras.tasks import base
from must_keras.tasks.parts import Arrays, Norm, Size, Spec, Stored, Tensor, Tensors
from must_keras.tasks.summaries import Framing, LabelContent, Lost


class MapLabels(base.Labels):
    """One map, stored and as a label; the nearest pixels through a view.

    Example:
        class Labels(MapLabels):
            key, pixel, unknown = "edges", Spec((), "uint8"), 255
            why_unknown = Lost("unknown (255)")
    """

    key: ClassVar[str]
    """The map's key."""

    pixel: ClassVar[Spec]
    """Shape and dtype of one pixel."""

    unknown: ClassVar[float] = 0
    """Each value of a pixel without a label."""

    why_unknown: ClassVar[Lost]
    """Why a pixel without a label teaches nothing."""

    def stored_spec(self) -> dict[str, Spec]:
        return {self.key: Spec((None, None, *self.pixel.shape), self.pixel.dtype)}

    def missing(self) -> dict[str, np.ndarray]:
        return {self.key: np.full((1, 1, *self.pixel.shape), self.unknown, self.pixel.dtype)}

    def spec(self, size: Size) -> dict[str, Spec]:
        return {self.key: Spec((*size, *self.pixel.shape), self.pixel.dtype)}

    def warp(self, stored: Tensors, view: View) -> dict[str, Tensor]:
        """Return the nearest pixels; here of one value each."""
        values = stored[self.key][:, :, None]
        return {self.key: sample(values, view, interpolation="nearest", fill=self.unknown)[:, :, 0]}

    def known(self, values: Any) -> Any:
        """Return which pixels have a label, bool; of an array or a tensor."""
        return values != self.unknown

    def weight(self, label: Tensors) -> Tensor:
        """Return the number of pixels with a label that the loss reads."""
        known = self.known(maps.at_stride(label[self.key], self.task.loss_stride))
        return ops.sum(ops.cast(known, "float32"), axis=(1, 2))

    def content(self, stored: Stored, framing: Framing) -> LabelContent:
        """Count pixels; usable are as many as the loss reads of the whole image."""
        values = np.asarray(stored[self.key])
        known = self.known(values)
        found = self.count(values[known])
        read = maps.loss_pixels(framing.visible, self.task.loss_stride) / max(known.size, 1)
        lost = {} if known.all() else {self.why_unknown: known.size - np.count_nonzero(known)}
        return LabelContent(total=known.size, found=found, usable=found * read, lost=lost)

    def count(self, known: np.ndarray) -> np.ndarray:
        """Return the number of pixels of each class, [K], among those with a label."""
        return np.array([len(known)])


class MapMixtures(base.Mixtures):
    """Every pixel keeps the label that it has in its own image, with its weight.

    Example:
        Normals(name="surfaces").mixtures.pastes  # True
    """

    pastes: ClassVar[bool] = True

    def pasted(self, label: Tensors, other: Tensors, where: Tensor) -> Tensors:
        def combined(own: Tensor, others: Tensor) -> Tensor:
            rest = [1] * (len(own.shape) - len(where.shape))
            return ops.where(ops.reshape(where, (*where.shape, *rest)), others, own)

        return {key: combined(label[key], other[key]) for key in label}


class MapHead(base.Head):
    """Convolutions on the fused P2, with a value of some channels for every pixel.

    Example:
        class Head(MapHead):
            num_outputs = 3

            def loss(self, label, prediction, layer, keys): ...
    """

    features = ("P2",)
    num_outputs: int
    """Channels of the prediction."""

    bias: float = 0.0
    """Initial value of the prediction."""

    def build(self, size: Size, norm: Norm) -> keras.Layer:
        task = self.task
        maps.check_stride(task.name, task.loss_stride, size)
        return PixelHead(
            self.num_outputs,
            channels=task.channels,
            num_convs=task.num_convs,
            norm=norm,
            bias=self.bias,
            name=task.name,
        )


class MapPredictions(base.Predictions):
    """Predictions of a `MapHead`.

    Example:
        class Predictions(MapPredictions):
            def of_values(self, values):
                return {"edges": ops.sigmoid(values[..., 0])}
    """

    def decode(self, prediction: Any, layer: keras.Layer, map_size: Size) -> dict[str, Tensor]:
        return self.of_values(maps.resize(prediction["values"], map_size))

    @abc.abstractmethod
    def of_values(self, values: Tensor) -> dict[str, Tensor]:
        """Return the prediction of a head's values, [B, H', W', num_outputs]."""


class MapRecords(base.Records):
    """Maps without their padding, one or more of each image.

    Example:
        class Records(MapRecords):
            def encode(self, found):
                return {"edges": maps.encode_png(found["edges"])}
    """

    @abc.abstractmethod
    def encode(self, found: Arrays) -> dict[str, Any]:
        """Return the record of the maps of a prediction or of a stored label."""

    def from_prediction(self, prediction: Arrays, area: np.ndarray, size: Size) -> dict[str, Any]:
        found = {key: cut(np.asarray(value), area, size) for key, value in prediction.items()}
        return self.encode(found)

    def from_label(self, stored: Stored) -> dict[str, Any]:
        """Return the record; a map with a side above `maps.MAX_STORED_SIDE` gets coarser."""
        keys, side = self.task.labels.stored_spec(), maps.MAX_STORED_SIDE
        return self.encode({key: maps.shrink(np.asarray(stored[key]), side) for key in keys})


class MapExternal(base.External):
    """Maps of models that were trained elsewhere, as values of a `MapHead`.

    Example:
        class External(MapExternal):
            def decode(self, values, form, map_size, **of_detectors):
                return self.of_values(values, map_size)
    """

    def of_values(self, values: np.ndarray, map_size: Size) -> Arrays:
        """Return the prediction of values, [B, h, w, num_outputs], resized to a map's size."""
        prediction = self.task.predictions.of_values(maps.resize(values, map_size))
        return {key: ops.convert_to_numpy(value) for key, value in prediction.items()}


@dataclasses.dataclass(frozen=True, kw_only=True)
class MapTask(base.Task):
    """A task with a `MapHead`.

    Attributes:
        loss_stride: pixels between two that the loss reads; 4 is the head's own resolution.
        channels: of the head's hidden convolutions.
        num_convs: how many of them.

    Example:
        Normals(name="surfaces", loss_stride=8)
    """

    loss_stride: int = 4
    channels: int = 256
    num_convs: int = 3

    def __post_init__(self) -> None:
        maps.check_stride(self.name, self.loss_stride)
