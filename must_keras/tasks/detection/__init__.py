"""Detection with instance masks: Mask R-CNN (arXiv 1703.06870) over a class list."""

import dataclasses
from typing import ClassVar

import keras

from must_keras.tasks import base
from must_keras.tasks.detection.decoding import External, Predictions
from must_keras.tasks.detection.head import Head
from must_keras.tasks.detection.labels import Labels
from must_keras.tasks.detection.metrics import Metrics
from must_keras.tasks.detection.mixtures import Mixtures
from must_keras.tasks.detection.records import Records
from must_keras.tasks.detection.visualization import Visualization

_COUNTS = (
    "max_boxes", "rpn_channels", "num_sampled_anchors", "num_candidates", "num_regions",
    "box_region", "box_channels", "box_units", "mask_region", "mask_channels", "num_mask_regions",
)  # fmt: skip


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection(base.Task):
    """Boxes, classes and masks of objects.

    `must_keras.data.choices.fitted_detection` chooses values that fit the labels of a training set.

    Attributes:
        classes: names of the classes, without background.
        max_boxes: room for an image's objects in a batch; truncated ones are ignored and counted.
        max_stored: boxes that a pseudo-label dataset stores of an image.
        anchor_scales: sides of square anchors in strides of their level. None: one, of 3 strides
            at 640 px and in proportion to the input's longer side, but at least 1: smaller
            anchors would leave gaps between their neighbors.
        anchor_ratios: width / height of anchors.
        level_unit: side in pixels of the smallest region that is read from level 4. None: 224
            at 640 px and in proportion to the input's longer side.
        rpn_channels, rpn_convs: width and number of the proposal network's hidden convolutions.
        num_sampled_anchors: anchors of an image with a loss, at most half of them positive.
        num_candidates: anchors of a level, or pairs of region and class, that enter non-maximum
            suppression.
        num_proposals: regions of an image after it.
        proposal_nms: IoU above which a proposal is dropped.
        num_regions: regions of an image with a loss.
        foreground_share: largest part of them that is foreground.
        box_region, box_channels, box_convs, box_units: the box head: side of a region's
            features, width and number of convolutions, width of the dense layer.
        with_masks: whether there is a mask head.
        mask_region, mask_channels, mask_convs: the mask head; masks have 2 mask_region a side.
        num_mask_regions: foreground regions of an image with a mask loss, at most.
        score_floor: lowest score of a detection.
        detection_nms: IoU above which a detection of the same class is dropped.
        max_detections: detections of an image.

    Example:
        mk.Detection(name="objects", classes=("cat", "dog"), with_masks=False)
    """

    classes: tuple[str, ...]
    max_boxes: int = 100
    max_stored: int = 100
    anchor_scales: tuple[float, ...] | None = None
    anchor_ratios: tuple[float, ...] = (1.0, 2.0, 0.5)
    level_unit: float | None = None
    rpn_channels: int = 256
    rpn_convs: int = 2
    num_sampled_anchors: int = 256
    num_candidates: int = 2000
    num_proposals: int = 1000
    proposal_nms: float = 0.7
    num_regions: int = 512
    foreground_share: float = 0.25
    box_region: int = 7
    box_channels: int = 256
    box_convs: int = 4
    box_units: int = 1024
    with_masks: bool = True
    mask_region: int = 14
    mask_channels: int = 256
    mask_convs: int = 4
    num_mask_regions: int = 128
    score_floor: float = 0.05
    detection_nms: float = 0.5
    max_detections: int = 100

    # 2: the mask head, and so its BatchNormalization, receives regions with masks alone.
    # 3: masks of a mask head that no label taught are left out.
    version: ClassVar[int] = 3
    kind: ClassVar[str] = "boxes"
    hub_task: ClassVar[str] = "object-detection"
    parts = (Labels, Head, Predictions, Records, Metrics, Visualization, External, Mixtures)

    def __post_init__(self) -> None:
        self.check_distinct()
        for field in _COUNTS:
            if getattr(self, field) < 1:
                raise self.error(f"{field} must be at least 1")
        most = self.num_proposals * len(self.classes)
        if self.max_detections > most:
            raise self.error(
                f"max_detections is {self.max_detections}, but {self.num_proposals} "
                f"proposals (num_proposals) of {len(self.classes)} classes are at most {most}: "
                f"set max_detections={most}"
            )
        for field in ("foreground_share", "score_floor", "proposal_nms", "detection_nms"):
            if not 0.0 < getattr(self, field) < 1.0:
                raise self.error(f"{field} must be between 0 and 1")
