"""A task of its own in one file, as a user would write it: where do two classes of a map meet?

Not a test: tests/test_sixth_task.py drives it through all stages.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from must_keras.data.sources import LabelSpace, Source
from must_keras.modeling.heads import PixelHead
from must_keras.ops import letterboxing, maps
from must_keras.ops.views import sample
from must_keras.tasks import base
from must_keras.tasks.evaluation import Evaluator, TrivialBaseline, error, share
from must_keras.tasks.parts import Spec
from must_keras.tasks.summaries import LabelContent

UNKNOWN = 255


def edges_of(classes: np.ndarray) -> np.ndarray:
    """Return 1 where the pixel to the right or below is of another class, [H, W] uint8."""
    found = np.zeros(classes.shape, np.uint8)
    found[:, :-1] |= classes[:, :-1] != classes[:, 1:]
    found[:-1] |= classes[:-1] != classes[1:]
    return found


class EdgesOf(Source):
    """The images of a source with maps of classes, labeled with the edges of its maps."""

    def __init__(self, source: Source, *, head: str):
        self.name, self._source, self._head = source.name, source, head
        self.label_spaces = {head: LabelSpace("edges")}

    def __len__(self) -> int:
        return len(self._source)

    def image_id(self, index: int) -> str:
        return self._source.image_id(index)

    def image(self, index: int) -> np.ndarray:
        return self._source.image(index)

    def labels(self, index: int) -> dict[str, dict[str, np.ndarray]]:
        found = self._source.labels(index)[self._head]
        return {self._head: {"edges": edges_of(found["map"])}}

    def describe(self) -> dict[str, Any]:
        return {"edges of": self._source.describe()}


class Labels(base.Labels):
    """{"edges": [H, W] uint8}: 1 on an edge, 0 elsewhere, 255 where it is unknown."""

    def stored_spec(self):
        return {"edges": Spec((None, None), "uint8")}

    def missing(self):
        return {"edges": np.full((1, 1), UNKNOWN, np.uint8)}

    def spec(self, size):
        return {"edges": Spec(tuple(size), "uint8")}

    def warp(self, stored, view):
        seen = sample(stored["edges"][:, :, None], view, interpolation="nearest", fill=UNKNOWN)
        return {"edges": seen[:, :, 0]}

    def weight(self, label):
        known = maps.at_stride(label["edges"], self.task.loss_stride) != UNKNOWN
        return ops.sum(ops.cast(known, "float32"), axis=(1, 2))

    def content(self, stored, framing):
        edges = np.asarray(stored["edges"])
        known = np.array([np.count_nonzero(edges != UNKNOWN)])
        return LabelContent(total=edges.size, found=known, usable=known, lost={})


class Head(base.Head):
    """Convolutions on P2, and cross-entropy of the known pixels."""

    features = ("P2",)

    def build(self, size, norm):
        return PixelHead(1, channels=4, num_convs=1, norm=norm, name=self.task.name)

    def loss(self, label, prediction, layer, keys):
        stride, size = self.task.loss_stride, label["edges"].shape[1:3]
        target = maps.at_stride(label["edges"], stride)
        logits = maps.resize_at_stride(prediction["values"], size, stride)[..., 0]
        entropy = ops.softplus(logits) - logits * ops.cast(target == 1, logits.dtype)
        return ops.sum(ops.where(target != UNKNOWN, entropy, 0.0), axis=(1, 2))


class Predictions(base.Predictions):
    """{"edges": [B, H, W], the probability of an edge}."""

    per_pixel: ClassVar[Mapping[str, Any]] = {"edges": "bilinear"}

    def decode(self, prediction, layer, map_size):
        return {"edges": ops.sigmoid(maps.resize(prediction["values"], map_size)[..., 0])}

    def to_json(self, prediction):
        return {"share": round(float((prediction["edges"] >= 0.5).mean()), 4)}

    def map_png(self, prediction):
        return maps.encode_png(np.round(255 * prediction["edges"]).astype(np.uint8))


class Records(base.Records):
    """The edges as PNG."""

    def spec(self):
        return {"edges": Spec((), "bytes")}

    def from_prediction(self, prediction, area, size):
        probability = letterboxing.cut(np.asarray(prediction["edges"]), area, size)
        return {"edges": maps.encode_png((probability >= 0.5).astype(np.uint8))}

    def from_label(self, stored):
        return {"edges": maps.encode_png(np.asarray(stored["edges"]))}

    def to_label(self, record, threshold):
        self.check_threshold(threshold)
        return {"edges": maps.decode_png(record["edges"])}


class EdgeErrors(Evaluator):
    """The share of wrong pixels, of which fewer are better, and the share of edges found."""

    metrics = (error("edge_error", highest=1.0), share("edge_recall"))

    def __init__(self) -> None:
        self._wrong = self._known = self._found = self._edges = 0

    def update(self, label, prediction):
        true, predicted = np.asarray(label["edges"]), np.asarray(prediction["edges"])
        known = (true != UNKNOWN) & (predicted != UNKNOWN)
        true, predicted = true[known] == 1, predicted[known] >= 0.5
        self._known += true.size
        self._wrong += int((true != predicted).sum())
        self._edges += int(true.sum())
        self._found += int((true & predicted).sum())

    def values(self):
        return [
            self._wrong / self._known if self._known else math.nan,
            self._found / self._edges if self._edges else math.nan,
        ]


class EdgeFrequency(TrivialBaseline):
    """Each pixel's share of edges over the training labels."""

    def __init__(self) -> None:
        self._sum: Any = 0.0
        self._count = 0

    def update(self, label):
        self._sum = self._sum + (label["edges"] == 1).sum(0)
        self._count += len(label["edges"])

    def predict(self, num_images):
        mean = (self._sum / max(self._count, 1)).astype(np.float32)
        return {"edges": np.broadcast_to(mean, (num_images, *mean.shape))}


class Metrics(base.Metrics):
    """Errors, compared with each pixel's frequency."""

    def evaluator(self):
        return EdgeErrors()

    def quality(self):
        return EdgeErrors()

    def trivial_baseline(self):
        return EdgeFrequency()


class Visualization(base.Visualization):
    """Edges in white."""

    legend: ClassVar[str] = "edges are white"

    def visualize(self, image, shown):
        edges = np.asarray(shown["edges"], np.float32)
        gray = np.where(edges == UNKNOWN, 0.5, edges)
        return np.repeat((255 * gray).astype(np.uint8)[..., None], 3, axis=-1)


@keras.saving.register_keras_serializable(package="tests")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Edges(base.Task):
    """Whether the class of a map changes at a pixel."""

    loss_stride: int = 4

    kind: ClassVar[str] = "edges"
    labels = property(Labels)
    head = property(Head)
    predictions = property(Predictions)
    records = property(Records)
    metrics = property(Metrics)
    visualization = property(Visualization)
