"""The features of a frozen network as labels: what it computes from the image that the student has.

Ideas of AM-RADIO (arXiv 2312.06709) and UNIC (arXiv 2408.05088); `Head` names what differs.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Self

import keras
import numpy as np
from keras import ops

from must_keras.errors import UserError, expect
from must_keras.modeling.backbone import Backbone
from must_keras.modeling.feature_head import (
    LEVELS,
    ChannelStatistics,
    FeatureHead,
    teacher_features,
)
from must_keras.modeling.heads import mean_over_area
from must_keras.ops import Tensor
from must_keras.ops.precision import full
from must_keras.tasks import evaluation, parts, self_labeled
from must_keras.tasks.parts import Arrays, Norm, Size, Tensors

# Weights of the two terms of the loss: AM-RADIO's of spatial features, as far as remembered.
_COSINE, _SMOOTH_L1 = 0.9, 0.1


class Labels(self_labeled.SelfLabels):
    """{"C3", "C4": [B, h, w, C], "C5": [B, C], "area": [B, 4]}: features before standardization.

    Example:
        task.prepared((64, 64), batches).labels.label(x, keys)["C5"].shape
    """

    def label(self, x: Tensors, keys: Tensor) -> dict[str, Tensor]:
        features = teacher_features(self.task.teacher.network, x["image"], x["area"])
        features = {level: ops.stop_gradient(values) for level, values in features.items()}
        return features | {"area": ops.cast(x["area"], full())}

    def weight(self, label: Tensors) -> Tensor:
        """Return 1 for each image with any area."""
        area = label["area"]
        return ops.cast(ops.all(area[:, 2:] > area[:, :2], axis=1), "float32")


class Head(parts.Head):
    """A projection for each level, and the distance of standardized features.

    The loss of an image is the mean over the levels; that of a level with cells, P3 and P4, is the
    mean over the cells that are not padding. A distance is 0.9 times the cosine distance of two
    vectors plus 0.1 times the mean smooth L1 loss of their channels, the weights of AM-RADIO, which
    takes the cosine alone for its summary.

    Example:
        Features(name="lite0", backbone=EfficientNetLite0()).head.features  # ("P3", "P4", "C5")
    """

    is_regression: ClassVar[bool] = True
    has_rule_weight: ClassVar[bool] = False

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(LEVELS.values())

    def build(self, size: Size, norm: Norm) -> keras.Layer:
        """Return a layer whose statistics are the teacher's; the task must be prepared."""
        statistics = self.task.teacher.statistics
        channels = {level: len(mean) for level, (mean, _) in statistics.items()}
        return FeatureHead(channels, statistics, size=size, name=self.task.name)

    def loss(self, label: Tensors, prediction: Any, layer: FeatureHead, keys: Tensor) -> Tensor:
        found = []
        for level, values in prediction.items():
            terms = distance(values, layer.standardize(level, label[level]))
            if level != "C5":
                terms = mean_over_area(terms[..., None], label["area"], layer.size)[:, 0]
            found.append(terms)
        mean = sum(found) / len(found)
        return ops.where(self.task.labels.weight(label) > 0.0, mean, ops.zeros_like(mean))


def distance(one: Tensor, other: Tensor) -> Tensor:
    """Return 0.9 (1 - cosine) + 0.1 (mean smooth L1) of vectors: [...] of [..., C].

    The smooth L1 loss of a difference d is d^2 / 2 up to 1, and |d| - 1/2 beyond.
    """
    lengths = [ops.rsqrt(ops.sum(ops.square(v), axis=-1) + 1e-8) for v in (one, other)]
    cosine = ops.sum(one * other, axis=-1) * lengths[0] * lengths[1]
    size = ops.abs(one - other)
    near = ops.minimum(size, 1.0)
    smooth = ops.mean(near * (size - 0.5 * near), axis=-1)
    return _COSINE * (1.0 - cosine) + _SMOOTH_L1 * smooth


@dataclasses.dataclass(frozen=True)
class FrozenTeacher:
    """A network that is not trained, and the statistics of its features.

    Attributes:
        network: a model from images to {"C2", ..., "C5"}.
        statistics: {level: mean and deviation of each channel}.

    Example:
        FrozenTeacher(backbone, {"C3": (mean, deviation), "C4": ..., "C5": ...})
    """

    network: keras.Model
    statistics: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def size(self) -> Size:
        """(H, W) of its input in pixels."""
        return tuple(self.network.input_shape[1:3])

    def directions(self, label: Arrays) -> dict[str, np.ndarray]:
        """Return the standardized features of a label, each vector scaled to length 1."""
        moments = self.statistics.items()
        return {level: _unit((label[level] - mean) / dev) for level, (mean, dev) in moments}


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


