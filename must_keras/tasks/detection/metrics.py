"""Average precision as pycocotools computes it, and the quality of pseudo boxes."""

import contextlib
import io
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from must_keras.ops.masks import encode_rle, paste
from must_keras.tasks import base
from must_keras.tasks.detection.records import ranked
from must_keras.tasks.evaluation import Evaluator, ScoredPredictions, TrivialBaseline, share
from must_keras.tasks.parts import Arrays

_MATCHED_IOU, _IGNORED_COVERAGE = 0.5, 0.5


class AveragePrecision(Evaluator):
    """box_ap50, box_ap and mask_ap: pycocotools over all sizes of objects.

    Ignored boxes are its crowds; one of class -1, and boxes without room, are crowds of every
    class. For masks, an object without one is ignored within its box. Masks are compared as
    pixels of the network's input. Detections without masks have no mask_ap.

    Args:
        num_classes: K.
        with_masks: whether masks are scored, where there are any.
        max_detections: the largest number of detections of a class in an image that count.

    Example:
        AveragePrecision(num_classes=2, with_masks=False, max_detections=100)
    """

    metrics = (share("box_ap50"), share("box_ap"), share("mask_ap"))

    def __init__(self, *, num_classes: int, with_masks: bool, max_detections: int):
        self._num_classes, self._max_detections = num_classes, max_detections
        self._with_masks = True
        if not with_masks:
            self._leave_out_masks()
        self._images: list[dict[str, int]] = []
        self._truth: list[dict[str, Any]] = []
        self._detections: list[dict[str, Any]] = []

    def update(self, label: Arrays, prediction: Arrays) -> None:
        if "masks" not in prediction:
            self._leave_out_masks()
        for i in np.flatnonzero(np.asarray(label["labelled"]) > 0):
            self._add(_image(label, i), _image(prediction, i))

    def _leave_out_masks(self) -> None:
        self._with_masks, self.metrics = False, AveragePrecision.metrics[:2]

    def _add(self, truth: Arrays, found: Arrays) -> None:
        corners = [truth["boxes"], truth["truncated_boxes"], found["boxes"]]
        far = np.ceil(np.concatenate([c.reshape(-1, 4) for c in corners]).max(axis=0, initial=1.0))
        image = {"id": len(self._images), "height": int(far[2]), "width": int(far[3])}
        self._images.append(image)
        detected = sorted({int(c) for c in found["classes"] if c >= 0})
        for box, category, is_ignored, mask in _objects(truth):
            flags = {"iscrowd": int(is_ignored), "mask_iscrowd": int(is_ignored or mask is None)}
            shape = np.ones((1, 1)) if mask is None else mask
            # A crowd of every class matters where that class was detected.
            for one in [category] if category >= 0 else detected:
                self._annotate(self._truth, image, one, box, shape, **flags)
        masks = found.get("masks", np.ones((len(found["boxes"]), 1, 1)))
        rows = zip(found["boxes"], found["scores"], found["classes"], masks, strict=True)
        for box, score, category, mask in rows:
            if category >= 0:
                score = float(score)
                self._annotate(self._detections, image, int(category), box, mask, score=score)

    def _annotate(
        self, side: list, image: dict, category: int, box: np.ndarray, mask: np.ndarray, **more: Any
    ) -> None:
        ymin, xmin, ymax, xmax = (float(v) for v in box)
        annotation = {
            # 0 means "unmatched" to pycocotools.
            "id": len(side) + 1,
            "image_id": image["id"],
            "category_id": category,
            "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
            "area": (xmax - xmin) * (ymax - ymin),
            "iscrowd": 0,
        }
        if self._with_masks:
            size = (image["height"], image["width"])
            counts = encode_rle(paste(mask, box, size))
            annotation["segmentation"] = {"size": list(size), "counts": counts}
        side.append(annotation | more)

    def values(self) -> list[float]:
        """Return the values; NaN where there is no object (with a mask) at all."""
        precision = self._precision(self._truth, "bbox")
        values = [_mean(precision[:1]), _mean(precision)]
        if self._with_masks:
            truth = [a | {"iscrowd": a["mask_iscrowd"]} for a in self._truth]
            values.append(_mean(self._precision(truth, "segm")))
        return values

    def _precision(self, truth: list[dict[str, Any]], kind: str) -> np.ndarray:
        """Return precision [T, 101, K, 1, 1] at IoU 0.5, ... and recall 0, 0.01, ...; -1: none."""
        if not self._images:
            return np.full((10, 101, self._num_classes, 1, 1), -1.0)
        # Imported here: they bring matplotlib along.
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        categories = [{"id": k, "name": str(k)} for k in range(self._num_classes)]
        shared = {"images": self._images, "categories": categories}
        with contextlib.redirect_stdout(io.StringIO()):
            sides = []
            for annotations in (truth, self._detections):
                side = COCO()
                # pycocotools writes into them.
                copies = [dict(a) for a in annotations]
                side.dataset = shared | {"annotations": copies}
                side.createIndex()
                sides.append(side)
            evaluation = COCOeval(*sides, iouType=kind)
            evaluation.params.areaRng = [[0.0, 1e10]]
            evaluation.params.areaRngLbl = ["all"]
            evaluation.params.maxDets = [self._max_detections]
            evaluation.evaluate()
            evaluation.accumulate()
        return evaluation.eval["precision"]


