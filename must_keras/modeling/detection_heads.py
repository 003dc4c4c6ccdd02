"""The heads of a detector: region proposals, boxes with their classes, and masks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from must_keras.modeling.heads import ConfiguredLayer, build_stack, call_stack
from must_keras.ops.precision import full

Tensor = Any


@keras.saving.register_keras_serializable(package="must_keras")
class RegionProposalNetwork(ConfiguredLayer):
    """Hidden 3x3 convolutions and two 1x1 ones, shared by all levels; each level has its BatchNorm.

    Args:
        num_anchors: anchors of a cell.
        channels: width of the hidden convolutions.
        num_convs: number of hidden convolutions.
        norm: keyword arguments of every BatchNormalization.

    Call arguments:
        pyramid: {"P3": [B, h, w, C], ...}.
        training: whether BatchNorm uses the batch's statistics.

    Returns:
        scores [B, A] (logits) and deltas [B, A, 4], float32; anchors in the order of level, row,
        column, anchor of the cell.

    Example:
        rpn = RegionProposalNetwork(num_anchors=3)
        scores, deltas = rpn({"P3": np.zeros((1, 8, 8, 256)), "P4": np.zeros((1, 4, 4, 256))})
        scores.shape  # (1, 240)

    Reference: Faster R-CNN (arXiv 1506.01497).
    """

    arguments = ("num_anchors", "channels", "num_convs", "norm")

    def __init__(
        self,
        *,
        num_anchors: int,
        channels: int = 256,
        num_convs: int = 2,
        norm: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_anchors, self.channels, self.num_convs = num_anchors, channels, num_convs
        self.norm = dict(norm or {})
        self.convs = [self._conv(f"conv{i}") for i in range(num_convs)]
        self.score = self._output(num_anchors, "score")
        self.delta = self._output(4 * num_anchors, "delta")
        # One for each level and convolution: Keras saves lists of layers, not lists of lists.
        self.norms: list[layers.Layer] = []

    def _output(self, filters: int, name: str) -> layers.Layer:
        # Faster R-CNN's initial values: the first proposals are the anchors, all alike.
        start = keras.initializers.RandomNormal(stddev=0.01)
        return layers.Conv2D(
            filters, 1, kernel_initializer=start, dtype=self.dtype_policy, name=name
        )

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        """Create all variables for {level: (B, h, w, C)}."""
        shape = next(iter(input_shape.values()))
        hidden = (None, None, None, self.channels)
        for conv in self.convs:
            conv.build((None, None, None, shape[-1] if conv is self.convs[0] else self.channels))
        last = hidden if self.convs else (None, None, None, shape[-1])
        self.score.build(last)
        self.delta.build(last)
        self.norms = [
            self._norm(f"{level}_norm{i}")
            for level in sorted(input_shape)
            for i in range(self.num_convs)
        ]
        for norm in self.norms:
            norm.build(hidden)

    def call(self, pyramid: Mapping[str, Tensor], training: bool | None = None):
        """See the class."""
        scores, deltas = [], []
        for place, level in enumerate(sorted(pyramid)):
            norms = self.norms[place * self.num_convs : (place + 1) * self.num_convs]
            x = call_stack(self.convs, norms, pyramid[level], training)
            cells = x.shape[1] * x.shape[2]
            scores.append(ops.reshape(self.score(x), (-1, cells * self.num_anchors)))
            deltas.append(ops.reshape(self.delta(x), (-1, cells * self.num_anchors, 4)))
        scores, deltas = (ops.concatenate(values, axis=1) for values in (scores, deltas))
        return ops.cast(scores, full()), ops.cast(deltas, full())


@keras.saving.register_keras_serializable(package="must_keras")
class BoxHead(ConfiguredLayer):
    """3x3 convolutions and a dense layer, each with BatchNorm and ReLU; class scores and boxes.

    Args:
        num_classes: K, without background.
        region: side of a region's features, in cells.
        channels: width of the convolutions.
        num_convs: number of convolutions.
        units: width of the dense layer.
        norm: keyword arguments of every BatchNormalization.

    Call arguments:
        regions: [N, region, region, C].
        training: whether BatchNorm uses the batch's statistics.

    Returns:
        scores [N, K + 1] (logits; 0 is background) and deltas [N, K + 1, 4], float32.

    Example:
        scores, deltas = BoxHead(num_classes=80)(np.zeros((2, 7, 7, 256)))
        deltas.shape  # (2, 81, 4)

    Reference: Fast R-CNN (arXiv 1504.08083), with the "4conv1fc" head of Group Normalization
    (arXiv 1803.08494).
    """

    arguments = ("num_classes", "region", "channels", "num_convs", "units", "norm")

    def __init__(
        self,
        *,
        num_classes: int,
        region: int = 7,
        channels: int = 256,
        num_convs: int = 4,
        units: int = 1024,
        norm: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_classes, self.region, self.channels = num_classes, region, channels
        self.num_convs, self.units, self.norm = num_convs, units, dict(norm or {})
        self.convs = [self._conv(f"conv{i}") for i in range(num_convs)]
        self.dense = layers.Dense(units, use_bias=False, dtype=self.dtype_policy, name="dense")
        self.norms = [self._norm(f"norm{i}") for i in range(num_convs + 1)]
        # Fast R-CNN's initial values.
        self.score = self._output(num_classes + 1, 0.01, "score")
        self.delta = self._output(4 * (num_classes + 1), 0.001, "delta")

    def _output(self, units: int, stddev: float, name: str) -> layers.Layer:
        start = keras.initializers.RandomNormal(stddev=stddev)
        return layers.Dense(units, kernel_initializer=start, dtype=self.dtype_policy, name=name)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create all variables for (N, region, region, C)."""
        shape = (None, self.region, self.region, input_shape[-1])
        channels = build_stack(self.convs, self.norms[:-1], shape)[-1]
        self.dense.build((None, self.region**2 * channels))
        for layer in (self.norms[-1], self.score, self.delta):
            layer.build((None, self.units))

    def call(self, regions: Tensor, training: bool | None = None):
        """See the class."""
        x = call_stack(self.convs, self.norms[:-1], regions, training)
        x = self.dense(ops.reshape(x, (-1, x.shape[1] * x.shape[2] * x.shape[3])))
        x = ops.relu(self.norms[-1](x, training=training))
        deltas = ops.reshape(self.delta(x), (-1, self.num_classes + 1, 4))
        return ops.cast(self.score(x), full()), ops.cast(deltas, full())