class Evaluator(evaluation.Evaluator):
    """The mean cosine similarity of predicted and standardized features over images, [-1, 1].

    That of an image is the mean over the levels; that of a level with cells, the mean over the
    cells that are not padding.

    Args:
        teacher: of a prepared task.

    Example:
        evaluator = task.metrics.evaluator()
        evaluator.update(label, prediction)
        evaluator.result()  # {"cosine_similarity": 0.41}
    """

    metrics = (evaluation.Metric("cosine_similarity", better="higher", range=(-1.0, 1.0)),)

    def __init__(self, teacher: FrozenTeacher):
        self._teacher, self._sum, self._count = teacher, 0.0, 0

    def update(self, label: Arrays, prediction: Arrays) -> None:
        area, found = np.asarray(label["area"]), []
        for level, wanted in self._teacher.directions(label).items():
            cosines = np.sum(wanted * _unit(np.asarray(prediction[level])), axis=-1)
            if level != "C5":
                means = mean_over_area(cosines[..., None], area, self._teacher.size)
                cosines = np.asarray(means)[:, 0]
            found.append(cosines)
        is_shown = np.all(area[:, 2:] > area[:, :2], axis=1)
        self._sum += float(np.mean(found, axis=0)[is_shown].sum())
        self._count += int(is_shown.sum())

    def values(self) -> Sequence[float]:
        return [self._sum / self._count if self._count else float("nan")]


class TrivialBaseline(evaluation.TrivialBaseline):
    """For each cell the sum of the directions of training images: the best constant prediction.

    Args:
        teacher: of a prepared task.

    Example:
        baseline = task.metrics.trivial_baseline()
        baseline.update(label)
        baseline.predict(2)["C5"].shape  # (2, 1280)
    """

    def __init__(self, teacher: FrozenTeacher):
        self._teacher, self._sums = teacher, dict[str, np.ndarray]()

    def update(self, label: Arrays) -> None:
        for level, directions in self._teacher.directions(label).items():
            self._sums[level] = self._sums.get(level, 0.0) + directions.sum(axis=0)

    def prediction(self) -> Mapping[str, np.ndarray]:
        return self._sums


class Metrics(evaluation.Metrics):
    """The similarity to the features of the frozen network.

    Example:
        Features(name="lite0", backbone=EfficientNetLite0()).metrics.evaluator().metrics[0].name
    """

    def evaluator(self) -> Evaluator:
        return Evaluator(self.task.teacher)

    def trivial_baseline(self) -> TrivialBaseline:
        return TrivialBaseline(self.task.teacher)


class _OfFeatures(self_labeled.SelfLabeledTask):
    """Features as labels, computed in the step or contained in a file."""

    @property
    def labels(self) -> Labels:
        return Labels(self)

    @property
    def head(self) -> Head:
        return Head(self)


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedFeatures(_OfFeatures):
    """The loss of features that a file contains, without the network that computed them.

    Example:
        task = Features(name="lite0", backbone=EfficientNetLite0()).recorded()
        task.head.loss(label, prediction, layer, keys)
    """

    def recorded(self) -> Self:
        return self

    def get_config(self) -> dict[str, Any]:
        """Return the fields as plain values."""
        return {"name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the task of some fields."""
        return cls(**config)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features(_OfFeatures):
    """The features of a frozen backbone, computed in the step from the student's own view.

    The teacher receives the pixels that the student receives, at the student's size. Its C3 and C4
    are predicted from the student's P3 and P4, cell by cell, and the mean of its C5 over the image
    from that of the student's C5. Features are standardized, each channel by its mean and variance
    over the first `num_images` images of the student's training (rounded up to whole batches).

    Attributes:
        backbone: with a checkpoint: Pretrained(...), KerasBackbone(...) or EfficientNetLite0().
        num_images: images that the statistics are taken of.
        teacher: what `prepared` computes; no value of a recipe.

    Raises:
        UserError: a value is of another type or range, or the backbone has no checkpoint.

    Example:
        mk.Features(name="lite0", backbone=mk.EfficientNetLite0())

    Reference: AM-RADIO (arXiv 2312.06709) for cosine, smooth L1 and projections, UNIC (arXiv
    2408.05088) for standardized teachers. Here the statistics are fixed before the first step, so
    that a label depends on the image alone, and a convolutional teacher has two levels with cells.
    """

    backbone: Backbone
    num_images: int = 512
    teacher: FrozenTeacher | None = dataclasses.field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        where = f"self-labeled task {self.name!r}"
        expect(where, self, name=str, backbone=Backbone, num_images=Integral)
        if not self.backbone.has_checkpoint:
            raise UserError(
                f"{where}: a {type(self.backbone).__name__} has no checkpoint, and random features "
                "teach nothing; give a Pretrained(...), KerasBackbone(...) or EfficientNetLite0()"
            )
        if self.num_images < 2:
            raise UserError.of(where, "num_images", self.num_images, "at least 2 are needed")

    @property
    def metrics(self) -> Metrics:
        return Metrics(self)

    def recorded(self) -> RecordedFeatures:
        return RecordedFeatures(name=self.name)

    def preflight(self) -> None:
        """Raise UserError where the network cannot be built."""
        self._network(None)

    def _network(self, size: Size | None) -> keras.Model:
        network = self.backbone.build(size, {}, name=f"{self.name}_teacher")
        network.set_weights(self.backbone.checkpoint())
        network.trainable = False
        return network

    def prepared(self, size: Size, inputs: Iterable[Tensors]) -> Self:
        """Return the task with the network, and the statistics of its features."""
        network = self._network(size)
        statistics, missing = ChannelStatistics(), self.num_images
        for x in inputs:
            found = teacher_features(network, x["image"], x["area"])
            statistics.add(found, x["area"], size=size)
            missing -= len(x["area"])
            if missing <= 0:
                break
        return dataclasses.replace(self, teacher=FrozenTeacher(network, statistics.result()))

    def describe(self) -> dict[str, Any]:
        """Return the fields, and what identifies the teacher's weights."""
        return super().describe() | {"sha256": self.backbone.checkpoint_sha256()}
