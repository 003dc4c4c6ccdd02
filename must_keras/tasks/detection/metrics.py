"""The quality of pseudo boxes, the prediction of no object, and what detection is scored by."""

import math

import numpy as np
from pycocotools import mask as coco_mask

from must_keras.ops.masks import encode_rle, paste
from must_keras.tasks import base
from must_keras.tasks.details import Disagreement
from must_keras.tasks.detection.average_precision import AveragePrecision
from must_keras.tasks.detection.matching import (
    BACKGROUND,
    confusions,
    image_of,
    is_covered,
    objects,
    take_match,
)
from must_keras.tasks.detection.records import ranked
from must_keras.tasks.evaluation import Evaluator, ScoredPredictions, TrivialBaseline, share
from must_keras.tasks.parts import Arrays


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
            truth, pseudo = (list(objects(image_of(side, i))) for side in (label, prediction))
            self._add(truth, [found for found in pseudo if not found[2]])

    def _add(self, truth: list[tuple], pseudo: list[tuple]) -> None:
        free = [t for t in truth if not t[2]]
        crowds = [t for t in truth if t[2]]
        self._num_true += len(free)
        for box, category, _, mask in pseudo:
            match = take_match(box, category, free)
            near = [crowd for crowd in crowds if crowd[1] in (-1, category)]
            if match is None and is_covered(box, near):
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


def _mask_iou(mask: np.ndarray, box: np.ndarray, other: np.ndarray, its_box: np.ndarray) -> float:
    far = np.ceil(np.maximum(box, its_box))
    size = (int(far[2]), int(far[3]))
    pasted = [encode_rle(paste(m, b, size)) for m, b in ((mask, box), (other, its_box))]
    one, two = ([{"size": list(size), "counts": counts}] for counts in pasted)
    return float(coco_mask.iou(one, two, [0])[0, 0])


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

    def disagreements(self, label: Arrays, prediction: Arrays) -> list[Disagreement | None]:
        """Return the number of mistakes in each image: objects missed or confused, and false ones.

        See `confusions`.
        """
        found: list[Disagreement | None] = []
        for image, labeled in enumerate(np.asarray(label["labelled"]) > 0):
            pairs = confusions(image_of(label, image), image_of(prediction, image))
            wrong = [(true, by) for true, by in pairs if true != by]
            missed = sum(by == BACKGROUND for _, by in wrong)
            false = sum(true == BACKGROUND for true, _ in wrong)
            counts = {"missed": missed, "false": false, "confused": len(wrong) - missed - false}
            text = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
            one = Disagreement(float(len(wrong)), f"objects: {text or 'all found'}")
            found.append(one if labeled else None)
        return found

    def scored_predictions(self, label: Arrays, prediction: Arrays) -> ScoredPredictions:
        """Return the detections that would be stored, correct with an IoU of 0.5 in their class.

        By descending score each takes the object that it overlaps most, once; what finds none and
        lies in an ignored region by half is left out.
        """
        scores, classes, correct = [], [], []
        num_true, records = np.zeros(len(self.task.classes), np.int64), self.task.records
        for image in np.flatnonzero(np.asarray(label["labelled"]) > 0):
            true = list(objects(image_of(label, image)))
            ignored = [found for found in true if found[2]]
            free = [found for found in true if not found[2]]
            np.add.at(num_true, [category for _, category, _, _ in free], 1)
            found = image_of(prediction, image)
            for i in ranked(found, floor=records.floor)[: records.limit]:
                box, category = found["boxes"][i], int(found["classes"][i])
                hit = take_match(box, category, free) is not None
                if not hit and is_covered(box, ignored):
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
