"""What the values or the colours of a label map mean."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from must_keras.errors import UserError
from must_keras.tasks.segmentation import IGNORE

_UNKNOWN = -1

Colour = tuple[int, int, int]


class Values:
    """One integer a pixel.

    Args:
        name: of the source, for errors.
        num_classes: how many there are, at most 255.
        values: the value of each class; None: 0, 1, ...
        ignore: further values, of pixels that nobody labelled; 255 is one unless it is a class.

    Raises:
        UserError: a class has no value, or a value two meanings.
    """

    def __init__(
        self, name: str, num_classes: int, values: Sequence[int] | None, ignore: Sequence[int]
    ):
        self._values = tuple(range(num_classes) if values is None else map(int, values))
        self._ignore = tuple(int(value) for value in ignore)
        self._class_of = _table(name, num_classes, self._values, self._ignore)
        # Nearly every map has bytes, for which OpenCV has tables.
        classes, unknown = self._look_up(np.arange(256))
        self._byte_tables = classes.astype(np.uint8), unknown.astype(np.uint8)

    def describe(self) -> dict[str, Any]:
        return {"values": self._values, "ignore": self._ignore}

    def classes(self, values: np.ndarray, where: str) -> np.ndarray:
        """[h, w] uint8 of classes and IGNORE from [h, w] integers.

        Raises:
            UserError: one has no meaning; `where` says what was read.
        """
        if values.dtype == np.uint8:
            classes, unknown = (cv2.LUT(values, table) for table in self._byte_tables)
        else:
            classes, unknown = self._look_up(values)
        if np.any(unknown):
            raise UserError(
                f"{where} has values that are neither a class nor to be ignored: "
                f"{_few(map(str, np.unique(values[unknown > 0])))}; classes are "
                f"{_ranges(self._values)}, ignored {_ranges((*self._ignore, IGNORE))}"
            )
        return classes.astype(np.uint8, copy=False)

    def _look_up(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The class of every value, and whether it has none."""
        inside = (values >= 0) & (values < len(self._class_of))
        classes = self._class_of[np.where(inside, values, len(self._class_of) - 1)]
        return classes, ~inside | (classes == _UNKNOWN)


class Colours:
    """Three bytes a pixel.

    Args:
        name: of the source, for errors.
        num_classes: how many there are, at most 255.
        colours: the (R, G, B) of each class.
        ignore: further colours, of pixels that nobody labelled.

    Raises:
        UserError: a class has no colour, or a colour two meanings.
    """

    def __init__(
        self,
        name: str,
        num_classes: int,
        colours: Sequence[Colour],
        ignore: Sequence[Colour],
    ):
        self._colours = [_checked_colour(name, colour) for colour in colours]
        self._ignore = [_checked_colour(name, colour) for colour in ignore]
        known = [*self._colours, *self._ignore]
        if len(self._colours) != num_classes or len(set(known)) != len(known):
            raise UserError(
                f"source {name!r}: each of the {num_classes} classes needs one colour that is not "
                f"ignored, received {len(self._colours)} colours and {len(self._ignore)} ignored, "
                f"{len(set(known))} of them different"
            )
        classes = [*range(num_classes), *[IGNORE] * len(self._ignore)]
        codes = np.array([_code(np.array(colour)) for colour in known])
        order = np.argsort(codes)
        self._codes, self._classes = codes[order], np.array(classes, np.uint8)[order]

    def describe(self) -> dict[str, Any]:
        return {"colours": self._colours, "ignore_colours": self._ignore}

    def classes(self, pixels: np.ndarray, where: str) -> np.ndarray:
        """[h, w] uint8 of classes and IGNORE from [h, w, 3] uint8.

        Raises:
            UserError: one has no meaning; `where` says what was read.
        """
        codes = _code(pixels.astype(np.int64))
        places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        unknown = self._codes[places] != codes
        if np.any(unknown):
            odd = np.unique(codes[unknown])
            shown = _few(f"({c >> 16}, {c >> 8 & 255}, {c & 255})" for c in odd)
            raise UserError(
                f"{where} has colours that are neither a class nor to be ignored: {shown}; "
                f"{len(self._colours)} classes and {len(self._ignore)} ignored colours are known"
            )
        return self._classes[places]


def _checked_colour(name: str, colour: Sequence[int]) -> Colour:
    try:
        red_green_blue = tuple(int(value) for value in colour)
        is_colour = len(red_green_blue) == 3 and all(
            0 <= value <= 255 and value == given and not isinstance(given, str)
            for value, given in zip(red_green_blue, colour, strict=True)
        )
    except (TypeError, ValueError, OverflowError):
        is_colour = False
    if not is_colour:
        raise UserError(
            f"source {name!r}: {colour} is no colour: expected (R, G, B), whole numbers from 0 to "
            "255"
        )
    return red_green_blue


def _code(colours: np.ndarray) -> np.ndarray:
    """[...] one number for each of [..., 3] colours."""
    return colours @ np.array([2**16, 2**8, 1])


def _table(name: str, num_classes: int, values: Sequence[int], ignore: Sequence[int]) -> np.ndarray:
    """[65536] int16: the class of every value in the files, IGNORE or _UNKNOWN."""
    if len(values) != num_classes or len({*values, *ignore}) != len(values) + len(ignore):
        raise UserError(
            f"source {name!r}: each of the {num_classes} classes needs one value that is not "
            f"ignored, received values {_ranges(values)} and ignore {_ranges(ignore)}"
        )
    table = np.full(2**16, _UNKNOWN, np.int16)
    table[IGNORE] = IGNORE
    for value in (*values, *ignore):
        if not 0 <= value < len(table):
            raise UserError(f"source {name!r}: value {value} is not in 0 to {len(table) - 1}")
    table[list(ignore)] = IGNORE
    table[list(values)] = np.arange(num_classes)
    return table


def _few(names: Iterable[str], limit: int = 10) -> str:
    """The first names, and "..." for the others."""
    shown = list(itertools.islice(names, limit + 1))
    return ", ".join(shown[:limit]) + (", ..." if len(shown) > limit else "")


def _ranges(values: Sequence[int]) -> str:
    """Values as a person writes them: "0-10, 255"."""
    runs: list[list[int]] = []
    for value in sorted(set(values)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs) or "none"