class PseudoBoxes(Evaluator):
    """precision50, recall50 and mask_iou of pseudo labels, compared with ground truth.

    Pseudo boxes, in their order (of scores), each take the free true box of their class with the
    highest IoU, if that is at least 0.5. A box left over of which half lies in an ignored one
    counts nothing. mask_iou is the mean over matched pairs with masks, in pixels of the input.

    Example:
        PseudoBoxes().result()  # NaN each: nothing is compared yet
    """

    metrics = (share("precision50"), share("recall50"), share("mask_iou"))

    def __init__(self) -> None:
        self._num_matched, self._num_pseudo, self._num_true = 0, 0, 0
        self._mask_ious: list[float] = []

    def update(self, label: Arrays, prediction: Arrays) -> None:
        both = (np.asarray(label["labelled"]) > 0) & (np.asarray(prediction["labelled"]) > 0)
        for i in np.flatnonzero(both):
            truth, pseudo = (list(_objects(_image(side, i))) for side in (label, prediction))
            self._add(truth, [found for found in pseudo if not found[2]])

    def _add(self, truth: list[tuple], pseudo: list[tuple]) -> None:
        free = [t for t in truth if not t[2]]
        crowds = [t for t in truth if t[2]]
        self._num_true += len(free)
        for box, category, _, mask in pseudo:
            match = _take_match(box, category, free)
            near = [crowd for crowd in crowds if crowd[1] in (-1, category)]
            if match is None and _is_covered(box, near):
                continue
            self._num_pseudo += 1
            if match is not None:
                own_box, _, _, own_mask = match
                self._num_matched += 1
                if mask is not None and own_mask is not None:
                    self._mask_ious.append(_mask_iou(mask, box, own_mask, own_box))

    def values(self) -> list[float]:
        return [
            self._num_matched / self._num_pseudo if self._num_pseudo else math.nan,
            self._num_matched / self._num_true if self._num_true else math.nan,
            float(np.mean(self._mask_ious)) if self._mask_ious else math.nan,
        ]


class NoBoxes(TrivialBaseline):
    """The prediction of no object: no other that ignores the image has a higher AP.

    Example:
        NoBoxes(mask_size=None).predict(2)["classes"]  # [[-1], [-1]]
    """

    def __init__(self, *, mask_size: int | None):
        self._mask_size = mask_size

    def update(self, label: Arrays) -> None:
        """Ignore the labels: the prediction does not depend on them."""

    def prediction(self) -> dict[str, np.ndarray]:
        size = self._mask_size
        masks = {} if size is None else {"masks": np.zeros((1, size, size), np.float32)}
        return masks | {
            "boxes": np.zeros((1, 4), np.float32),
            "scores": np.zeros((1,), np.float32),
            "classes": np.full((1,), -1, np.int32),
        }


def _image(batch: Arrays, index: int) -> Arrays:
    """Return one image's label or prediction."""
    return {key: np.asarray(value[index]) for key, value in batch.items()}