@keras.saving.register_keras_serializable(package="must_keras")
class MaskHead(ConfiguredLayer):
    """3x3 convolutions with BatchNorm and ReLU, a 2x2 deconvolution by 2, a mask for each class.

    The last 1x1 convolution is evaluated for the one class that is asked for: K times less work,
    the same numbers.

    Args:
        num_classes: K, without background.
        region: side of a region's features, in cells; a mask has twice as many a side.
        channels: width of the convolutions.
        num_convs: number of convolutions.
        norm: keyword arguments of every BatchNormalization.

    Call arguments:
        regions: [N, region, region, C].
        classes: [N] int32 in [0, K).
        training: whether BatchNorm uses the batch's statistics.

    Returns:
        [N, 2 region, 2 region] logits, float32.

    Example:
        masks = MaskHead(num_classes=80)(np.zeros((2, 14, 14, 256)), np.array([3, 17]))
        masks.shape  # (2, 28, 28)

    Reference: Mask R-CNN (arXiv 1703.06870).
    """

    arguments = ("num_classes", "region", "channels", "num_convs", "norm")

    def __init__(
        self,
        *,
        num_classes: int,
        region: int = 14,
        channels: int = 256,
        num_convs: int = 4,
        norm: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_classes, self.region, self.channels = num_classes, region, channels
        self.num_convs, self.norm = num_convs, dict(norm or {})
        self.convs = [self._conv(f"conv{i}") for i in range(num_convs)]
        self.norms = [self._norm(f"norm{i}") for i in range(num_convs)]
        self.enlarge = layers.Conv2DTranspose(
            channels, 2, strides=2, dtype=self.dtype_policy, name="enlarge"
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create all variables for (N, region, region, C)."""
        shape = (None, self.region, self.region, input_shape[-1])
        self.enlarge.build(build_stack(self.convs, self.norms, shape))
        # The variance of a convolution with `channels` inputs; Keras would count the classes.
        normal = keras.initializers.RandomNormal(stddev=(2.0 / self.channels) ** 0.5)
        self.kernel = self.add_weight(
            shape=(self.num_classes, self.channels), initializer=normal, name="kernel"
        )
        self.bias = self.add_weight(shape=(self.num_classes,), initializer="zeros", name="bias")

    def call(self, regions: Tensor, classes: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        x = ops.relu(self.enlarge(call_stack(self.convs, self.norms, regions, training)))
        side = 2 * self.region
        kernel = ops.take(ops.cast(self.kernel, x.dtype), classes, axis=0)
        bias = ops.take(ops.cast(self.bias, x.dtype), classes)
        x = ops.matmul(ops.reshape(x, (-1, side**2, self.channels)), kernel[:, :, None])
        return ops.cast(ops.reshape(x, (-1, side, side)) + bias[:, None, None], full())
