"""The second stage of a detector: what class a region has, and where exactly its box is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from must_keras.ops.precision import full

Tensor = Any


@keras.saving.register_keras_serializable(package="must_keras")
class BoxHead(keras.layers.Layer):
    """3x3 convolutions and a dense layer, each with BatchNorm and ReLU; class scores and boxes.

    Args:
        num_classes: K, without background.
        region: side of a region's features.
        channels: width of the convolutions.
        num_convs: number of convolutions.
        units: width of the dense layer.
        norm: keyword arguments of every BatchNormalization.

    Call arguments:
        regions: [N, region, region, C].
        training: whether BatchNorm uses the batch's statistics.

    Returns:
        scores [N, K + 1] (logits; 0 is background) and deltas [N, K + 1, 4], float32.

    Reference: Fast R-CNN (arXiv 1504.08083), with the "4conv1fc" head of Group Normalization
    (arXiv 1803.08494).
    """

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
        self.num_classes = num_classes
        self.region = region
        self.channels = channels
        self.num_convs = num_convs
        self.units = units
        self.norm = dict(norm or {})
        policy = self.dtype_policy
        self.convs = [
            layers.Conv2D(
                channels, 3, padding="same", use_bias=False, dtype=policy, name=f"conv{i}"
            )
            for i in range(num_convs)
        ]
        self.dense = layers.Dense(units, use_bias=False, dtype=policy, name="dense")
        self.norms = [
            layers.BatchNormalization(**self.norm, dtype=policy, name=f"norm{i}")
            for i in range(num_convs + 1)
        ]
        # Fast R-CNN's initial values.
        self.score = layers.Dense(
            num_classes + 1,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01),
            dtype=policy,
            name="score",
        )
        self.delta = layers.Dense(
            4 * (num_classes + 1),
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.001),
            dtype=policy,
            name="delta",
        )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates all variables for (N, region, region, C)."""
        channels = input_shape[-1]
        for conv, norm in zip(self.convs, self.norms[:-1], strict=True):
            conv.build((None, self.region, self.region, channels))
            channels = self.channels
            norm.build((None, self.region, self.region, channels))
        self.dense.build((None, self.region**2 * channels))
        self.norms[-1].build((None, self.units))
        self.score.build((None, self.units))
        self.delta.build((None, self.units))

    def call(self, regions: Tensor, training: bool | None = None):
        """See the class."""
        x = regions
        for conv, norm in zip(self.convs, self.norms[:-1], strict=True):
            x = ops.relu(norm(conv(x), training=training))
        x = self.dense(ops.reshape(x, (-1, x.shape[1] * x.shape[2] * x.shape[3])))
        x = ops.relu(self.norms[-1](x, training=training))
        deltas = ops.reshape(self.delta(x), (-1, self.num_classes + 1, 4))
        return ops.cast(self.score(x), full()), ops.cast(deltas, full())

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {
            "num_classes": self.num_classes,
            "region": self.region,
            "channels": self.channels,
            "num_convs": self.num_convs,
            "units": self.units,
            "norm": self.norm,
        }
