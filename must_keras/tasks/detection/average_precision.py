"""Average precision and recall as pycocotools computes them, and what is confused with what."""

import collections
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.ops.masks import encode_rle, paste
from must_keras.tasks.details import Details
from must_keras.tasks.detection.matching import confusions, image_of, objects
from must_keras.tasks.evaluation import Evaluator, share
from must_keras.tasks.parts import Arrays

# COCO's limits between small, medium and large objects: sides in pixels of images of 640.
_SMALL, _LARGE, _COCO_SIZE = 32, 96, 640
_ALL = (0.0, 1e10)
# Of its IoU thresholds, 0.5 to 0.95 by 0.05.
_IOU_50, _IOU_75 = 0, 5


class AveragePrecision(Evaluator):
    """box_ap50, box_ap and mask_ap as pycocotools computes them, over all sizes of objects.

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
        self._confused = collections.Counter[tuple[int, int]]()

    def update(self, label: Arrays, prediction: Arrays) -> None:
        if "masks" not in prediction:
            self._leave_out_masks()
        for i in np.flatnonzero(np.asarray(label["labelled"]) > 0):
            self._add(image_of(label, i), image_of(prediction, i))

    def _leave_out_masks(self) -> None:
        self._with_masks, self.metrics = False, AveragePrecision.metrics[:2]

    def _add(self, truth: Arrays, found: Arrays) -> None:
        self._confused.update(confusions(truth, found))
        corners = [truth["boxes"], truth["truncated_boxes"], found["boxes"]]
        far = np.ceil(np.concatenate([c.reshape(-1, 4) for c in corners]).max(axis=0, initial=1.0))
        image = {"id": len(self._images), "height": int(far[2]), "width": int(far[3])}
        self._images.append(image)
        detected = sorted({int(c) for c in found["classes"] if c >= 0})
        for box, category, is_ignored, mask in objects(truth):
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
            "id": len(side) + 1,
            "image_id": image["id"],
            "category_id": category,
            "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
            "area": (xmax - xmin) * (ymax - ymin),
            "iscrowd": 0,
        }
        if self._with_masks:
            size = (image["height"], image["width"])
            pasted = paste(mask, box, size)
            annotation["segmentation"] = {"size": list(size), "counts": encode_rle(pasted)}
            annotation["mask_area"] = float(np.count_nonzero(pasted))
        side.append(annotation | more)

    def values(self) -> list[float]:
        """Return the values; NaN where there is no object (with a mask) at all."""
        precision, _ = self._evaluated("bbox", (_ALL,))
        values = [_mean(precision[_IOU_50]), _mean(precision)]
        if self._with_masks:
            values.append(_mean(self._evaluated("segm", (_ALL,))[0]))
        return values

    def details(self, classes: Sequence[str], *, size: int) -> Details:
        """Return AP and AR by size of object and by class, and confusions of boxes.

        As in COCO an object is small up to 32 pixels a side and large from 96 on, in an image whose
        longer side has 640: the size is relative to the image. It is that of the object's mask,
        where there is one. AR is the highest recall, averaged over classes and IoU thresholds.
        Confusions are those of `confusions`.
        """
        sides = (side * size / _COCO_SIZE for side in (_SMALL, _LARGE))
        small, large = (side**2 for side in sides)
        areas = (_ALL, (0.0, small), (small, large), (large, _ALL[1]))
        real = [one["category_id"] for one in self._truth if not one["iscrowd"]]
        columns = {"objects": np.bincount(real, minlength=self._num_classes)}
        values = {}
        for name, kind in {"box": "bbox", "mask": "segm"}.items():
            if kind == "segm" and not self._with_masks:
                continue
            precision, recall = self._evaluated(kind, areas)
            values[f"{name}_ap75"] = _mean(precision[_IOU_75, :, :, 0])
            for place, which in enumerate(("small", "medium", "large"), start=1):
                values[f"{name}_ap_{which}"] = _mean(precision[:, :, :, place])
            values[f"{name}_ar"] = _mean(recall[:, :, 0])
            of_classes = [precision[:, :, k, 0] for k in range(self._num_classes)]
            columns[f"{name}_ap50"] = np.array([_mean(one[_IOU_50]) for one in of_classes])
            columns[f"{name}_ap"] = np.array([_mean(one) for one in of_classes])
            of_classes = [recall[:, k, 0] for k in range(self._num_classes)]
            columns[f"{name}_ar"] = np.array([_mean(one) for one in of_classes])
        count = self._num_classes + 1
        confused = {(a % count, b % count): number for (a, b), number in self._confused.items()}
        return Details.of_classes(classes, columns, confused=confused, values=values)

    def _evaluated(
        self, kind: str, areas: Sequence[tuple[float, float]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return precision [T, 101, K, A] and recall [T, K, A]; -1: no object.

        Args:
            kind: "bbox", or "segm" where there are masks.
            areas: A ranges of the objects' areas in square pixels.
        """
        shape = (self._num_classes, len(areas))
        if not self._images:
            return np.full((10, 101, *shape), -1.0), np.full((10, *shape), -1.0)
        # Imported here: only an evaluation needs it.
        from hotcoco import COCO, COCOeval

        # As in COCO, the area of an object is its mask's; that of a detection is what is compared.
        sides: list[list[dict[str, Any]]] = [[], []]
        for one in self._truth:
            area = one["area"] if one["mask_iscrowd"] else one.get("mask_area", one["area"])
            crowd = one["iscrowd" if kind == "bbox" else "mask_iscrowd"]
            sides[0].append(one | {"area": area, "iscrowd": crowd})
        for one in self._detections:
            sides[1].append(one | {"area": one["area" if kind == "bbox" else "mask_area"]})
        categories = [{"id": k, "name": str(k)} for k in range(self._num_classes)]
        shared = {"images": self._images, "categories": categories}
        evaluation = COCOeval(*(COCO(shared | {"annotations": side}) for side in sides), kind)
        evaluation.params.areaRng = [list(area) for area in areas]
        evaluation.params.areaRngLbl = [str(area) for area in areas]
        evaluation.params.maxDets = [self._max_detections]
        evaluation.evaluate()
        evaluation.accumulate()
        return evaluation.eval["precision"][..., 0], evaluation.eval["recall"][..., 0]


def _mean(values: np.ndarray) -> float:
    known = values[values > -1]
    return float(known.mean()) if known.size else math.nan
