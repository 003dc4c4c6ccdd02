"""The layer of a detector, its anchors, and its loss."""

import math
from collections.abc import Mapping
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from must_keras.modeling.detection_heads import BoxHead, MaskHead, RegionProposalNetwork, roi_align
from must_keras.modeling.heads import ConfiguredLayer
from must_keras.ops.precision import full
from must_keras.ops.sampling import leading, spread
from must_keras.tasks import base
from must_keras.tasks.detection import loss as losses
from must_keras.tasks.detection.decoding import propose
from must_keras.tasks.parts import Norm, Size, Tensor, Tensors

LEVELS = ("P3", "P4", "P5", "P6", "P7")
_SUBLAYERS = ("rpn", "box_head", "mask_head")
# The image size in pixels to which the paper's sizes belong.
_REFERENCE_SIZE = 640.0
# At 640 px: anchors of 3 strides, and 224 px for a region of level 4.
_ANCHOR_STRIDES, _LEVEL_UNIT = 3.0, 224.0
# Regions of an image that enter the mask head are a multiple of this: a kernel is prepared anew
# for every number of regions.
_MASKS_TOGETHER = 4


def relative_size(size: Size) -> float:
    """Return the longer side of an input of (H, W) pixels relative to the paper's 640."""
    return max(size) / _REFERENCE_SIZE


def level_sizes(size: Size) -> dict[str, Size]:
    """Return {level: (h, w)} cells of an input of (H, W) pixels; level l has the stride 2^l."""
    strides = {level: 2 ** int(level[1:]) for level in LEVELS}
    return {level: (math.ceil(size[0] / s), math.ceil(size[1] / s)) for level, s in strides.items()}


def level_counts(size: Size, anchors_per_cell: int) -> list[int]:
    """Return the number of anchors of each level."""
    return [h * w * anchors_per_cell for h, w in level_sizes(size).values()]


def anchor_grid(size: Size, *, scales: tuple[float, ...], ratios: tuple[float, ...]) -> np.ndarray:
    """Return all anchors of an input in pixels, [A, 4] float32, not clipped.

    The order is level, row, column, scale, ratio: that of the proposal network's outputs.

    Args:
        size: (H, W) of the input.
        scales: sqrt(area) of the anchors in strides.
        ratios: width / height; the area does not depend on it.
    """
    shapes = [(scale / ratio**0.5, scale * ratio**0.5) for scale in scales for ratio in ratios]
    sides = np.asarray(shapes, np.float64)
    anchors = []
    for level, (h, w) in level_sizes(size).items():
        stride = 2 ** int(level[1:])
        y, x = np.meshgrid(np.arange(h) + 0.5, np.arange(w) + 0.5, indexing="ij")
        centers = np.stack([y, x], axis=-1)[:, :, None, :]
        boxes = np.concatenate([centers - sides / 2, centers + sides / 2], axis=-1) * stride
        anchors.append(boxes.reshape(-1, 4))
    return np.concatenate(anchors).astype(np.float32)


