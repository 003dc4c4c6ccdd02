"""The meaning of a depth map's numbers: a unit, and values that stand for unknown."""

import math
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from must_keras.data.io.notices import MAX_EXAMINED, Notices
from must_keras.errors import UserError

# Medians outside of this are most often counts in another unit.
_LIKELY_METERS = (0.02, 1000.0)
# Larger floats are no depth: renderers write 1e10 or the largest float where a ray hits nothing.
_MAX_FLOAT_METERS = 1e9
# An extreme value stands alone where it is so much larger, or smaller, than all others: of whole
# disparities, 1 is exactly twice as far as 2, and a box that faces the camera is much nearer, ...
_FAR, _NEAR, _APART = 2.1, 10.0, 1.1
# ... and such a share of the valid pixels has it.
_FAR_SHARE, _APART_SHARE = 0.01, 0.05
# ... of at least so many pixels: a laser scanner has few of an image ...
_MIN_PIXELS = 16
# ... and it is farther from the next number than numbers of coarse units are from each other.
_GAPS = 3.0
# Of a sensor that cuts depths off, values this close below the largest one are rare beside it.
_CLOSE, _RARE = 0.98, 0.1
# A value for unknown lies beyond the depths of other files, too: beyond all but this share of them,
# of a sample of so many pixels.
_BEYOND_SHARE, _SAMPLE = 0.01, 4096
# A number of which so many pixels are may be what makes a median look like another unit.
_FREQUENT = 0.05
# Depths are read by several threads; one lock for all, so that sources can be copied.
_lock = threading.Lock()


