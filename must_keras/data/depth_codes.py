"""What the numbers of a depth map mean: a unit, and values that stand for unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.data.notices import Notices
from must_keras.errors import UserError

# Medians outside of this are most often counts in another unit.
_LIKELY_METRES = (0.02, 1000.0)
# Floats from here on are no depth: renderers write 1e10 or the largest float where a ray hits
# nothing.
_BEYOND = 1e9
# An extreme value stands alone where it is so much larger, or smaller, than all others, ...
_FAR, _APART = 2.0, 1.1
# ... and such a share of the valid pixels has it.
_FAR_SHARE, _APART_SHARE = 0.01, 0.05
# Of a sensor that cuts depths off, values this close below the largest one are rare beside it.
_CLOSE, _RARE = 0.98, 0.1
# Files of a source in which a value for unknown is looked for: training reads them again and again.
_MAX_EXAMINED = 512


class DepthValues:
    """Numbers of one unit, some of which stand for unknown.

    Args:
        where: begins an error: "source 'far'".
        metres_per_count: of the numbers.
        unknown: numbers, as in the files, that stand for unknown, besides what is not finite or
            not positive; None: the largest number of 16 or 32 bits (65535, 65504 of half floats),
            and of other floats 1e9 and more.

    Raises:
        UserError: the unit is not positive, or a value is no number.
    """

    version = 2
    """2: the largest number of a file's type is unknown by default."""

    def __init__(self, where: str, metres_per_count: float, unknown: Sequence[float] | None):
        if not metres_per_count > 0:
            raise UserError(
                f"{where}: metres_per_count must be positive, received {metres_per_count}"
            )
        self.metres_per_count = float(metres_per_count)
        self._unknown = None if unknown is None else _checked(where, unknown)
        self._examined: set[str] = set()

    def describe(self) -> dict[str, Any]:
        """The version, and the unknown values where they are given."""
        given = {} if self._unknown is None else {"unknown": self._unknown}
        return {"version": self.version} | given

    def metres(self, counts: np.ndarray, *, where: str, notices: Notices) -> np.ndarray:
        """Return depths in meters, 0 where unknown.

        Args:
            counts: [h, w] numbers as stored, of any type.
            where: names what was read, for errors and notices.
            notices: receives a notice of a number that looks as though it stood for unknown.

        Returns:
            [h, w] float32.

        Raises:
            UserError: the median looks like another unit.
        """
        depth = counts.astype(np.float32) * np.float32(self.metres_per_count)
        known = np.isfinite(depth) & (depth > 0) & ~self._is_unknown(counts)
        if known.any():
            self._check_unit(depth[known], where)
            is_new = where not in self._examined and len(self._examined) < _MAX_EXAMINED
            if self._unknown is None and is_new:
                self._examined.add(where)
                self._notice(counts[known], where, notices)
        return np.where(known, depth, np.float32(0))

    def _is_unknown(self, counts: np.ndarray) -> np.ndarray:
        """[h, w] bool: the values that stand for unknown."""
        if self._unknown is not None:
            found = np.zeros(counts.shape, bool)
            for value in self._unknown:
                # 65.535 is another number as float32.
                found |= np.isclose(counts.astype(np.float64), value, rtol=1e-6, atol=0.0)
            return found
        if counts.dtype.kind in "ui":
            return counts == np.iinfo(counts.dtype).max
        return counts >= (np.finfo(np.float16).max if counts.dtype == np.float16 else _BEYOND)

    def _check_unit(self, depth: np.ndarray, where: str) -> None:
        median = float(np.median(depth))
        nearest, farthest = _LIKELY_METRES
        if not nearest <= median <= farthest:
            raise UserError(
                f"{where}: its median depth is {median:.3g} m with metres_per_count="
                f"{self.metres_per_count:g}, which looks like another unit; expected "
                f"{nearest:g} to {farthest:g} m"
            )

    def _notice(self, counts: np.ndarray, where: str, notices: Notices) -> None:
        """Add a notice where many pixels have exactly one extreme value that stands alone."""
        for value, share, at_least in _lonely_values(counts.astype(np.float64)):

            def say(largest: float, value: float = value) -> str:
                return (
                    f"up to {largest:.0%} of the pixels are exactly {value:.6g} "
                    f"({value * self.metres_per_count:.4g} m) and no others come near, as where a "
                    f"value stands for unknown: give unknown=({value:.9g},), or unknown=() if it "
                    "is a depth"
                )

            notices.add(f"unknown {value!r}", where, say, value=share, at_least=at_least)


def _lonely_values(values: np.ndarray) -> list[tuple[float, float, int]]:
    """Return (value, share, files needed) of an extreme value that many have and none is near.

    One file is proof enough where the next value is far; a wall may be at the end of one image.
    """
    found = []
    top, bottom = values.max(), values.min()
    if top == bottom:
        return []
    for value, is_top in ((top, True), (bottom, False)):
        others = values[values != value]
        share = 1.0 - others.size / values.size
        if share < _FAR_SHARE:
            continue
        ratio = top / others.max() if is_top else others.min() / bottom
        if ratio >= _FAR or (is_top and ratio >= _APART and share >= _APART_SHARE):
            found.append((float(value), share, 1))
        elif is_top and share >= _APART_SHARE:
            close = np.count_nonzero(others > _CLOSE * top) / values.size
            if close < _RARE * share:
                found.append((float(value), share, 2))
    return found


def _checked(where: str, unknown: Sequence[float]) -> tuple[float, ...]:
    """The values as numbers, whole ones as such: they are described."""
    if not isinstance(unknown, list | tuple | range):
        raise UserError(f"{where}: unknown={unknown!r} is no tuple; with one value: (65535,)")
    for value in unknown:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise UserError(f"{where}: unknown holds {value!r}, expected numbers as in the files")
    return tuple(value.item() if isinstance(value, np.number) else value for value in unknown)
