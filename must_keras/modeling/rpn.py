"""The region proposal network: for every anchor, is it an object, and where is its box."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers, ops

from must_keras.ops.precision import full

Tensor = Any


@keras.saving.register_keras_serializable(package="must_keras")
class RegionProposalNetwork(keras.layers.Layer):
    """Hidden 3x3 convolutions and two 1x1 ones, shared over levels; BatchNorm is each level's own.

    Args:
        num_anchors: anchors a cell.
        channels: width of the hidden convolutions.
        num_convs: number of hidden convolutions.
        norm: keyword arguments of every BatchNormalization.

    Call arguments:
        pyramid: {"P3": [B, h, w, C], ...}.
        training: whether BatchNorm uses the batch's statistics.

    Returns:
        scores [B, A] (logits) and deltas [B, A, 4], float32; anchors in the order of level, row,
        column, anchor of the cell.

    Reference: Faster R-CNN (arXiv 1506.01497).
    """

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
        self.num_anchors = num_anchors
        self.channels = channels
        self.num_convs = num_convs
        self.norm = dict(norm or {})
        self.convs = [
            layers.Conv2D(
                channels,
                3,
                padding="same",
                use_bias=False,
                dtype=self.dtype_policy,
                name=f"conv{i}",
            )
            for i in range(num_convs)
        ]
        self.score = self._output(num_anchors, "score")
        self.delta = self._output(4 * num_anchors, "delta")
        # One for each level and convolution: Keras saves lists of layers, not lists of lists.
        self.norms: list[layers.Layer] = []

    def _output(self, filters: int, name: str) -> layers.Layer:
        # Faster R-CNN's own initial values: the first proposals are the anchors, all alike.
        start = keras.initializers.RandomNormal(stddev=0.01)
        return layers.Conv2D(
            filters, 1, kernel_initializer=start, dtype=self.dtype_policy, name=name
        )

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        """Creates all variables for {level: (B, h, w, C)}."""
        shape = next(iter(input_shape.values()))
        hidden = (None, None, None, self.channels)
        for conv in self.convs:
            conv.build((None, None, None, shape[-1] if conv is self.convs[0] else self.channels))
        last = hidden if self.convs else (None, None, None, shape[-1])
        self.score.build(last)
        self.delta.build(last)
        self.norms = [
            layers.BatchNormalization(**self.norm, dtype=self.dtype_policy, name=f"{level}_norm{i}")
            for level in sorted(input_shape)
            for i in range(self.num_convs)
        ]
        for norm in self.norms:
            norm.build(hidden)

    def call(self, pyramid: Mapping[str, Tensor], training: bool | None = None):
        """See the class."""
        scores, deltas = [], []
        norms = iter(self.norms)
        for level in sorted(pyramid):
            x = pyramid[level]
            for conv in self.convs:
                x = ops.relu(next(norms)(conv(x), training=training))
            cells = x.shape[1] * x.shape[2]
            scores.append(ops.reshape(self.score(x), (-1, cells * self.num_anchors)))
            deltas.append(ops.reshape(self.delta(x), (-1, cells * self.num_anchors, 4)))
        return (
            ops.cast(ops.concatenate(scores, axis=1), full()),
            ops.cast(ops.concatenate(deltas, axis=1), full()),
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments."""
        return super().get_config() | {
            "num_anchors": self.num_anchors,
            "channels": self.channels,
            "num_convs": self.num_convs,
            "norm": self.norm,
        }
