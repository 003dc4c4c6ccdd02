"""Disagreement of heads: one head's objects judged by another head's map or depth."""

import abc
import enum
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.pseudo_labels.viewer.panels import packed
from must_keras.tasks.summaries import Pixels, Regions, Sketch

# A smaller share of an object's pixels with a class above the threshold: it is not judged.
MIN_CERTAIN = 0.25
# A smaller share of those with the object's own class, by its mask, or by its box, much of which
# may be background: the heads disagree.
MIN_SAME_IN_MASK, MIN_SAME_IN_BOX = 0.5, 0.25
# A smaller difference of the median depth in an object and in a ring around it is no edge.
MIN_STEP = 0.05
# The ring's width as a share of the object's side, the root of its area.
RING = 0.25
# What the page explains.
RULES = {
    "MIN_CERTAIN": MIN_CERTAIN,
    "MIN_SAME_IN_MASK": MIN_SAME_IN_MASK,
    "MIN_SAME_IN_BOX": MIN_SAME_IN_BOX,
    "MIN_STEP": MIN_STEP,
}


class Verdict(enum.IntEnum):
    """How one head judges another's object.

    Example:
        >>> Verdict.AGREES > Verdict.NOT_JUDGED
        True
    """

    NOT_JUDGED = 0
    AGREES = 1
    DISAGREES = 2


def namesakes(names: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """Return [len(names)] int: the place of the same name in `others`, -1 where it is absent.

    Capitals do not count, and _ and - are spaces.
    """
    places = {_plain(name): place for place, name in enumerate(others)}
    return np.array([places.get(_plain(name), -1) for name in names], np.int64)


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def by_class(
    regions: Regions, same: np.ndarray, pixels: Pixels, limits: np.ndarray
) -> list[Verdict]:
    """Judge whether the pixels of each object have its class.

    Only pixels that reach the map's threshold count. A class without a namesake is not judged,
    nor is an object of whose pixels less than MIN_CERTAIN count.

    Args:
        regions: the objects.
        same: [K] the map's class with the name of each class of the objects, or -1.
        pixels: the map.
        limits: the map's threshold of each of its classes.
    """
    certain = pixels.kept(limits)
    verdicts = []
    for index, own in enumerate(same[regions.classes]):
        place = regions.place(index, pixels.classes.shape)
        counted = place & certain
        if own < 0 or not place.any() or counted.sum() < MIN_CERTAIN * place.sum():
            verdicts.append(Verdict.NOT_JUDGED)
            continue
        share = (pixels.classes[counted] == own).mean()
        least = MIN_SAME_IN_BOX if regions.masks[index] is None else MIN_SAME_IN_MASK
        verdicts.append(Verdict.AGREES if share >= least else Verdict.DISAGREES)
    return verdicts


def by_edge(regions: Regions, surface: np.ndarray) -> list[Verdict]:
    """Judge whether the median depth of each object differs from that around it.

    An object without any known depth, or without any around it, is not judged.

    Args:
        regions: the objects.
        surface: [h, w], see Sketch.
    """
    verdicts = []
    for index in range(len(regions.scores)):
        place = regions.place(index, surface.shape)
        near = _window(place)
        place, depth = place[near], surface[near]
        known = np.isfinite(depth)
        inside, around = depth[place & known], depth[ring(place) & known]
        if not len(inside) or not len(around):
            verdicts.append(Verdict.NOT_JUDGED)
            continue
        step = abs(float(np.median(inside)) - float(np.median(around)))
        verdicts.append(Verdict.AGREES if step >= MIN_STEP else Verdict.DISAGREES)
    return verdicts


def ring(place: np.ndarray) -> np.ndarray:
    """Return [h, w] bool: the pixels outside of `place`, [h, w] bool, but near to it.

    As far in rows or columns as RING of its side, at least one pixel.
    """
    width, near = _ring_width(place), place
    # A stretch has a pixel of the place where the place's running sum differs between its ends.
    for _ in ("rows", "columns"):
        sums = np.cumsum(np.pad(near, ((width + 1, width), (0, 0))), axis=0)
        near = (sums[2 * width + 1 :] > sums[: -2 * width - 1]).T
    return near & ~place


def _ring_width(place: np.ndarray) -> int:
    return max(1, round(RING * float(np.sqrt(place.sum()))))


def _window(place: np.ndarray) -> tuple[slice, slice]:
    """Return the rows and columns of a place and its ring, which are much fewer than all."""
    width = _ring_width(place)
    sides = (np.flatnonzero(place.any(axis=1)), np.flatnonzero(place.any(axis=0)))
    return tuple(
        slice(max(side[0] - width, 0), side[-1] + width + 1) if len(side) else slice(0)
        for side in sides
    )


class Pair(abc.ABC):
    """A head with objects, and another head that judges them, over a sample of images.

    Args:
        objects: the place of the first head.
        judge: the place of the second.
        heads: all of them, see viewer.Head.

    Example:
        pairs = pairs_of(heads)
        pairs[0].add(sketches)
    """

    question: str  # Asked of an object; the page explains the verdicts.
    # Names of classes that are never judged.
    unjudged: Sequence[str] = ()

    def __init__(self, objects: int, judge: int, heads: Sequence[Any]):
        self._objects, self._judge = objects, judge
        self._of, self._by = heads[objects], heads[judge]
        self._verdicts: list[Verdict] = []
        self.is_asked = False

    def add(self, sketches: Sequence[Sketch | None]) -> list[Verdict]:
        """Return the verdicts on one image's objects; NOT_JUDGED without a label to judge by."""
        objects, judge = sketches[self._objects], sketches[self._judge]
        if objects is None or objects.regions is None:
            return []
        verdicts = None if judge is None else self._ask(objects.regions, judge)
        self.is_asked |= verdicts is not None
        verdicts = verdicts or [Verdict.NOT_JUDGED] * len(objects.regions.scores)
        self._verdicts += verdicts
        return verdicts

    @abc.abstractmethod
    def _ask(self, objects: Regions, judge: Sketch) -> list[Verdict] | None:
        """Return the verdicts; None where the sketch has nothing to judge by."""

    def pack(self) -> dict[str, Any]:
        """Return plain JSON data; the verdicts are in the order of the head's tally of boxes."""
        return {
            "question": self.question,
            "objects": self._objects,
            "judge": self._judge,
            "verdicts": packed(self._verdicts, "u1"),
            "unjudged": list(self.unjudged),
        }


class _ByClass(Pair):
    """Judges by a map of classes, at the thresholds of the recipe."""

    question = "class"

    def __init__(self, objects: int, judge: int, heads: Sequence[Any]):
        super().__init__(objects, judge, heads)
        of, by = self._of, self._by
        self._same = namesakes(of.classes, by.classes)
        self._limits = np.zeros(len(by.classes)) if by.limits is None else by.limits
        self.unjudged = [name for name, k in zip(of.classes, self._same, strict=True) if k < 0]

    def _ask(self, objects: Regions, judge: Sketch) -> list[Verdict] | None:
        if judge.pixels is None:
            return None
        return by_class(objects, self._same, judge.pixels, self._limits)


class _ByEdge(Pair):
    """Judges by depth."""

    question = "edge"

    def _ask(self, objects: Regions, judge: Sketch) -> list[Verdict] | None:
        return None if judge.surface is None else by_edge(objects, judge.surface)


def pairs_of(heads: Sequence[Any]) -> list[Pair]:
    """Return every question on every head's objects that another head might answer."""
    return [
        kind(objects, judge, heads)
        for objects, judge in itertools.permutations(range(len(heads)), 2)
        for kind in (_ByClass, _ByEdge)
    ]
