"""The features of a frozen network as labels: what it computes from the image that the student has.

Ideas of AM-RADIO (arXiv 2312.06709) and UNIC (arXiv 2408.05088); `Head` names what differs.
"""

import dataclasses
from collections.abc import Iterable
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
from must_keras.tasks import parts, self_labeled
from must_keras.tasks.parts import Norm, Size, Tensors

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


@dataclasses.dataclass(frozen=True, kw_only=True)
class Features(self_labeled.SelfLabeledTask):
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
        Features(name="lite0", backbone=EfficientNetLite0())

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
    def labels(self) -> Labels:
        return Labels(self)

    @property
    def head(self) -> Head:
        return Head(self)

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
