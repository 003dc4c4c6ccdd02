"""One head's objects before another head: every verdict on a sample of images."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.pseudo_labels.viewer import disagreement
from must_keras.pseudo_labels.viewer.disagreement import Verdict
from must_keras.pseudo_labels.viewer.heads import Head
from must_keras.pseudo_labels.viewer.tallies import packed
from must_keras.tasks.sketch import Sketch


class Pair(abc.ABC):
    """A head that finds objects, and another one that has something to say of them.

    Args:
        objects: the place of the first head.
        judge: the place of the second.
        heads: all of them.
    """

    question: str
    """What is asked of an object; the page says what the answers mean."""

    def __init__(self, objects: int, judge: int, heads: Sequence[Head]):
        self._objects, self._judge = objects, judge
        self._of, self._by = heads[objects], heads[judge]
        self._verdicts: list[Verdict] = []
        self.is_asked = False

    def add(self, sketches: Sequence[Sketch | None]) -> list[Verdict]:
        """The verdicts on one image's objects; NOT_JUDGED where the other head is silent."""
        objects, judge = sketches[self._objects], sketches[self._judge]
        if objects is None or objects.regions is None:
            return []
        verdicts = None if judge is None else self._ask(objects, judge)
        self.is_asked |= verdicts is not None
        verdicts = verdicts or [Verdict.NOT_JUDGED] * len(objects.regions.scores)
        self._verdicts += verdicts
        return verdicts

    @abc.abstractmethod
    def _ask(self, objects: Sketch, judge: Sketch) -> list[Verdict] | None:
        """None where the second sketch has nothing to judge by."""

    def pack(self) -> dict[str, Any]:
        """What the page needs; the verdicts are in the order of the head's tally of boxes."""
        return {
            "question": self.question,
            "objects": self._objects,
            "judge": self._judge,
            "verdicts": packed(self._verdicts, "u1"),
            "unjudged": self._unjudged(),
        }

    def _unjudged(self) -> list[str]:
        """Names of classes of which nothing can be said."""
        return []


class _ByClass(Pair):
    """Whether the pixels of an object have its class, at the thresholds of the recipe."""

    question = "class"

    def __init__(self, objects: int, judge: int, heads: Sequence[Head]):
        super().__init__(objects, judge, heads)
        self._same = disagreement.namesakes(self._of.classes, self._by.classes)
        limits = self._by.limits
        self._limits = np.zeros(len(self._by.classes)) if limits is None else limits

    def _ask(self, objects: Sketch, judge: Sketch) -> list[Verdict] | None:
        if judge.pixels is None:
            return None
        return disagreement.by_class(objects.regions, self._same, judge.pixels, self._limits)

    def _unjudged(self) -> list[str]:
        return [name for name, k in zip(self._of.classes, self._same, strict=True) if k < 0]


class _ByEdge(Pair):
    """Whether an object stands out of its surroundings."""

    question = "edge"

    def _ask(self, objects: Sketch, judge: Sketch) -> list[Verdict] | None:
        if judge.surface is None:
            return None
        return disagreement.by_edge(objects.regions, judge.surface)


def pairs_of(heads: Sequence[Head]) -> list[Pair]:
    """Every question about every head that another one could answer, if it has the forms for it."""
    places = range(len(heads))
    return [
        kind(objects, judge, heads)
        for objects in places
        for judge in places
        if objects != judge
        for kind in (_ByClass, _ByEdge)
    ]
