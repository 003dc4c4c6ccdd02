"""Outlines of instance masks: one polygon for each object."""

import contourpy
import numpy as np


def outline(mask: np.ndarray) -> np.ndarray | None:
    """Return the outline of a mask in its box: [n, 2] (x, y), fractions of the box.

    It is where the mask, bilinear between the centers of its cells, is 0.5, as `ops.masks.paste`
    has it. Parts are joined by a line there and back between their nearest corners, and holes are
    filled: one polygon cannot have either.

    Args:
        mask: [S, S], 0 or 1.

    Returns:
        None where the mask is empty.
    """
    side = len(mask)
    # The cells at the edge reach to the edge of the box, beyond which there is nothing.
    values = np.pad(np.pad(np.asarray(mask, np.float64), 1, mode="edge"), 1)
    places = np.concatenate([[0, 0], np.arange(side) + 0.5, [side, side]]) / side
    contours = contourpy.contour_generator(places, places, values, fill_type="OuterOffset")
    points, offsets = contours.filled(0.5, np.inf)
    # The first ring of each part is its outer one, whose first point is also its last.
    rings = [_corners(p[: o[1] - 1]) for p, o in zip(points, offsets, strict=True)]
    rings = sorted((ring for ring in rings if len(ring) > 2), key=len, reverse=True)
    if not rings:
        return None
    joined = rings[0]
    for ring in rings[1:]:
        joined = _with_part(joined, ring)
    return joined


def _corners(ring: np.ndarray) -> np.ndarray:
    """Return the points of a ring, [n, 2], without those on a line between their neighbors."""
    ring = ring[np.any(ring != np.roll(ring, 1, axis=0), axis=1)]
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    turn = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0]
    return ring[np.abs(turn) > 1e-12]


def _with_part(ring: np.ndarray, part: np.ndarray) -> np.ndarray:
    distances = np.square(ring[:, None] - part[None]).sum(-1)
    i, j = np.unravel_index(distances.argmin(), distances.shape)
    around = np.roll(part, -j, axis=0)
    return np.concatenate([ring[: i + 1], around, around[:1], ring[i:]])