class DepthValues:
    """Numbers of one unit, some of which stand for unknown.

    Args:
        where: begins an error: "source 'far'".
        depth_scale: meters per count.
        unknown: numbers, as in the files, that stand for unknown, besides those that are not finite
            or not positive; None: the largest number of 16 or 32 bits (65535, 65504 of half
            floats), and of other floats 1e9 and more.

    Raises:
        UserError: the unit is not positive, or a value is no number.

    Example:
        values = DepthValues("source 'far'", 0.001, None)
        values.meters(np.uint16([[1500, 0]]), where="a.png", notices=Notices(""))  # [[1.5, 0.0]]
    """

    version = 2
    """2: the largest number of a file's type is unknown by default."""

    def __init__(self, where: str, depth_scale: float, unknown: Sequence[float] | None):
        is_number = isinstance(depth_scale, int | float | np.number)
        if not is_number or not 0 < depth_scale < math.inf:
            raise UserError(
                f"{where}: depth_scale must be a positive number, received {depth_scale!r}"
            )
        self.depth_scale = float(depth_scale)
        self._unknown = None if unknown is None else _checked(where, unknown)
        # {file: (near, far) end of its depths}, and the topics of values that were noticed.
        self._examined: dict[str, tuple[float, float]] = {}
        self._lonely: dict[str, tuple[float, bool]] = {}

    def describe(self) -> dict[str, Any]:
        """Return the version, and the unknown values where they are given."""
        given = {} if self._unknown is None else {"unknown": self._unknown}
        return {"version": self.version} | given

    def meters(self, counts: np.ndarray, *, where: str, notices: Notices) -> np.ndarray:
        """Return depths in meters, 0 where unknown.

        Args:
            counts: [h, w] numbers as stored, of any type.
            where: names what was read, for errors and notices.
            notices: receives a notice of a number that looks as though it stood for unknown.

        Returns:
            [h, w] float32.

        Raises:
            UserError: there are 8 bits a pixel, or the median looks like another unit.
        """
        if counts.dtype.itemsize < 2:
            raise UserError(f"{where} has 8 bits a pixel: expected a depth of 16 bits or floats")
        with np.errstate(over="ignore"):
            depth = counts.astype(np.float32) * np.float32(self.depth_scale)
        known = np.isfinite(depth) & (depth > 0) & ~self._is_unknown(counts)
        if known.any():
            self._check_unit(depth[known], counts[known], where)
            is_new = where not in self._examined and len(self._examined) < MAX_EXAMINED
            if self._unknown is None and is_new:
                self._notice(counts[known].astype(np.float64), where, notices)
        return np.where(known, depth, np.float32(0))

    def _is_unknown(self, counts: np.ndarray) -> np.ndarray:
        """Return which values stand for unknown: [h, w] bool."""
        if self._unknown is not None:
            found = np.zeros(counts.shape, bool)
            for value in self._unknown:
                # 65.535 is another number as float32.
                found |= np.isclose(counts.astype(np.float64), value, rtol=1e-6, atol=0.0)
            return found
        if counts.dtype.kind in "ui":
            return counts == np.iinfo(counts.dtype).max
        return counts >= (
            np.finfo(np.float16).max if counts.dtype == np.float16 else _MAX_FLOAT_METERS
        )

    def _check_unit(self, depth: np.ndarray, counts: np.ndarray, where: str) -> None:
        median = float(np.median(depth))
        nearest, farthest = _LIKELY_METERS
        if not nearest <= median <= farthest:
            values, numbers = np.unique(counts, return_counts=True)
            most = int(numbers.argmax())
            unknown = (
                f"; or, where {values[most]:.9g}, the number of {numbers[most] / counts.size:.0%} "
                f"of its pixels, stands for unknown, unknown=({values[most]:.9g},)"
                if numbers[most] >= max(_FREQUENT * counts.size, 2)
                else ""
            )
            raise UserError(
                f"{where}: its median depth is {median:.3g} m with depth_scale="
                f"{self.depth_scale:g}, which looks like another unit; expected "
                f"{nearest:g} to {farthest:g} m{unknown}"
            )

    def _notice(self, counts: np.ndarray, where: str, notices: Notices) -> None:
        """Add a notice where many pixels have exactly one extreme value that stands alone.

        A value beyond which other files have depths is a surface in its own file: a wall.
        """
        sample = counts[:: max(counts.size // _SAMPLE, 1)]
        ends = tuple(np.quantile(sample, (_BEYOND_SHARE, 1 - _BEYOND_SHARE)).tolist())
        found, top = list(_lonely_values(counts)), counts.max()
        with _lock:
            # The values found are compared with the files before, and this file with their values.
            for topic, (value, is_top) in self._lonely.items():
                if _is_beyond(ends, value, is_top):
                    notices.contradict(topic, where)
            others, self._examined[where] = dict(self._examined), ends
            for value, share, at_least in found:
                text = (
                    f"up to {share:.0%} of the pixels are exactly {value:.6g} "
                    f"({value * self.depth_scale:.4g} m) and no others come near, as where a value "
                    f"stands for unknown: give unknown=({value:.9g},), or unknown=() if it is a "
                    "depth"
                )
                topic, is_top = f"unknown {value!r}", value == top
                if topic not in self._lonely:
                    self._lonely[topic] = (value, is_top)
                    for other, ends_there in others.items():
                        if _is_beyond(ends_there, value, is_top):
                            notices.contradict(topic, other)
                notices.add(topic, where, text, value=share, at_least=at_least)


def _is_beyond(ends: tuple[float, float], value: float, is_top: bool) -> bool:
    """Return whether depths of a file with these ends lie beyond a value of another."""
    return ends[1] > value if is_top else ends[0] < value


def _lonely_values(values: np.ndarray) -> Iterator[tuple[float, float, int]]:
    """Yield (value, share, files needed) of extreme values that many have and none is near.

    One file is proof enough where the next value is far; a wall may be at the end of one image.
    """
    top, bottom = values.max(), values.min()
    if top == bottom:
        return
    for value, is_top in ((top, True), (bottom, False)):
        others = values[values != value]
        share = 1.0 - others.size / values.size
        if share < _FAR_SHARE or values.size - others.size < _MIN_PIXELS:
            continue
        ratio = top / others.max() if is_top else others.min() / bottom
        if ratio >= (_FAR if is_top else _NEAR) or (
            is_top and ratio >= _APART and share >= _APART_SHARE
        ):
            if _is_apart(value, others):
                yield float(value), share, 1
        elif is_top and share >= _APART_SHARE:
            close = np.count_nonzero(others > _CLOSE * top) / values.size
            if close < _RARE * share:
                yield float(value), share, 2


def _is_apart(value: float, others: np.ndarray) -> bool:
    """Return whether a value is farther from the others than these are from each other."""
    others = np.unique(others)
    gap = np.abs(others - value).min()
    return others.size < 2 or bool(gap > _GAPS * np.median(np.diff(others)))


def _checked(where: str, unknown: Sequence[float]) -> tuple[float, ...]:
    """Return the values as numbers, whole ones as such: they are described."""
    if not isinstance(unknown, list | tuple | range):
        raise UserError(f"{where}: unknown={unknown!r} is no tuple; with one value: (65535,)")
    for value in unknown:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise UserError(f"{where}: unknown holds {value!r}, expected numbers as in the files")
    return tuple(value.item() if isinstance(value, np.number) else value for value in unknown)
