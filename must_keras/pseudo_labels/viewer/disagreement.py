"""Disagreement of heads: one head's objects judged by another head's map or depth."""

import dataclasses
import enum
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np

from must_keras.pseudo_labels.viewer.panels import packed
from must_keras.tasks.summaries import Regions, Sketch

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
    regions: Regions, judge: Sketch, *, same: np.ndarray, limits: np.ndarray
) -> list[Verdict] | None:
    """Judge whether the pixels of each object have its class; None where the judge has no map.

    Only pixels that reach the map's threshold count. A class without a namesake is not judged,
    nor is an object of whose pixels less than MIN_CERTAIN count.

    Args:
        regions: the objects.
        judge: has the map.
        same: [K] the map's class with the name of each class of the objects, or -1.
        limits: the map's threshold of each of its classes.
    """
    pixels, verdicts = judge.pixels, []
    if pixels is None:
        return None
    certain = pixels.kept(limits)
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


def by_edge(regions: Regions, judge: Sketch) -> list[Verdict] | None:
    """Judge whether the median depth of each object differs from that around it.

    An object without any known depth, or without any around it, is not judged. None where the judge
    has no depth.

    Args:
        regions: the objects.
        judge: has the surface.
    """
    surface, verdicts = judge.surface, []
    if surface is None:
        return None
    known = np.isfinite(surface)
    for index in range(len(regions.scores)):
        place = regions.place(index, surface.shape)
        inside, around = surface[place & known], surface[ring(place) & known]
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
    width = max(1, round(RING * float(np.sqrt(place.sum()))))
    window = np.ones((2 * width + 1, 2 * width + 1), np.uint8)
    return (cv2.dilate(place.astype(np.uint8), window) > 0) & ~place


@dataclasses.dataclass(kw_only=True)
class Pair:
    """A head with objects, and another head that judges them, over a sample of images.

    Attributes:
        objects: the place of the first head.
        judge: the place of the second.
        question: asked of an object; the page explains the verdicts.
        ask: returns the verdicts on objects; None where a sketch has nothing to judge by.
        unjudged: names of classes that are never judged.
        verdicts: in the order of the head's tally of boxes.
        is_asked: whether a sketch had something to judge by.

    Example:
        pairs = pairs_of(heads)
        pairs[0].add(sketches)
    """

    objects: int
    judge: int
    question: str
    ask: Callable[[Regions, Sketch], list[Verdict] | None]
    unjudged: Sequence[str] = ()
    verdicts: list[Verdict] = dataclasses.field(default_factory=list)
    is_asked: bool = False

    def add(self, sketches: Sequence[Sketch | None]) -> list[Verdict]:
        """Return the verdicts on one image's objects; NOT_JUDGED without a label to judge by."""
        objects, judge = sketches[self.objects], sketches[self.judge]
        if objects is None or objects.regions is None:
            return []
        verdicts = None if judge is None else self.ask(objects.regions, judge)
        self.is_asked |= verdicts is not None
        verdicts = verdicts or [Verdict.NOT_JUDGED] * len(objects.regions.scores)
        self.verdicts += verdicts
        return verdicts

    def pack(self) -> dict[str, Any]:
        """Return plain JSON data."""
        return {
            "question": self.question,
            "objects": self.objects,
            "judge": self.judge,
            "verdicts": packed(self.verdicts, "u1"),
            "unjudged": list(self.unjudged),
        }


def pairs_of(heads: Sequence[Any]) -> list[Pair]:
    """Return every question on every head's objects that another head might answer.

    A map judges at the thresholds of the recipe.

    Args:
        heads: see viewer.Head.
    """
    pairs = []
    for (objects, of), (judge, by) in itertools.permutations(enumerate(heads), 2):
        same = namesakes(of.classes, by.classes)
        limits = np.zeros(len(by.classes)) if by.limits is None else by.limits
        ask = functools.partial(by_class, same=same, limits=limits)
        unjudged = [name for name, k in zip(of.classes, same, strict=True) if k < 0]
        pairs += [
            Pair(objects=objects, judge=judge, question="class", ask=ask, unjudged=unjudged),
            Pair(objects=objects, judge=judge, question="edge", ask=by_edge),
        ]
    return pairs
