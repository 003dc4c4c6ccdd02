"""Label Studio's run lengths of brush masks ("rle"): a list of bytes, read bit by bit.

32 bits: the number of values; 5 bits: their width less 1; 4 times 4 bits: widths of a length less
1. Then runs: a bit that is 1 where one value repeats, 2 bits for the width of the length, the
length less 1, and the value, or as many values. Values are the bytes of RGBA pixels, row by row; a
pixel belongs to the mask where its fourth byte is not 0. Source: rle-pack of thi.ng/umbrella, which
Label Studio uses.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

_COUNT_BITS, _WIDTH_BITS, _LENGTH_WIDTH_BITS = 32, 5, 4
_LENGTH_WIDTHS = (4, 8, 12, 16)
_CHANNELS, _OPAQUE = 4, 255
# Pixels of an image that is read.
_MAX_PIXELS = 200_000_000


def encode_brush(mask: np.ndarray) -> list[int]:
    """Return Label Studio's code of a mask, [h, w], 0 or 1."""
    flat = np.asarray(mask).ravel() > 0
    edges = np.flatnonzero(np.diff(flat)) + 1
    bits = [_bits(_CHANNELS * flat.size, _COUNT_BITS), _bits(7, _WIDTH_BITS)]
    bits += [_bits(width - 1, _LENGTH_WIDTH_BITS) for width in _LENGTH_WIDTHS]
    for start, stop in pairwise([0, *edges.tolist(), flat.size]):
        value, left = _bits(_OPAQUE if flat[start] else 0, 8), _CHANNELS * (stop - start)
        while left > 0:
            length = min(left, 2 ** _LENGTH_WIDTHS[-1])
            kind = next(k for k, w in enumerate(_LENGTH_WIDTHS) if length <= 2**w)
            bits.append(f"1{_bits(kind, 2)}{_bits(length - 1, _LENGTH_WIDTHS[kind])}{value}")
            left -= length
    text = "".join(bits)
    packed = np.packbits(np.frombuffer(text.encode(), np.uint8) - ord("0"))
    return packed.tolist()


def decode_brush(code: Any, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of a code: [h, w] uint8, 0 or 1.

    Args:
        code: a list of bytes.
        size: (h, w).

    Raises:
        ValueError: the code is damaged, or is not of so many pixels.
    """
    if type(code) is not list or not all(type(v) is int and 0 <= v < 256 for v in code):
        raise ValueError("expected a list of bytes")
    count = size[0] * size[1] * _CHANNELS
    if count > _CHANNELS * _MAX_PIXELS:
        raise ValueError(f"an image of {size[0]} x {size[1]} pixels is too large")
    reader = _Bits(code)
    if reader.take(_COUNT_BITS) != count:
        raise ValueError(f"it is not of {size[0]} x {size[1]} pixels (height x width)")
    width = reader.take(_WIDTH_BITS) + 1
    lengths = [reader.take(_LENGTH_WIDTH_BITS) + 1 for _ in _LENGTH_WIDTHS]
    values = np.zeros(count, np.uint8)
    place = 0
    while place < count:
        repeats = reader.take(1)
        stop = place + 1 + reader.take(lengths[reader.take(2)])
        if stop > count:
            raise ValueError("it has more pixels than its image")
        if repeats:
            values[place:stop] = reader.take(width) > 0
        else:
            values[place:stop] = [reader.take(width) > 0 for _ in range(stop - place)]
        place = stop
    return values.reshape(*size, _CHANNELS)[:, :, -1].copy()


class _Bits:
    """Numbers of a few bits each, read one after the other."""

    def __init__(self, code: Sequence[int]):
        self._bits = (np.unpackbits(np.asarray(code, np.uint8)) + ord("0")).tobytes()
        self._place = 0

    def take(self, count: int) -> int:
        found = self._bits[self._place : self._place + count]
        if len(found) < count:
            raise ValueError("it ends within a run")
        self._place += count
        return int(found, 2)


def _bits(number: int, count: int) -> str:
    return format(number, f"0{count}b")
