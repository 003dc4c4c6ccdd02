"""What many records say, small enough for a page that counts again when a threshold moves."""

from __future__ import annotations

import abc
import base64
from typing import Any

import numpy as np

from must_keras.tasks.sketch import Pixels, Ranking, Regions, Sketch


def packed(values: Any, dtype: str) -> str:
    """Numbers as base64 of their little-endian bytes."""
    array = np.ascontiguousarray(np.asarray(values), np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode()


class Tally(abc.ABC):
    """Takes one form of a sketch after the other."""

    @abc.abstractmethod
    def add(self, form: Any) -> None:
        """Takes what one record says."""

    @abc.abstractmethod
    def pack(self) -> dict[str, Any]:
        """All of it, as plain JSON data."""


class _Answers(Tally):
    """Each image's most likely class."""

    def __init__(self, num_classes: int):
        del num_classes
        self._scores: list[float] = []
        self._classes: list[int] = []

    def add(self, form: Ranking) -> None:
        self._scores.append(form.probabilities[0])
        self._classes.append(form.classes[0])

    def pack(self) -> dict[str, Any]:
        return {"scores": packed(self._scores, "f4"), "classes": packed(self._classes, "u2")}


class _Regions(Tally):
    """Every box's score and class, and how many boxes each image has."""

    def __init__(self, num_classes: int):
        del num_classes
        self._forms: list[Regions] = []

    def add(self, form: Regions) -> None:
        self._forms.append(form)

    def pack(self) -> dict[str, Any]:
        scores = [score for form in self._forms for score in form.scores]
        classes = [index for form in self._forms for index in form.classes]
        counts = [len(form.scores) for form in self._forms]
        return {
            "scores": packed(scores, "f4"),
            "classes": packed(classes, "u2"),
            "counts": packed(counts, "u2"),
        }


class _Pixels(Tally):
    """How many pixels have each class and confidence, and each image's surest ones.

    "histogram" is [K, 256], with a share of an image for a pixel, so that all images count alike;
    "highest" is [N, K], 1 more than the highest confidence of each class, 0 where it is absent.
    """

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        self._histogram = np.zeros((num_classes, 256))
        self._highest: list[np.ndarray] = []

    def add(self, form: Pixels) -> None:
        known = form.classes < self._num_classes
        codes = form.classes[known].astype(np.int64) * 256 + form.confidence[known]
        counts = np.bincount(codes, minlength=self._histogram.size).reshape(self._histogram.shape)
        self._histogram += counts / form.classes.size
        above = np.where(counts > 0, np.arange(1, 257), 0)
        self._highest.append(above.max(axis=1))

    def pack(self) -> dict[str, Any]:
        return {
            "histogram": packed(self._histogram, "f4"),
            "highest": packed(self._highest, "u2"),
            "images": len(self._highest),
        }


_TALLIES = {"answers": _Answers, "regions": _Regions, "pixels": _Pixels}


class Tallies:
    """A head's tallies, of the forms that its sketches have.

    Args:
        num_classes: of the head.
    """

    def __init__(self, num_classes: int):
        self._num_classes = num_classes
        self._found: dict[str, Tally] = {}

    def add(self, sketch: Sketch) -> None:
        """Takes what one record says."""
        for name, tally in _TALLIES.items():
            form = getattr(sketch, name)
            if form is not None:
                self._found.setdefault(name, tally(self._num_classes)).add(form)

    def pack(self) -> dict[str, Any]:
        """{form: its tally}."""
        return {name: tally.pack() for name, tally in self._found.items()}
