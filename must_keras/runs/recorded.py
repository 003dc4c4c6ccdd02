"""Results in finished.json, read so that damage is one line with the file and the key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from must_keras.errors import damaged
from must_keras.files import is_a, kind_names, short

Path = str | os.PathLike[str]
# Of a value: a type (float takes whole numbers too), None, a list's items, the values of an object
# ("*": of any other key), or several of these. What is not here may be anything.
Shape = type | None | list["Shape"] | Mapping[str, "Shape"] | tuple["Shape", ...]

_NUMBER = (float, None)
_METRICS = {"*": _NUMBER}
_COUNTS = {"*": float}
_SCORED = {"metrics": _METRICS, "trivial": _METRICS}
_TRIED = {
    "learning_rate": float, "metric": (str, None), "value": _NUMBER, "error": (str, None),
    "chosen": bool,
}  # fmt: skip
_ROUND = {"round": int, "mean": _NUMBER, "validation": _COUNTS, "test": {"*": _METRICS}}
Fields = Mapping[str, Shape]

# {key: its shape} of each kind of artifact; older results have fewer keys.
TEACHER: Fields = {
    "task": str, "kind": str, "metrics": _METRICS, "trivial": _METRICS,
    "reliability": ({"answers": [int], "right": [int]}, None), "class_counts": (_COUNTS, None),
    "counted": int, "untaught": [str], "parameters": (int, None), "images_seen": (int, None),
    "model_sha256": str,
}  # fmt: skip
# Of rounds and the supervised baseline too.
STUDENT: Fields = {
    "loss_weights": {"*": _NUMBER}, "loss_weight_sources": {"*": str}, "parameters": int,
    "images_seen": int, "model_sha256": str, "tasks": {"*": _SCORED},
    "origins": {"*": {"*": {"*": int}}}, "untaught": {"*": [str]}, "rounds": [_ROUND],
    "best": int, "stopped": str,
}  # fmt: skip
SELFSUP: Fields = {
    "method": str, "metrics": _METRICS, "parameters": int, "images": int, "images_seen": int,
    "model_sha256": str,
}  # fmt: skip
LABELS: Fields = {
    "teacher_sha256": str, "images": int, "labelled": int, "bytes": int,
    "images_per_second": _NUMBER, "counted": int, "class_counts": (_COUNTS, None),
    "quality": (_METRICS, None), "untaught": [str],
}  # fmt: skip
LEAKS: Fields = {"images": int, "unreadable": int, "left_out": int, "by_set": {"*": int}}
TRANSFER: Fields = {
    "set": str, "task": str, "start": str, "seed": int, "images": int, "steps": int,
    "learning_rate": float, "metric": str, "value": _NUMBER, "metrics": _METRICS,
    "trivial": _NUMBER, "aligned": str, "mode": str, "neck": str, "copied": [str],
    "shots": (int, None), "split": str, "sweep": [_TRIED], "validation_images": int,
}  # fmt: skip


class Recorded(dict):
    """An object of a file of ours, in which a missing key is a DataError.

    Args:
        value: the object; objects in it become Recorded too.
        path: of the file.
        place: of the object in the file, for the message: "result.tasks.depth".
        remedy: what the user can do, see `errors.damaged`.
    """

    def __init__(self, value: Mapping[str, Any], *, path: Path, place: str, remedy: str):
        self._path, self._place, self._remedy = path, place, remedy
        super().__init__({k: self._nested(v, f"{place}.{k}") for k, v in value.items()})

    def _nested(self, value: Any, place: str) -> Any:
        if isinstance(value, dict):
            return Recorded(value, path=self._path, place=place, remedy=self._remedy)
        if isinstance(value, list):
            return [self._nested(item, f"{place}[{i}]") for i, item in enumerate(value)]
        return value

    def __missing__(self, key: str) -> Any:
        raise damaged(self._path, f"its {self._place} has no {key!r}", remedy=self._remedy)


def result(value: Mapping[str, Any], fields: Fields, *, path: Path, remedy: str) -> Recorded:
    """Return the result of a finished artifact.

    Args:
        value: the object under "result".
        fields: of the artifact's kind.
        path: of finished.json.
        remedy: what the user can do, see `errors.damaged`.

    Raises:
        DataError: a value of it is of another kind than was written. What is missing is reported
            by who asks for it: older results have fewer keys.
    """
    problem = _problem(value, fields, "result")
    if problem is not None:
        raise damaged(path, problem, remedy=remedy)
    return Recorded(value, path=path, place="result", remedy=remedy)


def _problem(value: Any, shape: Shape, place: str) -> str | None:
    """What is wrong with a value; None where nothing is."""
    if isinstance(shape, tuple):
        problems = [_problem(value, one, place) for one in shape]
        return None if None in problems else _wrong(value, shape, place)
    if isinstance(shape, Mapping) and isinstance(value, dict):
        other = shape.get("*", object)
        parts = ((f"{place}.{key}", v, shape.get(key, other)) for key, v in value.items())
    elif isinstance(shape, list) and isinstance(value, list):
        parts = ((f"{place}[{i}]", item, shape[0]) for i, item in enumerate(value))
    else:
        kind = _kind(shape)
        return None if is_a(value, kind) else _wrong(value, (shape,), place)
    return next((p for where, v, one in parts if (p := _problem(v, one, where))), None)


def _wrong(value: Any, shapes: tuple[Shape, ...], place: str) -> str:
    return f"its {place} is {short(value)}, expected {kind_names(map(_kind, shapes))}"


def _kind(shape: Shape) -> type:
    if shape is None:
        return type(None)
    if isinstance(shape, Mapping):
        return dict
    return list if isinstance(shape, list) else shape
