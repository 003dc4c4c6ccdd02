"""What a detector that was made elsewhere answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from must_keras.errors import UserError
from must_keras.tasks.external import check_foreign_shape

FORMS = ("yxyx", "xyxy", "tf2_detection")
# As the TensorFlow object detection API names them.
_TF2_NAMES = {
    "boxes": "detection_boxes",
    "scores": "detection_scores",
    "classes": "detection_classes",
    "masks": "detection_masks",
}


def outputs(
    name: str,
    values: Mapping[str, Any],
    form: str,
    *,
    size: tuple[int, int],
    num_classes: int,
    with_masks: bool,
    class_ids: tuple[int, ...] | None = None,
) -> dict[str, np.ndarray]:
    """Detections by descending score, as the task's own head gives them.

    Args:
        name: of the task, for errors.
        values: {"boxes" [B, N, 4] in pixels of the input, "scores" [B, N], "classes" [B, N]}; a
            class of -1 is no object. "masks" [B, N, h, w], if given, are probabilities inside the
            boxes.
        form: corners (ymin, xmin, ymax, xmax): "yxyx", or (xmin, ymin, xmax, ymax): "xyxy"; or
            "tf2_detection", what models of the TensorFlow object detection API answer:
            {"detection_boxes" (ymin, xmin, ymax, xmax) as shares of the input,
            "detection_scores", "detection_classes" from 1 on, "num_detections" [B],
            "detection_masks"}, all float32.
        size: (H, W) of the input.
        num_classes: of the task.
        with_masks: whether masks are wanted.
        class_ids: the model's number of each class; objects of other numbers are left out. None:
            0, 1, ..., from 1 on in tf2_detection, and another number is an error.

    Raises:
        UserError: something is absent, of another shape, or of a class that is none.
    """
    is_tf2 = form == "tf2_detection"
    names = _TF2_NAMES if is_tf2 else {key: key for key in _TF2_NAMES}
    given = set(values) if isinstance(values, Mapping) else set()
    absent = {names[key] for key in ("boxes", "scores", "classes")} - given
    if absent:
        raise UserError(f"{name}: a foreign model does not answer {sorted(absent)}")
    found = {
        "boxes": np.asarray(values[names["boxes"]], np.float32),
        "scores": np.asarray(values[names["scores"]], np.float32),
        "classes": np.rint(np.asarray(values[names["classes"]])).astype(np.int32),
    }
    check_foreign_shape(name, found["boxes"], (None, 4), form)
    count = found["boxes"].shape[1]
    for key in ("scores", "classes"):
        check_foreign_shape(name, found[key], (count,), form)
    if with_masks and names["masks"] in values:
        found["masks"] = np.asarray(values[names["masks"]], np.float32)
        check_foreign_shape(name, found["masks"], (count, None, None), form)
    if form == "xyxy":
        found["boxes"] = found["boxes"][..., [1, 0, 3, 2]]
    nothing = found["classes"] == -1
    if is_tf2:
        found["boxes"] = found["boxes"] * np.tile(np.float32(size), 2)
        nothing |= np.arange(count) >= np.reshape(values.get("num_detections", count), (-1, 1))
    found["classes"] = _indices(
        name, found["classes"], nothing, num_classes, class_ids, first=1 if is_tf2 else 0
    )
    order = np.argsort(-found["scores"], axis=1, kind="stable")
    return {
        key: np.take_along_axis(value, order.reshape(*order.shape, *[1] * (value.ndim - 2)), axis=1)
        for key, value in found.items()
    }


def check_class_ids(name: str, class_ids: tuple[int, ...], num_classes: int) -> None:
    """Raises UserError unless every class has a number of its own."""
    if len(class_ids) != num_classes or len(set(class_ids)) != len(class_ids):
        raise UserError(
            f"{name}: class_ids need a number of its own for each of {num_classes} classes, "
            f"received {len(class_ids)}, {len(set(class_ids))} of them different"
        )


def _indices(
    name: str,
    numbers: np.ndarray,
    nothing: np.ndarray,
    num_classes: int,
    class_ids: tuple[int, ...] | None,
    *,
    first: int,
) -> np.ndarray:
    """[B, N] int32: the task's class of each of a model's numbers; -1 for no object."""
    if class_ids is not None:
        known = {number: index for index, number in enumerate(class_ids)}
        indices = np.vectorize(lambda number: known.get(number, -1), otypes=[np.int32])(numbers)
        return np.where(nothing, np.int32(-1), indices)
    odd = numbers[~nothing & ((numbers < first) | (numbers >= first + num_classes))]
    if odd.size:
        raise UserError(
            f"{name}: a foreign model answers class {odd[0]}, there are {num_classes}, numbered "
            f"from {first}; class_ids=(...) says which numbers they have"
        )
    return np.where(nothing, np.int32(-1), numbers - np.int32(first))
