"""What a pseudo-label dataset stores of a detector's predictions."""

from typing import Any, ClassVar

import numpy as np

from must_keras.errors import DataError
from must_keras.ops.masks import decode_rle, encode_rle
from must_keras.tasks import base
from must_keras.tasks.detection.labels import masks_of_some
from must_keras.tasks.parts import Arrays, Size, Spec, Stored
from must_keras.tasks.summaries import Regions, Sketch
from must_keras.tasks.thresholds import DROPPED, Threshold


class Records(base.Records):
    """Boxes as fractions of the picture, by descending score.

    "masks" are COCO's compressed run-length codes of [mask_size, mask_size] crops of the boxes,
    empty without a mask. "ignore": regions, such as crowds, that are neither an object nor
    background whatever the threshold; a detector has none. "truncated": the detector may have had
    more objects.

    Example:
        Detection(name="objects", classes=("cat", "dog")).records.spec()
    """

    takes_threshold: ClassVar[bool] = True
    takes_ignore_from: ClassVar[bool] = True
    why_unweighted: ClassVar[str | None] = None

    @property
    def floor(self) -> float:
        return self.task.score_floor

    @property
    def limit(self) -> int:
        """The largest number of boxes that is stored of an image."""
        return min(self.task.max_stored, self.task.max_detections, self.task.num_proposals)

    def spec(self) -> dict[str, Spec]:
        return {
            "boxes": Spec((None, 4), "float32"),
            "scores": Spec((None,), "float32"),
            "classes": Spec((None,), "int32"),
            "ignore": Spec((None,), "bool", optional=True),
            "masks": Spec((None,), "bytes"),
            "mask_size": Spec((), "int32"),
            "truncated": Spec((), "bool"),
        }

    def from_prediction(self, prediction: Arrays, area: np.ndarray, size: Size) -> dict[str, Any]:
        """Return at most `limit` boxes; a full list may lack objects."""
        order, num_boxes = ranked(prediction, floor=self.floor), len(prediction["scores"])
        # A full list of detections may have been cut as well.
        limit = min(self.limit, num_boxes)
        area = np.asarray(area, np.float64)
        sides = np.maximum(area[2:] - area[:2], 1e-9)
        boxes = np.asarray(prediction["boxes"], np.float64)
        boxes = (boxes - np.tile(area[:2], 2)) / np.tile(sides, 2)
        objects = dict(prediction) | {
            "boxes": np.clip(boxes, 0.0, 1.0),
            "ignore": np.zeros(num_boxes),
            "has_mask": np.full(num_boxes, "masks" in prediction),
            "masks": np.asarray(prediction.get("masks", np.zeros((num_boxes, 1, 1)))) >= 0.5,
        }
        return _record(objects, order[:limit], truncated=len(order) >= limit)

    def from_label(self, stored: Stored) -> dict[str, Any]:
        """Return the record of boxes with "scores", or of certain ones: 1.

        Objects with a score below the floor are lost, and all but the `max_stored` best ones; the
        record is truncated then. Ignored regions have no score: they count as 1.
        """
        limit = self.task.max_stored
        ignore = np.asarray(stored["ignore"], bool)
        scores = np.asarray(stored.get("scores", np.ones(len(ignore))), np.float32)
        scores = np.where(ignore, np.float32(1), scores)
        order = np.argsort(-scores, kind="stable")
        order = order[scores[order] >= np.float32(self.floor)]
        objects = dict(stored) | {"scores": scores}
        return _record(objects, order[:limit], truncated=len(order) > limit)

    def to_label(
        self, record: Stored, threshold: Threshold, ignore_from: float | None = None
    ) -> dict[str, np.ndarray]:
        """Return the boxes at or above the threshold of their class; the others are background.

        A truncated record whose lowest score is at least a threshold may lack objects: the whole
        picture is then ignored where no stored box claims it.

        Boxes of a class that is dropped are ignored, whatever their score, and not background:
        with a threshold most objects of a class are still positives, but of this class none would
        be, and the head would learn from every image of the pool that its objects are background.

        The weight of an object is its score. A box that is ignored because of its score or its
        class has its score as well (see loss.near_dropped), other ignored regions 0.

        Args:
            record: those of older versions ignore nothing.
            threshold: one for all classes, or one for each; DROPPED for one that is dropped.
            ignore_from: boxes with a score from this up to the threshold are ignored, neither
                objects nor background: they may be either. None: they are background.
        """
        limits = self.limits(threshold)
        scores = np.asarray(record["scores"], np.float32)
        labels = np.asarray(record["classes"], np.int32)
        ignore = _ignored(record)
        is_sure = scores >= np.float32(limits)[labels]
        ignored = ignore | (limits == DROPPED)[labels]
        if ignore_from is not None:
            ignored |= ~is_sure & (scores >= np.float32(ignore_from))
        keep = np.flatnonzero(ignored | is_sure)
        boxes = np.asarray(record["boxes"], np.float32).reshape(-1, 4)[keep]
        masks = _masks(record, keep)
        labels, ignored = labels[keep], ignored[keep]
        weights = np.where(ignore, np.float32(0), scores)[keep]
        scores = scores[~ignore]
        are_above = not len(scores) or scores.min() >= np.float32(limits.min())
        if bool(record["truncated"]) and are_above:
            boxes = np.concatenate([boxes, np.float32([[0, 0, 1, 1]])])
            labels, ignored = np.append(labels, np.int32(-1)), np.append(ignored, True)
            weights = np.append(weights, np.float32(0))
            masks.append(None)
        has_mask = np.array([mask is not None for mask in masks], bool)
        rows, found = np.flatnonzero(has_mask), [mask for mask in masks if mask is not None]
        weight = {"weight": weights} if self.task.weighted else {}
        return weight | {
            "boxes": boxes,
            "classes": labels,
            "masks": masks_of_some(len(masks), rows, found, size=int(record["mask_size"])),
            "has_mask": has_mask,
            "ignore": ignored,
            "labelled": np.asarray(1.0, np.float32),
        }

    def sketch(self, record: Stored) -> Sketch:
        """Return every stored box but those that are only ignored.

        The certainty is high where scores s are near 0 or 1: the mean of |2 s - 1| with the scores
        as weights, so that many faint boxes do not outweigh a doubtful one. 1 without a box.
        """
        shown = np.flatnonzero(~_ignored(record))
        scores = np.asarray(record["scores"], np.float32)[shown]
        weight = float(scores.sum())
        decided = float((scores * np.abs(2.0 * scores - 1.0)).sum() / weight) if weight else 1.0
        regions = Regions(
            boxes=np.asarray(record["boxes"], np.float32).reshape(-1, 4)[shown],
            scores=scores,
            classes=np.asarray(record["classes"], np.int32)[shown],
            masks=tuple(_masks(record, shown)),
        )
        return Sketch(certainty=decided, regions=regions)


