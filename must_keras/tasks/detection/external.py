"""Answers of detectors that were trained elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from must_keras.errors import UserError
from must_keras.tasks import base
from must_keras.tasks.parts import Size

# As the TensorFlow object detection API names them.
_TF2_NAMES = {
    "boxes": "detection_boxes",
    "scores": "detection_scores",
    "classes": "detection_classes",
    "masks": "detection_masks",
}


class External(base.External):
    """Detections in one of several forms.

    {"boxes" [B, N, 4] in pixels of the input, "scores" [B, N], "classes" [B, N]}; a class of -1 is
    no object. "masks" [B, N, h, w], if given, are probabilities inside the boxes. Corners are
    (ymin, xmin, ymax, xmax): "yxyx", or (xmin, ymin, xmax, ymax): "xyxy". The form
    "tf2_detection" is that of the TensorFlow object detection API: {"detection_boxes" (ymin, xmin,
    ymax, xmax) as fractions of the input, "detection_scores", "detection_classes" from 1 on,
    "num_detections" [B], "detection_masks"}, all float32.

    Example:
        Detection(name="objects", classes=("cat", "dog")).external.forms
    """

    forms: ClassVar[tuple[str, ...]] = ("yxyx", "xyxy", "tf2_detection")

    def check_class_ids(self, class_ids: tuple[int, ...]) -> None:
        """Raise UserError unless every class has a number of its own."""
        name, num_classes = self.task.name, len(self.task.classes)
        if len(class_ids) != num_classes or len(set(class_ids)) != len(class_ids):
            raise UserError(
                f"{name}: class_ids need a number of its own for each of {num_classes} classes, "
                f"received {len(class_ids)}, {len(set(class_ids))} of them different"
            )

    def decode(
        self,
        values: Mapping[str, Any],
        form: str,
        map_size: Size,
        *,
        size: Size,
        class_ids: tuple[int, ...] | None = None,
    ) -> dict[str, np.ndarray]:
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
        is_tf2 = form == "tf2_detection"
        names = _TF2_NAMES if is_tf2 else {key: key for key in _TF2_NAMES}
        given = set(values) if isinstance(values, Mapping) else set()
        absent = {names[key] for key in ("boxes", "scores", "classes")} - given
        if absent:
            raise UserError(f"{task.name}: an external model does not return {sorted(absent)}")
        found = {
            "boxes": np.asarray(values[names["boxes"]], np.float32),
            "scores": np.asarray(values[names["scores"]], np.float32),
            "classes": np.rint(np.asarray(values[names["classes"]])).astype(np.int32),
        }
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
        found["classes"] = self._indices(
            found["classes"], nothing, class_ids, first=1 if is_tf2 else 0
        )
        order = np.argsort(-found["scores"], axis=1, kind="stable")
        return {
            key: np.take_along_axis(
                value, order.reshape(*order.shape, *[1] * (value.ndim - 2)), axis=1
            )
            for key, value in found.items()
        }

    def _indices(
        self,
        numbers: np.ndarray,
        nothing: np.ndarray,
        class_ids: tuple[int, ...] | None,
        *,
        first: int,
    ) -> np.ndarray:
        """Return the task's class of each of a model's numbers, [B, N] int32; -1 for no object."""
        num_classes = len(self.task.classes)
        if class_ids is not None:
            known = {number: index for index, number in enumerate(class_ids)}
            indices = np.vectorize(lambda number: known.get(number, -1), otypes=[np.int32])(numbers)
            return np.where(nothing, np.int32(-1), indices)
        odd = numbers[~nothing & ((numbers < first) | (numbers >= first + num_classes))]
        if odd.size:
            raise UserError(
                f"{self.task.name}: an external model returns class {odd[0]}, there are "
                f"{num_classes}, numbered from {first}; give the numbers by class_ids=(...)"
            )
        return np.where(nothing, np.int32(-1), numbers - np.int32(first))
