"""The layer that holds a detector's parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import ops

from must_keras.modeling.box_head import BoxHead
from must_keras.modeling.mask_head import MaskHead
from must_keras.modeling.roi_align import roi_align
from must_keras.modeling.rpn import RegionProposalNetwork
from must_keras.ops.sampling import leading, spread
from must_keras.tasks.detection.anchors import LEVELS, level_sizes

Tensor = Any

# Regions of an image that enter the mask head are a multiple of this: a kernel is prepared anew
# for every number of regions.
_MASKS_TOGETHER = 4


@keras.saving.register_keras_serializable(package="must_keras")
class DetectionHead(keras.layers.Layer):
    """The proposal network, and the two heads that run on regions chosen from its output.

    Only the proposal network is called with the layer: which regions the others see depends on
    the label in training and on the proposals in inference, so that the task asks for them, by
    `classify` and `segment`. Their variables are made here.

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

    def classify(
        self, prediction: Mapping[str, Any], boxes: Tensor, *, level_unit: float, training: bool
    ) -> tuple[Tensor, Tensor]:
        """What the box head says of regions.

        Args:
            prediction: of the call.
            boxes: [B, R, 4] in pixels; R is static.
            level_unit: see roi_align.
            training: the mode of the box head.

        Returns:
            scores [B, R, K + 1] and deltas [B, R, K + 1, 4]; see BoxHead.
        """
        number = boxes.shape[1]
        scores, deltas = self.box_head(
            roi_align(
                prediction["pyramid"],
                ops.reshape(boxes, (-1, 4)),
                ops.repeat(ops.arange(ops.shape(boxes)[0], dtype="int32"), number),
                size=self.box_head.region,
                unit=level_unit,
            ),
            training=training,
        )
        return (
            ops.reshape(scores, (-1, number, *scores.shape[1:])),
            ops.reshape(deltas, (-1, number, *deltas.shape[1:])),
        )

    def segment(
        self,
        prediction: Mapping[str, Any],
        boxes: Tensor,
        classes: Tensor,
        exists: Tensor,
        *,
        level_unit: float,
        training: bool,
    ) -> Tensor:
        """What the mask head says of the regions that hold an object.

        Args:
            prediction: of the call.
            boxes: [B, R, 4] in pixels; R is static.
            classes: [B, R] int32 in [0, K).
            exists: [B, R] bool, first in every row: the others cost nothing, but for a few.
            level_unit: see roi_align.
            training: the mode of the mask head.

        Returns:
            [B, R, S, S] logits; anything finite where `exists` is False.
        """
        places = leading(exists, multiple=_MASKS_TOGETHER)
        features = roi_align(
            prediction["pyramid"],
            ops.take(ops.reshape(boxes, (-1, 4)), places, axis=0),
            places // boxes.shape[1],
            size=self.mask_head.region,
            unit=level_unit,
        )
        classes = ops.take(ops.reshape(classes, (-1,)), places)
        logits = self.mask_head(features, classes, training=training)
        return spread(logits, places, ops.shape(exists))

    def get_config(self) -> dict[str, Any]:
        """The arguments; the parts serialized."""
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