@keras.saving.register_keras_serializable(package="must_keras")
class DetectionHead(ConfiguredLayer):
    """The proposal network, and the two heads that run on regions chosen from its output.

    Only the proposal network is called with the layer: the regions of the others depend on the
    label in training and on the proposals in inference, so that the task calls them by `classify`
    and `segment`. Their variables are made here.

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

    Example:
        task = Detection(name="objects", classes=("cat", "dog"))
        norm = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
        head = task.head.build((64, 64), norm)  # a DetectionHead
    """

    arguments = ("size",)

    def __init__(
        self,
        *,
        size: Size,
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
        """Create the variables of all sublayers."""
        pyramid = {level: tuple(input_shape[level]) for level in LEVELS}
        for level, cells in level_sizes(self.size).items():
            if pyramid[level][1:3] != cells:
                raise ValueError(
                    f"{self.name}: {level} of an input of {self.size} pixels has {cells} cells, "
                    f"received {pyramid[level][1:3]}"
                )
        # Sublayers that came out of a file are built already.
        if not self.rpn.built:
            self.rpn.build(pyramid)
        channels = pyramid[LEVELS[0]][-1]
        for head in (self.box_head, self.mask_head):
            if head is not None and not head.built:
                head.build((None, head.region, head.region, channels))

    def call(self, features: Tensors, training: bool | None = None):
        """See the class."""
        self.in_training = bool(training)
        pyramid = {level: features[level] for level in LEVELS}
        scores, deltas = self.rpn(pyramid, training=training)
        return {"scores": scores, "deltas": deltas, "pyramid": pyramid, "area": features["area"]}

    def classify(
        self, prediction: Mapping[str, Any], boxes: Tensor, *, level_unit: float, training: bool
    ) -> tuple[Tensor, Tensor]:
        """Return the box head's scores and deltas of regions.

        Args:
            prediction: of the call.
            boxes: [B, R, 4] in pixels; R is static.
            level_unit: see roi_align.
            training: the mode of the box head.

        Returns:
            scores [B, R, K + 1] and deltas [B, R, K + 1, 4]; see BoxHead.
        """
        number = boxes.shape[1]
        image = ops.repeat(ops.arange(ops.shape(boxes)[0], dtype="int32"), number)
        boxes, size = ops.reshape(boxes, (-1, 4)), self.box_head.region
        features = roi_align(prediction["pyramid"], boxes, image, size=size, unit=level_unit)
        found = self.box_head(features, training=training)
        scores, deltas = (ops.reshape(x, (-1, number, *x.shape[1:])) for x in found)
        return scores, deltas

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
        """Return the mask head's logits of the regions that hold an object.

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
        image, size = places // boxes.shape[1], self.mask_head.region
        boxes = ops.take(ops.reshape(boxes, (-1, 4)), places, axis=0)
        features = roi_align(prediction["pyramid"], boxes, image, size=size, unit=level_unit)
        classes = ops.take(ops.reshape(classes, (-1,)), places)
        logits = self.mask_head(features, classes, training=training)
        return spread(logits, places, ops.shape(exists))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments, with serialized sublayers."""
        serialize = keras.saving.serialize_keras_object
        return super().get_config() | {name: serialize(getattr(self, name)) for name in _SUBLAYERS}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Return the layer of `get_config`."""
        deserialize = keras.saving.deserialize_keras_object
        return cls(**(config | {name: deserialize(config[name]) for name in _SUBLAYERS}))


class Head(base.Head):
    """Mask R-CNN on the pyramid.

    Example:
        norm = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
        Detection(name="objects", classes=("cat", "dog")).head.build((64, 64), norm)
    """

    features = LEVELS

    def scales(self, size: Size) -> tuple[float, ...]:
        """Return sides of the anchors in strides, for an input of (H, W) pixels."""
        if self.task.anchor_scales is not None:
            return self.task.anchor_scales
        return (max(1.0, _ANCHOR_STRIDES * relative_size(size)),)

    def level_unit(self, layer: DetectionHead) -> float:
        """Return the side in pixels of the smallest region that is read from level 4."""
        return self.task.level_unit or _LEVEL_UNIT * relative_size(layer.size)

    def build(self, size: Size, norm: Norm) -> DetectionHead:
        task = self.task
        num_classes = len(task.classes)
        mask_head = None
        if task.with_masks:
            mask_head = MaskHead(
                num_classes=num_classes,
                region=task.mask_region,
                channels=task.mask_channels,
                num_convs=task.mask_convs,
                norm=norm,
                name="mask_head",
            )
        return DetectionHead(
            name=task.name,
            size=size,
            rpn=RegionProposalNetwork(
                num_anchors=self._per_cell(size),
                channels=task.rpn_channels,
                num_convs=task.rpn_convs,
                norm=norm,
                name="rpn",
            ),
            box_head=BoxHead(
                num_classes=num_classes,
                region=task.box_region,
                channels=task.box_channels,
                num_convs=task.box_convs,
                units=task.box_units,
                norm=norm,
                name="box_head",
            ),
            mask_head=mask_head,
        )

    def loss(self, label: Tensors, prediction: Any, layer: DetectionHead, keys: Tensor) -> Tensor:
        """Return each image's loss; box and mask head run once, in the mode of `layer`'s call."""
        task, anchors = self.task, self._anchors(layer)
        total = losses.rpn_loss(prediction, anchors, label, keys, count=task.num_sampled_anchors)
        proposals, present = self.propose(prediction, layer)
        foreground = max(1, round(task.num_regions * task.foreground_share))
        regions = losses.sample_regions(
            proposals, present, label, keys, count=task.num_regions, foreground=foreground
        )
        how = {"level_unit": self.level_unit(layer), "training": layer.in_training}
        scores, deltas = layer.classify(prediction, regions.boxes, **how)
        total = total + losses.box_loss(scores, deltas, regions, label, count=task.num_regions)
        if task.with_masks:
            number = min(task.num_mask_regions, foreground)
            some, counts = losses.regions_with_masks(regions, label, count=number)
            classes = ops.maximum(some.classes - 1, 0)
            logits = layer.segment(prediction, some.boxes, classes, counts, **how)
            target = losses.mask_targets(some.boxes, some.index, label, size=logits.shape[-1])
            weights = losses.object_weights(label, some.index)
            total = total + losses.mask_loss(logits, target, counts, weights=weights)
        return ops.where(task.labels.weight(label) > 0.0, total, 0.0)

    def propose(self, prediction: Any, layer: DetectionHead) -> tuple[Tensor, Tensor]:
        """Return regions that may hold objects, and which there are (see decoding.propose)."""
        counts = level_counts(layer.size, self._per_cell(layer.size))
        return propose(prediction, self._anchors(layer), counts, task=self.task)

    def _per_cell(self, size: Size) -> int:
        return len(self.scales(size)) * len(self.task.anchor_ratios)

    def _anchors(self, layer: DetectionHead) -> Tensor:
        scales, ratios = self.scales(layer.size), self.task.anchor_ratios
        grid = anchor_grid(layer.size, scales=scales, ratios=ratios)
        return ops.convert_to_tensor(grid, dtype=full())
