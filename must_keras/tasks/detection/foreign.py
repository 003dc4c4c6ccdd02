"""What a detector that was made elsewhere answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from must_keras.errors import UserError
from must_keras.tasks.base import check_foreign_shape

FORMS = ("yxyx", "xyxy")


def outputs(
    name: str, values: Mapping[str, Any], form: str, *, num_classes: int, with_masks: bool
) -> dict[str, np.ndarray]:
    """Detections by descending score, as the task's own head gives them.

    Args:
        name: of the task, for errors.
        values: {"boxes" [B, N, 4] in pixels of the input, "scores" [B, N], "classes" [B, N]}; a
            class of -1 is no object. "masks" [B, N, h, w], if given, are probabilities inside the
            boxes.
        form: corners (ymin, xmin, ymax, xmax): "yxyx", or (xmin, ymin, xmax, ymax): "xyxy".
        num_classes: of the task.
        with_masks: whether masks are wanted.

    Raises:
        UserError: something is absent, of another shape, or of a class that is none.
    """
    absent = {"boxes", "scores", "classes"} - set(values)
    if absent:
        raise UserError(f"{name}: a foreign model does not answer {sorted(absent)}")
    found = {
        "boxes": np.asarray(values["boxes"], np.float32),
        "scores": np.asarray(values["scores"], np.float32),
        "classes": np.asarray(values["classes"]).astype(np.int32),
    }
    check_foreign_shape(name, found["boxes"], (None, 4), form)
    count = found["boxes"].shape[1]
    for key in ("scores", "classes"):
        check_foreign_shape(name, found[key], (count,), form)
    if with_masks and "masks" in values:
        found["masks"] = np.asarray(values["masks"], np.float32)
        check_foreign_shape(name, found["masks"], (count, None, None), form)
    odd = found["classes"][found["classes"] >= num_classes]
    if odd.size:
        raise UserError(f"{name}: a foreign model answers class {odd[0]}, there are {num_classes}")
    if form == "xyxy":
        found["boxes"] = found["boxes"][..., [1, 0, 3, 2]]
    order = np.argsort(-found["scores"], axis=1, kind="stable")
    return {
        key: np.take_along_axis(value, order.reshape(*order.shape, *[1] * (value.ndim - 2)), axis=1)
        for key, value in found.items()
    }
