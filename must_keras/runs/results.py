"""Results in finished.json, read so that damage is one line with the file and the key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict

from must_keras.errors import damaged
from must_keras.json_files import InvalidValueError, from_json

Path = str | os.PathLike[str]

_METRICS = dict[str, float | None]
_COUNTS = dict[str, float]


class _Scored(TypedDict, total=False):
    """Metrics of a head, and those of the trivial baseline."""

    metrics: _METRICS
    trivial: _METRICS


class _Reliability(TypedDict, total=False):
    """Numbers of scored predictions by score."""

    answers: list[int]
    right: list[int]


class _Tried(TypedDict, total=False):
    """One learning rate of a sweep."""

    learning_rate: float
    metric: str | None
    value: float | None
    error: str | None
    chosen: bool


class _Round(TypedDict, total=False):
    """One self-training round."""

    round: int
    mean: float | None
    validation: _COUNTS
    test: dict[str, _METRICS]


class TeacherResult(TypedDict, total=False):
    """The result of a teacher."""

    task: str
    kind: str
    metrics: _METRICS
    trivial: _METRICS
    reliability: _Reliability | None
    class_counts: _COUNTS | None
    counted: int
    untaught: list[str]
    parameters: int | None
    images_seen: int | None
    model_sha256: str


class StudentResult(TypedDict, total=False):
    """The result of the student, of the best one of all rounds, and of the supervised baseline."""

    loss_weights: _METRICS
    loss_weight_sources: dict[str, str]
    parameters: int
    images_seen: int
    model_sha256: str
    tasks: dict[str, _Scored]
    origins: dict[str, dict[str, dict[str, int]]]
    untaught: dict[str, list[str]]
    rounds: list[_Round]
    best: int
    stopped: str


class SelfSupervisedResult(TypedDict, total=False):
    """The result of a self-supervised method."""

    method: str
    metrics: _METRICS
    parameters: int
    images: int
    images_seen: int
    model_sha256: str


class LabelsResult(TypedDict, total=False):
    """The result of a pseudo-label dataset."""

    teacher_sha256: str
    images: int
    labelled: int
    bytes: int
    images_per_second: float | None
    counted: int
    class_counts: _COUNTS | None
    quality: _METRICS | None
    untaught: list[str]


class LeakageResult(TypedDict, total=False):
    """The result of a comparison with the test splits."""

    images: int
    unreadable: int
    left_out: int
    by_set: dict[str, int]


class TransferResult(TypedDict, total=False):
    """The result of a transfer run."""

    set: str
    task: str
    start: str
    seed: int
    images: int
    steps: int
    learning_rate: float
    metric: str
    value: float | None
    metrics: _METRICS
    trivial: float | None
    aligned: str
    mode: str
    neck: str
    copied: list[str]
    shots: int | None
    split: str
    sweep: list[_Tried]
    validation_images: int


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


def checked(value: Mapping[str, Any], fields: Any, *, path: Path, remedy: str) -> Recorded:
    """Return the result of a finished artifact.

    Args:
        value: the object under "result".
        fields: type of the artifact's result, see `json_files.from_json`.
        path: of finished.json.
        remedy: what the user can do, see `errors.damaged`.

    Raises:
        DataError: a value of it is of another kind than was written. What is missing is reported
            by who asks for it: older results have fewer keys.
    """
    try:
        found = from_json(value, fields)
    except InvalidValueError as error:
        key, what = error.at("result").key, str(error)
        raise damaged(path, what, key=key, value=error.value, remedy=remedy) from None
    return Recorded(found, path=path, place="result", remedy=remedy)
