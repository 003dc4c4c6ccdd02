"""Detection with instance masks: Mask R-CNN (arXiv 1703.06870) over a class list."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from must_keras.errors import UserError, check_classes
from must_keras.modeling.box_head import BoxHead
from must_keras.modeling.mask_head import MaskHead
from must_keras.modeling.rpn import RegionProposalNetwork
from must_keras.ops.precision import full
from must_keras.ops.views import View
from must_keras.tasks.base import Sketch, Spec, Task, Tensor
from must_keras.tasks.detection import external, inference, labels, losses, records, targets
from must_keras.tasks.detection import visualization as pictures
from must_keras.tasks.detection.anchors import LEVELS, anchor_grid, level_counts, relative_size
from must_keras.tasks.detection.head import DetectionHead
from must_keras.tasks.detection.metrics import AveragePrecision, NoBoxes, PseudoBoxes, certainty
from must_keras.tasks.evaluation import Evaluator, ScoredPredictions, TrivialBaseline
from must_keras.tasks.label_content import Framing, LabelContent
from must_keras.tasks.thresholds import Threshold, thresholds_by_class

# At 640 px: anchors of 3 strides, and 224 px for a region of level 4.
_ANCHOR_STRIDES, _LEVEL_UNIT = 3.0, 224.0
_COUNTS = (
    "max_boxes", "rpn_channels", "num_sampled_anchors", "num_candidates", "num_regions",
    "box_region", "box_channels", "box_units", "mask_region", "mask_channels", "num_mask_regions",
)  # fmt: skip


@keras.saving.register_keras_serializable(package="must_keras")
@dataclasses.dataclass(frozen=True, kw_only=True)
class Detection(Task):
    """Boxes, classes and masks of objects.

    Attributes:
        classes: names of the classes, without background.
        max_boxes: room for an image's objects in a batch; the surplus is ignored and counted.
        max_stored: boxes that a column keeps of an image.
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

    # 2: the mask head, and so its BatchNormalization, sees regions with masks alone.
    # 3: masks of a mask head that no label taught are left out.
    version: ClassVar[int] = 3

    def __post_init__(self) -> None:
        check_classes(self.name, self.classes)
        if not self.classes or len(set(self.classes)) != len(self.classes):
            raise UserError(f"{self.name}: classes must be distinct, received {self.classes}")
        for field in _COUNTS:
            if getattr(self, field) < 1:
                raise UserError(f"{self.name}: {field} must be at least 1")
        most = self.num_proposals * len(self.classes)
        if self.max_detections > most:
            raise UserError(
                f"{self.name}: max_detections is {self.max_detections}, but {self.num_proposals} "
                f"proposals (num_proposals) of {len(self.classes)} classes are at most {most}: "
                f"set max_detections={most}"
            )
        for field in ("foreground_share", "score_floor", "proposal_nms", "detection_nms"):
            if not 0.0 < getattr(self, field) < 1.0:
                raise UserError(f"{self.name}: {field} must be between 0 and 1")

    # ---- labels -------------------------------------------------------------------------------

    @property
    def _mask_size(self) -> int:
        """Side of a label's masks: finer than the targets that are cut out of them."""
        return 4 * self.mask_region if self.with_masks else 1

    def stored_spec(self) -> dict[str, Spec]:
        """See Task."""
        return labels.stored_spec()

    def missing(self) -> dict[str, np.ndarray]:
        """See Task."""
        return labels.missing()

    content_unit: ClassVar[str] = "object"

    def content(self, stored: Mapping[str, Any], framing: Framing) -> LabelContent:
        """See Task."""
        return labels.content(stored, framing, num_classes=len(self.classes))

    @property
    def teachable(self) -> tuple[str, ...]:
        """See Task: boxes, with their scores and classes, and masks."""
        return ("boxes", "masks") if self.with_masks else ("boxes",)

    def taught_by(self, stored: Mapping[str, Any]) -> tuple[str, ...]:
        """See Task. A labeled image without any object teaches boxes: all of it is background."""
        parts = self.teachable if labels.has_masks(stored) else ("boxes",)
        return parts if float(stored["labelled"]) > 0 else ()

    def surplus(self, stored: Mapping[str, Any]) -> int:
        """See Task."""
        return max(int((~np.asarray(stored["ignore"], bool)).sum()) - self.max_boxes, 0)

    def compact(self, stored: Mapping[str, Any]) -> Mapping[str, Any]:
        """See Task."""
        return labels.compact(stored)

    def label_spec(self, size: tuple[int, int]) -> dict[str, Spec]:
        """See Task."""
        return labels.label_spec(max_boxes=self.max_boxes, mask_size=self._mask_size)

    def warp(self, stored: Mapping[str, Tensor], view: View) -> dict[str, Tensor]:
        """See Task."""
        return labels.warp(stored, view, max_boxes=self.max_boxes, mask_size=self._mask_size)

    # ---- model --------------------------------------------------------------------------------

    @property
    def features(self) -> tuple[str, ...]:
        return LEVELS

    def scales(self, size: tuple[int, int]) -> tuple[float, ...]:
        """Sides of the anchors in strides, for an input of (H, W) pixels."""
        if self.anchor_scales is not None:
            return self.anchor_scales
        return (max(1.0, _ANCHOR_STRIDES * relative_size(size)),)

    def build_head(self, size: tuple[int, int], norm: Mapping[str, Any]) -> DetectionHead:
        """See Task."""
        num_classes = len(self.classes)
        mask_head = None
        if self.with_masks:
            mask_head = MaskHead(
                num_classes=num_classes,
                region=self.mask_region,
                channels=self.mask_channels,
                num_convs=self.mask_convs,
                norm=norm,
                name="mask_head",
            )
        return DetectionHead(
            name=self.name,
            size=size,
            rpn=RegionProposalNetwork(
                num_anchors=len(self.scales(size)) * len(self.anchor_ratios),
                channels=self.rpn_channels,
                num_convs=self.rpn_convs,
                norm=norm,
                name="rpn",
            ),
            box_head=BoxHead(
                num_classes=num_classes,
                region=self.box_region,
                channels=self.box_channels,
                num_convs=self.box_convs,
                units=self.box_units,
                norm=norm,
                name="box_head",
            ),
            mask_head=mask_head,
        )

    def label_weight(self, label: Mapping[str, Tensor]) -> Tensor:
        """See Task: 1 for a labeled image, with or without objects."""
        return ops.cast(label["labelled"], "float32")

    def loss(
        self, label: Mapping[str, Tensor], prediction: Any, head: DetectionHead, keys: Tensor
    ) -> Tensor:
        """See Task. Box head and mask head run once, in the mode of the call of `head`."""
        anchors = self._anchors(head)
        total = losses.rpn_loss(
            prediction["scores"],
            prediction["deltas"],
            anchors,
            label,
            keys,
            area=prediction["area"],
            count=self.num_sampled_anchors,
        )
        proposals, present = self._propose(prediction, head, anchors)
        foreground = max(1, round(self.num_regions * self.foreground_share))
        regions = targets.sample_regions(
            proposals, present, label, keys, count=self.num_regions, foreground=foreground
        )
        unit, training = self._level_unit(head), head.in_training
        scores, deltas = head.classify(
            prediction, regions.boxes, level_unit=unit, training=training
        )
        total = total + losses.box_loss(scores, deltas, regions, label, count=self.num_regions)
        if self.with_masks:
            number = min(self.num_mask_regions, foreground)
            some, counts = targets.regions_with_masks(regions, label, count=number)
            classes = ops.maximum(some.classes - 1, 0)
            logits = head.segment(
                prediction, some.boxes, classes, counts, level_unit=unit, training=training
            )
            target = losses.mask_targets(some.boxes, some.index, label, size=logits.shape[-1])
            total = total + losses.mask_loss(logits, target, counts)
        return ops.where(self.label_weight(label) > 0.0, total, 0.0)

    def outputs(
        self, prediction: Any, head: DetectionHead, map_size: tuple[int, int]
    ) -> dict[str, Tensor]:
        """See Task: by descending score; class -1 and zeros where there is nothing."""
        proposals, present = self._propose(prediction, head, self._anchors(head))
        unit = self._level_unit(head)
        scores, deltas = head.classify(prediction, proposals, level_unit=unit, training=False)
        found = inference.detect(
            scores,
            deltas,
            proposals,
            present,
            prediction["area"],
            floor=self.score_floor,
            num_candidates=self.num_candidates,
            num_detections=self.max_detections,
            threshold=self.detection_nms,
        )
        outputs = found._asdict()
        if self.with_masks:
            exists, classes = found.classes >= 0, ops.maximum(found.classes, 0)
            logits = head.segment(
                prediction, found.boxes, classes, exists, level_unit=unit, training=False
            )
            outputs["masks"] = ops.where(exists[:, :, None, None], ops.sigmoid(logits), 0.0)
        return outputs

    def _anchors(self, head: DetectionHead) -> Tensor:
        grid = anchor_grid(head.size, scales=self.scales(head.size), ratios=self.anchor_ratios)
        return ops.convert_to_tensor(grid, dtype=full())

    def _level_unit(self, head: DetectionHead) -> float:
        return self.level_unit or _LEVEL_UNIT * relative_size(head.size)

    def _propose(self, prediction: Any, head: DetectionHead, anchors: Tensor):
        per_cell = len(self.scales(head.size)) * len(self.anchor_ratios)
        return inference.propose(
            prediction["scores"],
            prediction["deltas"],
            anchors,
            prediction["area"],
            level_counts=level_counts(head.size, per_cell),
            num_candidates=self.num_candidates,
            num_proposals=self.num_proposals,
            threshold=self.proposal_nms,
        )

    # ---- pseudo labels --------------------------------------------------------------------------

    @property
    def kind(self) -> str:
        return "boxes"

    @property
    def unit(self) -> str:
        """See Task: boxes are fractions of the picture."""
        return ""

    @property
    def floor(self) -> float:
        return self.score_floor

    def record_spec(self) -> dict[str, Spec]:
        return records.record_spec()

    def encode(
        self, outputs: Mapping[str, np.ndarray], area: np.ndarray, size: tuple[int, int]
    ) -> dict[str, Any]:
        """See Task."""
        return records.encode(outputs, area, floor=self.floor, limit=self._limit)

    @property
    def _limit(self) -> int:
        """The most boxes that a column keeps of an image."""
        return min(self.max_stored, self.max_detections, self.num_proposals)

    def record_of(self, stored: Mapping[str, Any]) -> dict[str, Any]:
        """See columns.record_of."""
        return records.record_of(stored, floor=self.floor, limit=self.max_stored)

    def decode(self, record: Mapping[str, Any], threshold: Threshold) -> dict[str, np.ndarray]:
        """See columns.decode: a number for all classes, or one for each."""
        return records.decode(record, self._limits(threshold))

    takes_threshold: ClassVar[bool] = True

    def check_threshold(self, threshold: Threshold) -> None:
        self._limits(threshold)

    def sketch(self, record: Mapping[str, Any]) -> Sketch:
        """See columns.sketch."""
        return records.sketch(record)

    def _limits(self, threshold: Threshold) -> np.ndarray:
        """Scores below the floor are not stored."""
        return thresholds_by_class(self.name, threshold, self.classes, lowest=self.floor)

    # ---- measuring and showing ----------------------------------------------------------------

    foreign_forms: ClassVar[tuple[str, ...]] = external.FORMS

    def check_class_ids(self, class_ids: tuple[int, ...]) -> None:
        """See Task."""
        external.check_class_ids(self.name, class_ids, len(self.classes))

    def external_outputs(
        self, values: Any, form: str, map_size: tuple[int, int], **how: Any
    ) -> dict[str, np.ndarray]:
        """See foreign.outputs."""
        shape = {"num_classes": len(self.classes), "with_masks": self.with_masks}
        return external.outputs(self.name, values, form, **shape, **how)

    def evaluator(self) -> Evaluator:
        """See Task: box_ap50, box_ap, mask_ap."""
        return AveragePrecision(
            num_classes=len(self.classes),
            with_masks=self.with_masks,
            max_detections=self.max_detections,
        )

    def quality(self) -> Evaluator:
        """See Task: precision50, recall50, mask_iou."""
        return PseudoBoxes()

    counted: ClassVar[str] = "objects"

    def count_classes(self, stored: Mapping[str, Any]) -> np.ndarray:
        """See labels.count_classes."""
        return labels.count_classes(stored, num_classes=len(self.classes))

    def certainty(
        self, label: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray]
    ) -> ScoredPredictions:
        """See metrics.certainty."""
        kept = {"floor": self.floor, "limit": self._limit}
        return certainty(label, outputs, num_classes=len(self.classes), **kept)

    def prior(self) -> TrivialBaseline:
        return NoBoxes(mask_size=2 * self.mask_region if self.with_masks else None)

    kinds: ClassVar[tuple[str, ...]] = ("boxes",)

    def tell(self, outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """See drawing.tell."""
        return pictures.tell(outputs, self.classes)

    def draw(self, image: np.ndarray, shown: Mapping[str, np.ndarray]) -> np.ndarray:
        """See Task."""
        return pictures.draw(image, shown, self.classes)
