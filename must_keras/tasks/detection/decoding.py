"""From scores and deltas to boxes, and the forms in which users get them and give theirs."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from keras import ops

from must_keras.ops import boxes as box_ops
from must_keras.ops.masks import encode_rle, paste
from must_keras.ops.sampling import take
from must_keras.tasks import base
from must_keras.tasks.base import ClassIds
from must_keras.tasks.detection.loss import BOX_WEIGHTS
from must_keras.tasks.parts import Arrays, Size, Tensor, Tensors
from must_keras.tasks.typed import Objects

_NONE = -float("inf")


def propose(
    prediction: Tensors, anchors: Tensor, level_counts: list[int], *, task: Any
) -> tuple[Tensor, Tensor]:
    """Return regions that may hold objects; no gradient passes.

    Args:
        prediction: "scores" [B, A] logits, "deltas" [B, A, 4], and "area" [B, 4], to which
            proposals are clipped.
        anchors: [A, 4].
        level_counts: the anchors of each level, in their order.
        task: its `num_candidates` of each level enter non-maximum suppression; P is
            `num_proposals`, of all levels together.

    Returns:
        boxes [B, P, 4], and [B, P] bool: False where there is no proposal. By descending score; P
        is at most the number of candidates.
    """
    scores, deltas = (ops.stop_gradient(prediction[key]) for key in ("scores", "deltas"))
    boxes_of, scores_of = [], []
    start = 0
    # Level by level: the memory of suppression grows with the square of the candidates.
    for count in level_counts:
        top, index = ops.top_k(scores[:, start : start + count], min(task.num_candidates, count))
        index = ops.cast(index, "int32") + start
        boxes = box_ops.decode(take(deltas, index), ops.take(anchors, index, axis=0))
        boxes = box_ops.clip(boxes, prediction["area"][:, None, :])
        top = ops.where(box_ops.area(boxes) > 0.0, top, _NONE)
        number = min(task.num_proposals, top.shape[1])
        index, present = box_ops.suppress(
            boxes, top, threshold=task.proposal_nms, max_outputs=number
        )
        boxes_of.append(take(boxes, index))
        scores_of.append(ops.where(present, take(top, index), _NONE))
        start += count
    boxes, scores = ops.concatenate(boxes_of, axis=1), ops.concatenate(scores_of, axis=1)
    scores, index = ops.top_k(scores, min(task.num_proposals, boxes.shape[1]))
    return take(boxes, index), scores > _NONE


def detect(
    scores: Tensor, deltas: Tensor, proposals: Tensor, present: Tensor, area: Tensor, *, task: Any
) -> dict[str, Tensor]:
    """Return the objects of the second stage after non-maximum suppression in each class.

    By descending score: {"boxes": [B, D, 4] in pixels, "scores": [B, D], "classes": [B, D] int32};
    0, and class -1, where there is none.

    Args:
        scores: [B, P, K + 1] logits, 0 is background.
        deltas: [B, P, K + 1, 4].
        proposals: [B, P, 4].
        present: [B, P] bool.
        area: [B, 4], to which boxes are clipped.
        task: its `num_candidates` pairs of box and class, with a probability of at least its
            `score_floor`, enter non-maximum suppression; D is `max_detections`.
    """
    num_proposals, num_classes = scores.shape[1], scores.shape[2] - 1
    chance = ops.softmax(scores, axis=-1)[:, :, 1:]
    chance = ops.where(present[:, :, None] & (chance >= task.score_floor), chance, _NONE)
    count = num_proposals * num_classes
    chance, pair = ops.top_k(ops.reshape(chance, (-1, count)), min(task.num_candidates, count))
    pair = ops.cast(pair, "int32")
    proposal, classes = pair // num_classes, pair % num_classes
    # The deltas of background come first among each proposal's.
    own = ops.reshape(deltas, (-1, num_proposals * (num_classes + 1), 4))
    own = take(own, proposal * (num_classes + 1) + classes + 1)
    boxes = box_ops.decode(own, take(proposals, proposal), weights=BOX_WEIGHTS)
    boxes = box_ops.clip(boxes, area[:, None, :])
    chance = ops.where(box_ops.area(boxes) > 0.0, chance, _NONE)
    number = task.max_detections
    index, kept = box_ops.suppress(
        boxes, chance, threshold=task.detection_nms, max_outputs=number, groups=classes
    )
    return {
        "boxes": ops.where(kept[:, :, None], take(boxes, index), 0.0),
        "scores": ops.where(kept, take(chance, index), 0.0),
        "classes": ops.where(kept, take(classes, index), -1),
    }


class Predictions(base.Predictions):
    """{"boxes": [B, N, 4], "scores", "classes": [B, N], "masks": [B, N, S, S] in the boxes}.

    By descending score; class -1 and zeros where there is no object. Masks are probabilities.

    Example:
        found = {
            "boxes": np.float32([[1, 2, 30, 40]]),
            "scores": np.float32([0.9]),
            "classes": np.int32([1]),
        }
        Detection(name="objects", classes=("cat", "dog")).predictions.to_json(found)
    """

    coordinates: ClassVar[tuple[str, ...]] = ("boxes",)
    has_objects: ClassVar[bool] = True

    def decode(self, prediction: Any, layer: Any, map_size: Size) -> dict[str, Tensor]:
        task = self.task
        proposals, present = task.head.propose(prediction, layer)
        how = {"level_unit": task.head.level_unit(layer), "training": False}
        scores, deltas = layer.classify(prediction, proposals, **how)
        found = detect(scores, deltas, proposals, present, prediction["area"], task=task)
        if task.with_masks:
            exists, classes = found["classes"] >= 0, ops.maximum(found["classes"], 0)
            logits = layer.segment(prediction, found["boxes"], classes, exists, **how)
            found["masks"] = ops.where(exists[:, :, None, None], ops.sigmoid(logits), 0.0)
        return found

    def differences(self, one: Arrays, other: Arrays) -> dict[str, float]:
        """Return nothing: two objects of equal scores may change places (see `agreements`)."""
        return {}

    def agreements(self, one: Arrays, other: Arrays, *, tolerance: float) -> dict[str, float]:
        """Return the share of detections of either side that the other has too, at any rank.

        Equal are detections with the same class and, within the tolerance, score, box and mask.
        Boxes may differ by the tolerance times the largest coordinate.
        """
        if "boxes" not in one:  # No label taught them.
            return {}
        sides = tuple({k: v.astype(np.float64) for k, v in side.items()} for side in (one, other))
        size = max(np.abs(sides[0]["boxes"]).max(initial=0), 1.0)
        shared = total = 0
        for i in range(len(sides[0]["boxes"])):
            a, b = ({k: v[i][side["classes"][i] >= 0] for k, v in side.items()} for side in sides)
            same = a["classes"][:, None] == b["classes"][None]
            same &= np.abs(a["scores"][:, None] - b["scores"][None]) <= tolerance
            same &= np.abs(a["boxes"][:, None] - b["boxes"][None]).max(-1) <= tolerance * size
            if "masks" in a:
                for j, k in np.argwhere(same):
                    same[j, k] = np.abs(a["masks"][j] - b["masks"][k]).max() <= tolerance
            shared += int(same.any(1).sum() + same.any(0).sum())
            total += sum(same.shape)
        return {"detections": shared / total if total else 1.0}

    def typed(self, prediction: Arrays, size: Size) -> Objects:
        """Return the objects, without the room that is left."""
        kept = np.asarray(prediction["classes"]) >= 0
        found = {key: np.asarray(value)[kept] for key, value in prediction.items()}
        return Objects(
            boxes=found["boxes"],
            scores=found["scores"],
            classes=found["classes"],
            class_names=tuple(self.task.classes[i] for i in found["classes"]),
            mask_crops=found.get("masks"),
            image_size=size,
        )

    def to_json(self, prediction: Arrays) -> dict[str, Any]:
        """Return {"objects": [{"class", "score", "box": [ymin, xmin, ymax, xmax] in pixels}]}."""
        found = zip(prediction["boxes"], prediction["scores"], prediction["classes"], strict=True)
        objects = []
        for box, score, index in found:
            if index >= 0:
                name, corners = self.task.classes[int(index)], [round(float(v), 2) for v in box]
                objects.append({"class": name, "score": round(float(score), 4), "box": corners})
        return {"objects": objects}

    def coco(self, prediction: Arrays, size: Size) -> list[dict[str, Any]]:
        """Return COCO's annotations with a "score" too, and masks as run-length codes.

        Where only some objects have a mask, "has_mask" [N] comes with the prediction.
        """
        annotations, has_mask = [], prediction.get("has_mask", np.ones(len(prediction["boxes"])))
        for i in np.flatnonzero(np.asarray(prediction["classes"]) >= 0):
            ymin, xmin, ymax, xmax = (round(float(v), 2) for v in prediction["boxes"][i])
            annotation = {
                "category_id": int(prediction["classes"][i]) + 1,
                "bbox": [xmin, ymin, round(xmax - xmin, 2), round(ymax - ymin, 2)],
                "area": round((xmax - xmin) * (ymax - ymin), 2),
                "iscrowd": 0,
                "score": round(float(prediction["scores"][i]), 4),
            }
            if "masks" in prediction and has_mask[i]:
                inside = paste(prediction["masks"][i], np.asarray(prediction["boxes"][i]), size)
                counts = encode_rle(inside).decode("ascii")
                annotation["segmentation"] = {"size": list(size), "counts": counts}
            annotations.append(annotation)
        return annotations


class External(base.External):
    """Detections in one of several forms.

    {"boxes" [B, N, 4] in pixels of the input, "scores" [B, N], "classes" [B, N]}; a class of -1 is
    no object. "masks" [B, N, h, w], if given, are probabilities inside the boxes. Corners are
    (ymin, xmin, ymax, xmax): "yxyx", or (xmin, ymin, xmax, ymax): "xyxy". The form
    "tf2_detection" is that of the TensorFlow object detection API: {"detection_boxes" (ymin, xmin,
    ymax, xmax) as fractions of the input, "detection_scores", "detection_classes" from 1 on,
    "num_detections" [B], "detection_masks"}, all float32. The form "detr" is that of RT-DETR and
    D-FINE: {"logits" [B, Q, K] of sigmoids, "pred_boxes" [B, Q, 4] of (center x, center y, width,
    height) as fractions of the input}; of all pairs of a query and a class the Q with the highest
    scores are detections. The form "yolo" is that of YOLO's exports that suppress inside: [B, N, 6]
    of (xmin, ymin, xmax, ymax, score, class) in pixels of the input, score 0 where there is none.

    Example:
        Detection(name="objects", classes=("cat", "dog")).external.forms
    """

    forms: ClassVar[tuple[str, ...]] = ("yxyx", "xyxy", "tf2_detection", "detr", "yolo")

    def check_class_ids(self, class_ids: tuple[int, ...]) -> None:
        """Raise UserError unless every class has a number of its own."""
        num_classes = len(self.task.classes)
        if len(class_ids) != num_classes or len(set(class_ids)) != len(class_ids):
            raise self.task.error(
                f"class_ids need a number of its own for each of {num_classes} classes, "
                f"received {len(class_ids)}, {len(set(class_ids))} of them different"
            )

    def decode(
        self, values: Any, form: str, map_size: Size, *, size: Size, class_ids: ClassIds = None
    ) -> Arrays:
        """Return detections by descending score, as the task's own head predicts them.

        Args:
            values: see the class.
            form: one of `forms`.
            map_size: of other tasks.
            size: (H, W) of the input.
            class_ids: the model's number of each class; objects of other numbers are left out.
                None: 0, 1, ..., from 1 on in tf2_detection, and another number is an error.

        Raises:
            UserError: something is absent, of another shape, or of an unknown class.
        """
        task = self.task
        if form == "detr":
            values, form = self._of_queries(values, size), "yxyx"
        if form == "yolo":
            self.check_shape(values, (None, 6), form)
            rows = np.asarray(values, np.float32)
            values = {"boxes": rows[..., :4], "scores": rows[..., 4], "classes": rows[..., 5]}
            form = "xyxy"
        is_tf2 = form == "tf2_detection"
        prefix = "detection_" if is_tf2 else ""
        names = {key: f"{prefix}{key}" for key in ("boxes", "scores", "classes", "masks")}
        given = set(values) if isinstance(values, Mapping) else set()
        absent = {names[key] for key in ("boxes", "scores", "classes")} - given
        if absent:
            raise task.error(f"an external model does not return {sorted(absent)}")
        found = {key: np.asarray(values[names[key]], np.float32) for key in ("boxes", "scores")}
        found["classes"] = np.rint(np.asarray(values[names["classes"]])).astype(np.int32)
        self.check_shape(found["boxes"], (None, 4), form)
        count = found["boxes"].shape[1]
        for key in ("scores", "classes"):
            self.check_shape(found[key], (count,), form)
        if task.with_masks and names["masks"] in values:
            found["masks"] = np.asarray(values[names["masks"]], np.float32)
            self.check_shape(found["masks"], (count, None, None), form)
        if form == "xyxy":
            found["boxes"] = found["boxes"][..., [1, 0, 3, 2]]
        nothing = found["classes"] == -1
        if is_tf2:
            found["boxes"] = found["boxes"] * np.tile(np.float32(size), 2)
            nothing |= np.arange(count) >= np.reshape(values.get("num_detections", count), (-1, 1))
        first = 1 if is_tf2 else 0
        found["classes"] = self._indices(found["classes"], nothing, class_ids, first=first)
        order = np.argsort(-found["scores"], axis=1, kind="stable")
        images = np.arange(len(order))[:, None]
        return {key: value[images, order] for key, value in found.items()}

    def _of_queries(self, values: Any, size: Size) -> dict[str, np.ndarray]:
        """Return the predictions of the form "detr" in the form "yxyx"."""
        given = set(values) if isinstance(values, Mapping) else set()
        absent = {"logits", "pred_boxes"} - given
        if absent:
            raise self.task.error(f"an external model does not return {sorted(absent)}")
        logits, boxes = (np.asarray(values[key], np.float32) for key in ("logits", "pred_boxes"))
        self.check_shape(logits, (None, None), "detr")
        count, num_classes = logits.shape[1:]
        self.check_shape(boxes, (count, 4), "detr")
        flat = logits.reshape(len(logits), -1)
        best = np.argsort(-flat, axis=1, kind="stable")[:, :count]
        images = np.arange(len(flat))[:, None]
        center, sides = boxes[..., [1, 0]], boxes[..., [3, 2]]
        corners = np.concatenate([center - sides / 2, center + sides / 2], axis=-1)
        return {
            "boxes": (corners * np.tile(np.float32(size), 2))[images, best // num_classes],
            "scores": ops.convert_to_numpy(ops.sigmoid(flat[images, best])),
            "classes": best % num_classes,
        }

    def _indices(
        self, numbers: np.ndarray, nothing: np.ndarray, class_ids: ClassIds, *, first: int
    ) -> np.ndarray:
        """Return the task's class of each of a model's numbers, [B, N] int32; -1 for no object."""
        num_classes = len(self.task.classes)
        if class_ids is not None:
            known = {number: index for index, number in enumerate(class_ids)}
            indices = np.vectorize(lambda number: known.get(number, -1), otypes=[np.int32])(numbers)
            return np.where(nothing, np.int32(-1), indices)
        odd = numbers[~nothing & ((numbers < first) | (numbers >= first + num_classes))]
        if odd.size:
            raise self.task.error(
                f"an external model returns class {odd[0]}, there are "
                f"{num_classes}, numbered from {first}; give the numbers by class_ids=(...)"
            )
        return np.where(nothing, np.int32(-1), numbers - np.int32(first))