def _record(objects: Stored, order: np.ndarray, *, truncated: bool) -> dict[str, Any]:
    """Return the record of some objects, [N, ...], by their places in an order."""
    masks, has_mask = np.asarray(objects["masks"]), np.asarray(objects["has_mask"], bool)
    return {
        "boxes": np.asarray(objects["boxes"], np.float32)[order],
        "scores": np.asarray(objects["scores"], np.float32)[order],
        "classes": np.asarray(objects["classes"], np.int32)[order],
        "ignore": np.asarray(objects["ignore"], bool)[order],
        "masks": [encode_rle(masks[i]) if has_mask[i] else b"" for i in order],
        "mask_size": np.int32(masks.shape[-1]),
        "truncated": np.bool_(truncated),
    }


def ranked(prediction: Arrays, *, floor: float) -> np.ndarray:
    """Return places of detections by descending score, without those below the floor."""
    scores = np.asarray(prediction["scores"], np.float32)
    order = np.argsort(-scores, kind="stable")
    kept = (np.asarray(prediction["classes"]) >= 0) & (scores >= np.float32(floor))
    return order[kept[order]]


def _ignored(record: Stored) -> np.ndarray:
    """Return which regions of a record are ignored, [N] bool; none in those of older versions."""
    return np.asarray(record.get("ignore", np.zeros(len(record["scores"]))), bool)


def _masks(record: Stored, places: np.ndarray) -> list[np.ndarray | None]:
    """Return the stored masks at some places, [mask_size, mask_size], or None without one.

    Raises:
        DataError: a code is damaged.
    """
    size, texts = int(record["mask_size"]), [record["masks"][i] for i in places]
    codes = [text.encode() if isinstance(text, str) else bytes(text) for text in texts]
    try:
        return [decode_rle(code, (size, size)) if code else None for code in codes]
    except ValueError as error:
        remedy = "check the labels with `must-keras verify`"
        raise DataError(f"a stored mask is damaged: {error}; {remedy}") from None