def _objects(label: Arrays) -> Iterator[tuple]:
    """Yield (box, class, is ignored, mask or None) of everything in one image's label."""
    columns = (label[key] for key in ("boxes", "classes", "ignore", "has_mask", "masks"))
    for box, category, is_ignored, has_mask, mask in zip(*columns, strict=True):
        if category >= 0 or is_ignored:
            yield box, int(category), bool(is_ignored), mask if has_mask else None
    for box in label["truncated_boxes"]:
        if box[2] > box[0]:
            yield box, -1, True, None


def _take_match(box: np.ndarray, category: int, free: list[tuple]) -> tuple | None:
    """Remove the object of a class that a box overlaps most, by an IoU of at least 0.5; return it.

    Args:
        box: of a prediction.
        category: its class.
        free: objects of `_objects` that no prediction has taken.
    """
    overlaps = [_overlaps(box, other[0])[0] if other[1] == category else 0.0 for other in free]
    best = int(np.argmax(overlaps)) if overlaps else 0
    return free.pop(best) if overlaps and overlaps[best] >= _MATCHED_IOU else None


def _is_covered(box: np.ndarray, ignored: list[tuple]) -> bool:
    """Return whether at least half of a box lies in an object of `_objects` that is ignored."""
    return any(_overlaps(box, region[0])[1] >= _IGNORED_COVERAGE for region in ignored)


def _overlaps(box: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return IoU, and the share of `box` that lies in `other`."""
    sides = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    common = float(np.prod(np.maximum(sides, 0.0)))
    own, its = (float(np.prod(np.maximum(b[2:] - b[:2], 0.0))) for b in (box, other))
    union = own + its - common
    return (common / union if union > 0 else 0.0), (common / own if own > 0 else 0.0)


def _mask_iou(mask: np.ndarray, box: np.ndarray, other: np.ndarray, its_box: np.ndarray) -> float:
    far = np.ceil(np.maximum(box, its_box))
    size = (int(far[2]), int(far[3]))
    pasted = [encode_rle(paste(m, b, size)) for m, b in ((mask, box), (other, its_box))]
    one, two = ([{"size": list(size), "counts": counts}] for counts in pasted)
    return float(coco_mask.iou(one, two, [0])[0, 0])


def _mean(precision: np.ndarray) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else math.nan


class Metrics(base.Metrics):
    """Average precision, compared with the prediction of no object.

    Example:
        Detection(name="objects", classes=("cat", "dog")).metrics.evaluator()
    """

    def evaluator(self) -> Evaluator:
        return AveragePrecision(
            num_classes=len(self.task.classes),
            with_masks=self.task.with_masks,
            max_detections=self.task.max_detections,
        )

    def quality(self) -> Evaluator:
        return PseudoBoxes()

    def trivial_baseline(self) -> TrivialBaseline:
        return NoBoxes(mask_size=2 * self.task.mask_region if self.task.with_masks else None)

    def scored_predictions(self, label: Arrays, prediction: Arrays) -> ScoredPredictions:
        """Return the detections that would be stored, correct with an IoU of 0.5 in their class.

        By descending score each takes the object that it overlaps most, once; what finds none and
        lies in an ignored region by half is left out.
        """
        scores, classes, correct = [], [], []
        num_true, records = np.zeros(len(self.task.classes), np.int64), self.task.records
        for image in np.flatnonzero(np.asarray(label["labelled"]) > 0):
            true = list(_objects(_image(label, image)))
            ignored = [found for found in true if found[2]]
            free = [found for found in true if not found[2]]
            np.add.at(num_true, [category for _, category, _, _ in free], 1)
            found = _image(prediction, image)
            for i in ranked(found, floor=records.floor)[: records.limit]:
                box, category = found["boxes"][i], int(found["classes"][i])
                hit = _take_match(box, category, free) is not None
                if not hit and _is_covered(box, ignored):
                    continue
                scores.append(found["scores"][i])
                classes.append(category)
                correct.append(hit)
        return ScoredPredictions(
            scores=np.array(scores, np.float32),
            classes=np.array(classes, np.int64),
            correct=np.array(correct, bool),
            num_true=num_true,
        )
