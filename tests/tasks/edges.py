"""A task of its own in one file, as a user would write it: where do two classes of a map meet?

Not a test: tests/test_sixth_task.py drives it through all stages.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from must_keras.data.sources import LabelSpace, Source
from must_keras.ops import maps
from must_keras.ops.letterboxing import cut
from must_keras.tasks import base
from must_keras.tasks.evaluation import Evaluator, TrivialBaseline, error, share
from must_keras.tasks.parts import Spec
from must_keras.tasks.pixel_maps import MapHead, MapLabels, MapPredictions, MapTask
from must_keras.tasks.summaries import Lost

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


class Labels(MapLabels):
    """{"edges": [H, W] uint8}: 1 on an edge, 0 elsewhere, 255 where it is unknown."""

    key = "edges"
    pixel = Spec((), "uint8")
    unknown = UNKNOWN
    why_unknown = Lost("unknown")


class Head(MapHead):
    """Convolutions on P2, and cross-entropy of the known pixels."""

    num_outputs = 1

    def loss(self, label, prediction, layer, keys):
        stride, size = self.task.loss_stride, label["edges"].shape[1:3]
        target = maps.at_stride(label["edges"], stride)
        logits = maps.resize_at_stride(prediction["values"], size, stride)[..., 0]
        entropy = ops.softplus(logits) - logits * ops.cast(target == 1, logits.dtype)
        return ops.sum(ops.where(target != UNKNOWN, entropy, 0.0), axis=(1, 2))


class Predictions(MapPredictions):
    """{"edges": [B, H, W], the probability of an edge}."""

    per_pixel: ClassVar[Mapping[str, Any]] = {"edges": "bilinear"}

    def of_values(self, values):
        return {"edges": ops.sigmoid(values[..., 0])}

    def to_json(self, prediction):
        return {"share": round(float((prediction["edges"] >= 0.5).mean()), 4)}

    def map_png(self, prediction):
        return maps.encode_png(np.round(255 * prediction["edges"]).astype(np.uint8))


class Records(base.Records):
    """The edges as PNG."""

    def spec(self):
        return {"edges": Spec((), "bytes")}

    def from_prediction(self, prediction, area, size):
        probability = cut(np.asarray(prediction["edges"]), area, size)
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

    def prediction(self):
        return {"edges": (self._sum / max(self._count, 1)).astype(np.float32)}


class Metrics(base.Metrics):
    """Errors, compared with each pixel's frequency."""

    def evaluator(self):
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
class Edges(MapTask):
    """Whether the class of a map changes at a pixel."""

    channels: int = 4
    num_convs: int = 1

    kind: ClassVar[str] = "edges"
    parts = (Labels, Head, Predictions, Records, Metrics, Visualization)
