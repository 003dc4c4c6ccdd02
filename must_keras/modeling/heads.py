"""Heads for every pixel and for the whole image, and what all heads have in common."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras
from keras import layers, ops

from must_keras.ops import Tensor
from must_keras.ops.precision import full


class ConfiguredLayer(keras.layers.Layer):
    """A Keras layer whose configuration is the attributes that it names.

    Example:
        class Scale(ConfiguredLayer):
            arguments = ("factor",)

            def __init__(self, factor: float, **kwargs):
                super().__init__(**kwargs)
                self.factor = factor

        Scale(2.0).get_config()["factor"]  # 2.0

    """

    arguments: ClassVar[tuple[str, ...]] = ()

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {name: getattr(self, name) for name in self.arguments}

    def _conv(self, name: str) -> layers.Layer:
        """Return a 3x3 convolution of `channels`, without bias: a BatchNormalization follows."""
        return layers.Conv2D(
            self.channels, 3, padding="same", use_bias=False, dtype=self.dtype_policy, name=name
        )

    def _norm(self, name: str) -> layers.Layer:
        return layers.BatchNormalization(**self.norm, dtype=self.dtype_policy, name=name)


def build_stack(convs: Any, norms: Any, shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Build convolutions, each with its norm, for a shape (..., C); return their output shape."""
    for conv, norm in zip(convs, norms, strict=True):
        conv.build(shape)
        shape = (*shape[:-1], conv.filters)
        norm.build(shape)
    return shape


def call_stack(convs: Any, norms: Any, x: Tensor, training: bool | None) -> Tensor:
    """Return x after each convolution, its norm and a ReLU."""
    for conv, norm in zip(convs, norms, strict=True):
        x = ops.relu(norm(conv(x), training=training))
    return x


@keras.saving.register_keras_serializable(package="must_keras")
class PixelHead(ConfiguredLayer):
    """3x3 convolutions with BatchNormalization and ReLU on the fused P2, then one linear 1x1.

    Args:
        num_outputs: values of every pixel.
        channels: width of the hidden convolutions.
        num_convs: number of hidden convolutions.
        norm: keyword arguments of every BatchNormalization.
        bias: initial value of the outputs.

    Call arguments:
        features: {"P2": [B, h, w, C], "area"}; h and w are a quarter of the input's.

    Returns:
        {"values": [B, h, w, num_outputs]}, float32.

    Example:
        head = PixelHead(21, norm={"momentum": 0.9})
        head({"P2": np.zeros((1, 16, 16, 256))})["values"].shape  # (1, 16, 16, 21)

    """

    arguments = ("num_outputs", "channels", "num_convs", "norm", "bias")

    def __init__(
        self,
        num_outputs: int,
        *,
        channels: int = 256,
        num_convs: int = 3,
        norm: Mapping[str, Any],
        bias: float = 0.0,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_outputs, self.channels, self.num_convs = num_outputs, channels, num_convs
        self.norm, self.bias = dict(norm), bias
        self.hidden = [(self._conv(f"conv_{i}"), self._norm(f"norm_{i}")) for i in range(num_convs)]
        start = keras.initializers.Constant(bias)
        self.last = layers.Conv2D(
            num_outputs, 1, bias_initializer=start, dtype=full(), name="outputs"
        )

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        self.last.build(build_stack(*self._stack(), tuple(input_shape["P2"])))

    def call(self, features: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        return {"values": self.last(call_stack(*self._stack(), features["P2"], training))}

    def _stack(self) -> tuple[list[layers.Layer], list[layers.Layer]]:
        return [conv for conv, _ in self.hidden], [norm for _, norm in self.hidden]


@keras.saving.register_keras_serializable(package="must_keras")
class ImageHead(ConfiguredLayer):
    """The mean of C5 over cells that are not padding, then one linear layer.

    Args:
        num_outputs: values of an image.
        size: (H, W) of the input in pixels, to which `area` refers.

    Call arguments:
        features: {"C5": [B, h, w, C], "area": [B, 4] (ymin, xmin, ymax, xmax)}; the weight of a
            cell is its share in the area.

    Returns:
        {"logits": [B, num_outputs]}, float32.

    Example:
        head = ImageHead(10, size=(64, 64))
        features = {"C5": np.ones((1, 2, 2, 8)), "area": np.array([[0.0, 0.0, 64.0, 64.0]])}
        head(features)["logits"].shape  # (1, 10)

    """

    arguments = ("num_outputs", "size")

    def __init__(self, num_outputs: int, *, size: tuple[int, int], **kwargs: Any):
        # Areas are pixels: half precision would round them.
        super().__init__(autocast=False, **kwargs)
        self.num_outputs, self.size = num_outputs, tuple(size)
        self.last = layers.Dense(num_outputs, dtype=full(), name="outputs")

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        self.last.build((None, input_shape["C5"][-1]))

    def call(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"logits": self.last(mean_over_area(features["C5"], features["area"], self.size))}


def mean_over_area(x: Tensor, area: Tensor, size: tuple[int, int]) -> Tensor:
    """Return the mean over cells that are not padding, [B, C] in full precision; 0 without any.

    The weight of a cell is its share in the area.

    Args:
        x: [B, h, w, C].
        area: [B, 4] (ymin, xmin, ymax, xmax) in pixels of the input.
        size: (H, W) of the input in pixels.
    """
    x, area = ops.cast(x, full()), ops.cast(area, full())
    h, w = x.shape[1:3]
    rows = _overlaps(h, size[0] / h, area[:, 0:1], area[:, 2:3])
    columns = _overlaps(w, size[1] / w, area[:, 1:2], area[:, 3:4])
    share = rows[:, :, None] * columns[:, None, :]
    return ops.sum(x * share[..., None], axis=(1, 2))


def _overlaps(cells: int, side: float, low: Tensor, high: Tensor) -> Tensor:
    """Return the cells' shares of the interval from low to high, [B, 1]: [B, cells].

    Args:
        cells: number of cells.
        side: of a cell, in pixels.
        low: start of the interval, in pixels.
        high: its end.
    """
    first = ops.arange(cells, dtype=full()) * side
    overlap = ops.maximum(ops.minimum(first + side, high) - ops.maximum(first, low), 0.0)
    return overlap / ops.maximum(ops.sum(overlap, axis=1, keepdims=True), 1e-6)
