"""The layer that holds a detector's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from must_keras.models.box_head import BoxHead
from must_keras.models.mask_head import MaskHead
from must_keras.models.rpn import RegionProposalNetwork
from must_keras.tasks.detection.anchors import LEVELS, level_sizes

Tensor = Any


@keras.saving.register_keras_serializable(package="must_keras")
class DetectionHead(keras.layers.Layer):
    """The proposal network, and the two heads that run on regions chosen from its output.

    Only the proposal network is called with the layer: which regions the others see depends on
    the label in training and on the proposals in inference, so that the task calls `box_head`
    and `mask_head` itself. Their variables are made here.

    Args:
        size: (H, W) of the network's input in pixels.
        rpn: the proposal network.
        box_head: classes and boxes of regions.
        mask_head: masks of regions, or None.

    Call arguments:
        features: {"P3".."P7": [B, h, w, C], "area": [B, 4]}.
        training: whether BatchNorm uses the batch's statistics.

    Returns:
        {"scores": [B, A] logits, "deltas": [B, A, 4], "pyramid": {level: features}, "area"}.
    """

    def __init__(
        self,
        *,
        size: tuple[int, int],
        rpn: RegionProposalNetwork,
        box_head: BoxHead,
        mask_head: MaskHead | None = None,
        **kwargs: Any,
    ):
        # Areas are pixels: half precision would round them.
        super().__init__(autocast=False, **kwargs)
        self.size = tuple(size)
        self.rpn = rpn
        self.box_head = box_head
        self.mask_head = mask_head
        #: The mode of the latest call, in which the loss of that call runs the other two parts.
        self.in_training = False

    def build(self, input_shape: Mapping[str, tuple[int | None, ...]]) -> None:
        """Creates the variables of all parts."""
        pyramid = {level: tuple(input_shape[level]) for level in LEVELS}
        for level, cells in level_sizes(self.size).items():
            if pyramid[level][1:3] != cells:
                raise ValueError(
                    f"{self.name}: {level} of an input of {self.size} pixels has {cells} cells, "
                    f"received {pyramid[level][1:3]}"
                )
        # Parts that came out of a file are built already.
        if not self.rpn.built:
            self.rpn.build(pyramid)
        channels = pyramid[LEVELS[0]][-1]
        for part in (self.box_head, self.mask_head):
            if part is not None and not part.built:
                part.build((None, part.region, part.region, channels))

    def call(self, features: Mapping[str, Tensor], training: bool | None = None):
        """See the class."""
        self.in_training = bool(training)
        pyramid = {level: features[level] for level in LEVELS}
        scores, deltas = self.rpn(pyramid, training=training)
        return {"scores": scores, "deltas": deltas, "pyramid": pyramid, "area": features["area"]}

    def get_config(self) -> dict[str, Any]:
        """The arguments; the parts serialised."""
        parts = {"rpn": self.rpn, "box_head": self.box_head, "mask_head": self.mask_head}
        return (
            super().get_config()
            | {"size": self.size}
            | {key: keras.saving.serialize_keras_object(part) for key, part in parts.items()}
        )

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DetectionHead:
        """The layer of `get_config`."""
        parts = {
            key: keras.saving.deserialize_keras_object(config[key])
            for key in ("rpn", "box_head", "mask_head")
        }
        return cls(**(config | parts))
