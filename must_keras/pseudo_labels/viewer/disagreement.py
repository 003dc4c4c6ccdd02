"""Where heads contradict each other: formulas on sketches, whatever the tasks are."""

from __future__ import annotations

import enum
from collections.abc import Sequence

import numpy as np

from must_keras.tasks.sketch import Pixels, Regions

# Of an object's pixels so many must have a class that is sure enough, else nothing is judged.
LEAST_SURE = 0.25
# Of those so many must be of the object's own class: by its mask, or by its box, much of which
# may be background.
LEAST_SAME_IN_MASK, LEAST_SAME_IN_BOX = 0.5, 0.25
# Medians of the object and of the ring around it that differ by less are no edge.
LEAST_STEP = 0.05
# The ring's width as a share of the object's side, the root of its area.
RING = 0.25


class Verdict(enum.IntEnum):
    """What one head says of another's object."""

    NOT_JUDGED = 0
    AGREES = 1
    DISAGREES = 2


def namesakes(names: Sequence[str], others: Sequence[str]) -> np.ndarray:
    """[len(names)] int: the place of the same name in `others`, -1 where it is not there.

    Capitals do not count, and _ and - are spaces.
    """
    places = {_plain(name): place for place, name in enumerate(others)}
    return np.array([places.get(_plain(name), -1) for name in names], np.int64)


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def by_class(
    regions: Regions, same: np.ndarray, pixels: Pixels, limits: np.ndarray
) -> list[Verdict]:
    """Whether the pixels of each object have its class.

    Only pixels that reach the map's threshold count. A class without a namesake is not judged,
    nor is an object of whose pixels less than LEAST_SURE count.

    Args:
        regions: the objects.
        same: [K] the map's class with the name of each class of the objects, or -1.
        pixels: the map.
        limits: the map's threshold of each of its classes.
    """
    sure = pixels.kept(limits)
    verdicts = []
    for index, own in enumerate(same[regions.classes]):
        place = regions.place(index, pixels.classes.shape)
        counted = place & sure
        if own < 0 or not place.any() or counted.sum() < LEAST_SURE * place.sum():
            verdicts.append(Verdict.NOT_JUDGED)
            continue
        share = (pixels.classes[counted] == own).mean()
        least = LEAST_SAME_IN_BOX if regions.masks[index] is None else LEAST_SAME_IN_MASK
        verdicts.append(Verdict.AGREES if share >= least else Verdict.DISAGREES)
    return verdicts


def by_edge(regions: Regions, surface: np.ndarray) -> list[Verdict]:
    """Whether each object stands out of its surroundings: its median depth and that around it.

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
        verdicts.append(Verdict.AGREES if step >= LEAST_STEP else Verdict.DISAGREES)
    return verdicts


def ring(place: np.ndarray) -> np.ndarray:
    """[h, w] bool: the pixels outside of `place`, [h, w] bool, but near to it.

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
    """The rows and columns that hold a place and its ring: much less to look at than all."""
    width = _ring_width(place)
    sides = (np.flatnonzero(place.any(axis=1)), np.flatnonzero(place.any(axis=0)))
    return tuple(
        slice(max(side[0] - width, 0), side[-1] + width + 1) if len(side) else slice(0)
        for side in sides
    )
