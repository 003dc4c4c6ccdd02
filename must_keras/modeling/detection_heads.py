"""The heads of a detector: proposals, boxes with classes, masks; and ROIAlign, their input."""

import itertools
from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from must_keras.modeling.heads import ConfiguredLayer, build_stack, call_stack
from must_keras.ops import Tensor
from must_keras.ops import boxes as box_ops
from must_keras.ops.precision import full


class ConvolutionalHead(ConfiguredLayer):
    """A head that begins with 3x3 convolutions, of which none has a bias: BatchNorm follows.

    Args:
        channels: width of the convolutions.
        num_convs: number of convolutions.
        norm: keyword arguments of every BatchNormalization.

    Example:
        class Score(ConvolutionalHead):
            def __init__(self, **kwargs):
                super().__init__(channels=64, num_convs=2, **kwargs)
                self.score = layers.Conv2D(1, 1)
    """

    def __init__(
        self,
        *,
        channels: int = 256,
        num_convs: int = 4,
        norm: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.channels, self.num_convs, self.norm = channels, num_convs, dict(norm or {})
        self.convs = [self._conv(f"conv{i}") for i in range(num_convs)]

    def _output(self, layer: type, *sides: int, stddev: float, name: str) -> layers.Layer:
        """Return a layer with outputs near 0: the first proposals are the anchors, all alike."""
        start = keras.initializers.RandomNormal(stddev=stddev)
        return layer(*sides, kernel_initializer=start, dtype=self.dtype_policy, name=name)


@keras.saving.register_keras_serializable(package="must_keras")
class RegionProposalNetwork(ConvolutionalHead):
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

    def __init__(self, *, num_anchors: int, num_convs: int = 2, **kwargs: Any):
        super().__init__(num_convs=num_convs, **kwargs)
        self.num_anchors = num_anchors
        # Faster R-CNN's initial values.
        self.score = self._output(layers.Conv2D, num_anchors, 1, stddev=0.01, name="score")
        self.delta = self._output(layers.Conv2D, 4 * num_anchors, 1, stddev=0.01, name="delta")
        # One for each level and convolution: Keras saves lists of layers, not lists of lists.
        self.norms: list[layers.Layer] = []

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        """Create all variables for {level: (B, h, w, C)}."""
        shape = (None, None, None, next(iter(input_shape.values()))[-1])
        for conv in self.convs:
            conv.build(shape)
            shape = (None, None, None, self.channels)
        self.score.build(shape)
        self.delta.build(shape)
        places = itertools.product(sorted(input_shape), range(self.num_convs))
        self.norms = [self._norm(f"{level}_norm{i}") for level, i in places]
        for norm in self.norms:
            norm.build(shape)

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
class BoxHead(ConvolutionalHead):
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

    def __init__(self, *, num_classes: int, region: int = 7, units: int = 1024, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes, self.region, self.units = num_classes, region, units
        self.dense = layers.Dense(units, use_bias=False, dtype=self.dtype_policy, name="dense")
        self.norms = [self._norm(f"norm{i}") for i in range(self.num_convs + 1)]
        # Fast R-CNN's initial values.
        self.score = self._output(layers.Dense, num_classes + 1, stddev=0.01, name="score")
        self.delta = self._output(layers.Dense, 4 * (num_classes + 1), stddev=0.001, name="delta")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create all variables for (N, region, region, C)."""
        channels = build_stack(self.convs, self.norms[:-1], tuple(input_shape))[-1]
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
class MaskHead(ConvolutionalHead):
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

    def __init__(self, *, num_classes: int, region: int = 14, **kwargs: Any):
        super().__init__(**kwargs)
        self.num_classes, self.region = num_classes, region
        self.norms = [self._norm(f"norm{i}") for i in range(self.num_convs)]
        self.enlarge = layers.Conv2DTranspose(
            self.channels, 2, strides=2, dtype=self.dtype_policy, name="enlarge"
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create all variables for (N, region, region, C)."""
        self.enlarge.build(build_stack(self.convs, self.norms, tuple(input_shape)))
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


# Samples a side of each bin, averaged: Mask R-CNN's 2 x 2.
_SAMPLES = 2
# The level of a region whose side is `unit` (Feature Pyramid Networks, arXiv 1612.03144, eq. 1).
_CANONICAL_LEVEL = 4


def region_levels(boxes: Tensor, *, unit: float, lowest: int, highest: int) -> Tensor:
    """Return the pyramid level of each region: floor(log2(sqrt(area) / unit)) + 4, clipped.

    Args:
        boxes: [..., 4].
        unit: side, in the boxes' unit, of the smallest region of level 4.
        lowest: first level.
        highest: last level.

    Returns:
        [...] int32; a region of zero area has the lowest level.
    """
    # The logarithm of 0 is not finite.
    side = ops.maximum(ops.sqrt(box_ops.area(boxes)) / unit, 1e-9)
    # The tolerance keeps a side of exactly 2^k units on its own level.
    level = ops.floor(ops.log2(side) + 1e-6) + _CANONICAL_LEVEL
    return ops.cast(ops.clip(level, lowest, highest), "int32")


def _corners(low: Tensor, high: Tensor, stride: Tensor, cells: Tensor, size: int):
    """Return two neighboring cells and their weights for every sample of one axis.

    Half-pixel centers: the position p of the input is p / stride - 0.5 in cells. Positions beyond
    the outermost centers take the outermost cells.

    Returns:
        indices and weights, [N, size, 2 samples * 2 cells], int32 and float32; the weights of a
        bin add up to 1.
    """
    count = size * _SAMPLES
    share = (ops.arange(count, dtype=full()) + 0.5) / count
    position = low[:, None] + share * (high - low)[:, None]
    last = ops.cast(cells, full())[:, None] - 1.0
    place = ops.minimum(ops.maximum(position / stride[:, None] - 0.5, 0.0), last)
    first = ops.floor(place)
    weight = place - first
    second = ops.minimum(first + 1.0, last)
    shape = (-1, size, 2 * _SAMPLES)
    indices = ops.reshape(ops.stack([first, second], axis=-1), shape)
    weights = ops.reshape(ops.stack([1.0 - weight, weight], axis=-1), shape) / _SAMPLES
    return ops.cast(indices, "int32"), weights


def roi_align(
    pyramid: Mapping[str, Tensor], boxes: Tensor, image: Tensor, *, size: int, unit: float
) -> Tensor:
    """Return the features of regions, each from the pyramid level of its size.

    Every bin is the mean of 2 x 2 bilinear samples at regular places (Mask R-CNN,
    arXiv 1703.06870). No gradient reaches the boxes.

    Args:
        pyramid: {"P3": [B, h, w, C], ...} of neighboring levels; level l has stride 2^l. Shapes
            but B are static.
        boxes: [N, 4] in pixels of the input.
        image: [N] int32 in [0, B), the image of each box.
        size: bins a side.
        unit: see `region_levels`.

    Returns:
        [N, size, size, C] of the features' dtype.

    Example:
        pyramid = {"P3": np.zeros((1, 8, 8, 16)), "P4": np.zeros((1, 4, 4, 16))}
        boxes, image = np.array([[0.0, 0.0, 32.0, 32.0]]), np.array([0])
        roi_align(pyramid, boxes, image, size=7, unit=224.0).shape  # (1, 7, 7, 16)

    """
    levels = sorted(int(name[1:]) for name in pyramid)
    maps = [pyramid[f"P{level}"] for level in levels]
    heights, widths = ([m.shape[axis] for m in maps] for axis in (1, 2))
    channels = maps[0].shape[-1]
    num_cells = [h * w for h, w in zip(heights, widths, strict=True)]
    starts = [sum(num_cells[:i]) for i in range(len(levels))]
    flat = [ops.reshape(m, (-1, n, channels)) for m, n in zip(maps, num_cells, strict=True)]
    table = ops.reshape(ops.concatenate(flat, axis=1), (-1, channels))

    boxes = ops.stop_gradient(ops.cast(boxes, full()))
    level = region_levels(boxes, unit=unit, lowest=levels[0], highest=levels[-1]) - levels[0]

    def of_level(values: list[int], dtype: str) -> Tensor:
        return ops.take(ops.convert_to_tensor(values, dtype=dtype), level)

    stride = of_level([2**n for n in levels], full())
    height, width = of_level(heights, "int32"), of_level(widths, "int32")
    rows, row_weights = _corners(boxes[:, 0], boxes[:, 2], stride, height, size)
    columns, column_weights = _corners(boxes[:, 1], boxes[:, 3], stride, width, size)
    start = ops.cast(image, "int32") * sum(num_cells) + of_level(starts, "int32")
    # [N, size, 1, 4, 1] with [N, 1, size, 1, 4].
    index = start[:, None, None, None, None] + (
        rows[:, :, None, :, None] * width[:, None, None, None, None] + columns[:, None, :, None, :]
    )
    weight = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    points = (2 * _SAMPLES) ** 2
    values = ops.take(table, ops.reshape(index, (-1, points)), axis=0)
    weight = ops.cast(ops.reshape(weight, (-1, 1, points)), values.dtype)
    return ops.reshape(ops.matmul(weight, values), (-1, size, size, channels))
