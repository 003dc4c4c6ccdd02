"""The mask branch of a detector: which part of a region belongs to its object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from must_keras.ops.precision import full

Tensor = Any


@keras.saving.register_keras_serializable(package="must_keras")
class MaskHead(keras.layers.Layer):
    """3x3 convolutions with BatchNorm and ReLU, a 2x2 deconvolution by 2, a mask for each class.

    The last 1x1 convolution is evaluated for the one class that is asked for: K times less work,
    the same numbers.

    Args:
        num_classes: K, without background.
        region: side of a region's features; a mask has twice as many pixels a side.
        channels: width of the convolutions.
        num_convs: number of convolutions.
        norm: keyword arguments of every BatchNormalization.

    Call arguments:
        regions: [N, region, region, C].
        classes: [N] int32 in [0, K).
        training: whether BatchNorm uses the batch's statistics.

    Returns:
        [N, 2 region, 2 region] logits, float32.

    Reference: Mask R-CNN (arXiv 1703.06870).
    """

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
        self.num_classes = num_classes
        self.region = region
        self.channels = channels
        self.num_convs = num_convs
        self.norm = dict(norm or {})
        policy = self.dtype_policy
        self.convs = [
            layers.Conv2D(
                channels, 3, padding="same", use_bias=False, dtype=policy, name=f"conv{i}"
            )
            for i in range(num_convs)
        ]
        self.norms = [
            layers.BatchNormalization(**self.norm, dtype=policy, name=f"norm{i}")
            for i in range(num_convs)
        ]
        self.enlarge = layers.Conv2DTranspose(channels, 2, strides=2, dtype=policy, name="enlarge")

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates all variables for (N, region, region, C)."""
        channels = input_shape[-1]
        for conv, norm in zip(self.convs, self.norms, strict=True):
            conv.build((None, self.region, self.region, channels))
            channels = self.channels
            norm.build((None, self.region, self.region, channels))
        self.enlarge.build((None, self.region, self.region, channels))
        # The variance of a convolution with `channels` inputs; Keras would count the classes.
        normal = keras.initializers.RandomNormal(stddev=(2.0 / self.channels) ** 0.5)
        self.kernel = self.add_weight(
            shape=(self.num_classes, self.channels), initializer=normal, name="kernel"
        )
        self.bias = self.add_weight(shape=(self.num_classes,), initializer="zeros", name="bias")

    def call(self, regions: Tensor, classes: Tensor, training: bool | None = None) -> Tensor:
        """See the class."""
        x = regions
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = ops.relu(norm(conv(x), training=training))
        x = ops.relu(self.enlarge(x))
        side = 2 * self.region
        kernel = ops.take(ops.cast(self.kernel, x.dtype), classes, axis=0)
        bias = ops.take(ops.cast(self.bias, x.dtype), classes)
        x = ops.matmul(ops.reshape(x, (-1, side**2, self.channels)), kernel[:, :, None])
        return ops.cast(ops.reshape(x, (-1, side, side)) + bias[:, None, None], full())

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {
            "num_classes": self.num_classes,
            "region": self.region,
            "channels": self.channels,
            "num_convs": self.num_convs,
            "norm": self.norm,
        }
