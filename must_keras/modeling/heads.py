"""Heads that are not detection's: one for every pixel, one for the whole image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from must_keras.ops.precision import full

Tensor = Any


@keras.saving.register_keras_serializable(package="must_keras")
class PixelHead(keras.Layer):
    """3x3 convolutions with BatchNormalization and ReLU on the fused P2, then one linear 1x1.

    Args:
        num_outputs: values of every pixel.
        channels: of the hidden convolutions.
        num_convs: how many hidden convolutions.
        norm: keyword arguments of every BatchNormalization.
        bias: initial value of the outputs.

    Call arguments:
        features: {"P2": [B, h, w, C], "area"}; h and w are a quarter of the input's.

    Returns:
        {"values": [B, h, w, num_outputs]}, float32.
    """

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
        policy = self.dtype_policy
        self.num_outputs, self.channels, self.num_convs = num_outputs, channels, num_convs
        self.norm, self.bias = dict(norm), bias
        self.hidden = [
            (
                layers.Conv2D(
                    channels, 3, padding="same", use_bias=False, dtype=policy, name=f"conv_{i}"
                ),
                layers.BatchNormalization(**norm, dtype=policy, name=f"norm_{i}"),
            )
            for i in range(num_convs)
        ]
        self.last = layers.Conv2D(
            num_outputs,
            1,
            bias_initializer=keras.initializers.Constant(bias),
            dtype=full(),
            name="outputs",
        )

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        shape = tuple(input_shape["P2"])
        for conv, norm in self.hidden:
            conv.build(shape)
            shape = (*shape[:-1], self.channels)
            norm.build(shape)
        self.last.build(shape)
        self.built = True

    def call(self, features: Mapping[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        x = features["P2"]
        for conv, norm in self.hidden:
            x = ops.relu(norm(conv(x), training=training))
        return {"values": self.last(x)}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {
            "num_outputs": self.num_outputs,
            "channels": self.channels,
            "num_convs": self.num_convs,
            "norm": self.norm,
            "bias": self.bias,
        }


@keras.saving.register_keras_serializable(package="must_keras")
class ImageHead(keras.Layer):
    """The mean of C5 over cells that are not padding, then one linear layer.

    Args:
        num_outputs: values of an image.
        size: (H, W) of the input, to which `area` refers.

    Call arguments:
        features: {"C5": [B, h, w, C], "area": [B, 4] (ymin, xmin, ymax, xmax)}; a cell counts
            as much as of it lies in the area.

    Returns:
        {"logits": [B, num_outputs]}, float32.
    """

    def __init__(self, num_outputs: int, *, size: tuple[int, int], **kwargs: Any):
        # Areas are pixels: half precision would round them.
        super().__init__(autocast=False, **kwargs)
        self.num_outputs, self.size = num_outputs, tuple(size)
        self.last = layers.Dense(num_outputs, dtype=full(), name="outputs")

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        self.last.build((None, input_shape["C5"][-1]))
        self.built = True

    def call(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        x, area = (ops.cast(features[key], full()) for key in ("C5", "area"))
        h, w = x.shape[1:3]
        rows = _overlaps(h, self.size[0] / h, area[:, 0:1], area[:, 2:3])
        columns = _overlaps(w, self.size[1] / w, area[:, 1:2], area[:, 3:4])
        share = rows[:, :, None] * columns[:, None, :]
        return {"logits": self.last(ops.sum(x * share[..., None], axis=(1, 2)))}

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"num_outputs": self.num_outputs, "size": self.size}


def _overlaps(cells: int, side: float, low: Tensor, high: Tensor) -> Tensor:
    """[B, cells]: shares of the interval from low to high, [B, 1], in cells of this side."""
    first = ops.arange(cells, dtype=full()) * side
    overlap = ops.maximum(ops.minimum(first + side, high) - ops.maximum(first, low), 0.0)
    return overlap / ops.maximum(ops.sum(overlap, axis=1, keepdims=True), 1e-6)
