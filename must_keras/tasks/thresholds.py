"""From which score on what a teacher said is a label."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from must_keras.errors import UserError
from must_keras.experiment import nearest

Threshold = float | tuple[float, ...] | None
# The threshold of a class that is dropped: no score reaches it.
DROPPED = math.inf


def thresholds_by_class(
    name: str, threshold: Threshold, classes: tuple[str, ...], *, lowest: float
) -> np.ndarray:
    """[K] float64: the lowest score that counts, of each class; ``lowest`` where there is none.

    Args:
        name: of the task, for errors.
        threshold: one for all classes, or one for each; DROPPED for a class that is dropped.
        classes: their names.
        lowest: the lowest one that is allowed.

    Raises:
        UserError: another number of thresholds, one is not within [lowest, 1], or they are given
            by the names of classes.
    """
    if isinstance(threshold, Mapping):
        raise UserError(f"{name}: {_keyed(threshold, classes)}")
    try:
        values = np.asarray(lowest if threshold is None else threshold, np.float64)
    except (TypeError, ValueError):
        raise UserError(
            f"{name}: threshold={threshold!r}: expected a number, or one for each class"
        ) from None
    if values.shape not in ((), (len(classes),)):
        raise UserError(
            f"{name}: one threshold is needed, or one for each of {len(classes)} classes; "
            f"received {threshold}"
        )
    one_each = values.ndim == 1
    values = np.broadcast_to(values, (len(classes),))
    for label, value in zip(classes, values, strict=True):
        if not (lowest <= value <= 1.0 or (one_each and value == DROPPED)):
            raise UserError(
                f"{name}: threshold {value:g} of class {label!r} is not within [{lowest:g}, 1]"
            )
    return values


def _keyed(threshold: Mapping[Any, float], classes: tuple[str, ...]) -> str:
    """Return what to write in the place of thresholds by the names of classes."""
    for key in threshold:
        if key not in classes:
            return f"the threshold of {key!r} is of no class; {nearest(str(key), classes)}"
    numbers = ", ".join(f"{threshold[key]}" if key in threshold else "..." for key in classes)
    return (
        f"received thresholds by the names of classes; give one number for each of the "
        f"{len(classes)} classes in their order: ({numbers},)"
    )
