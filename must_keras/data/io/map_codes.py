"""The meaning of a label map's values or colors."""

import collections
import itertools
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from must_keras.data.io.images import CodedPicture
from must_keras.data.io.notices import Notices
from must_keras.errors import UserError
from must_keras.tasks.segmentation import IGNORE

# Values of maps are smaller.
_MAX_VALUE = 2**53

Color = tuple[int, int, int]

# Maps are read by several threads; one lock for all, so that sources can be copied.
_lock = threading.Lock()


class Values:
    """One integer a pixel.

    Args:
        name: of the source, for errors.
        num_classes: at most 255.
        values: the value of each class; None: 0, 1, ...
        ignore: additional values, of pixels that nobody labeled, -1 for example; 255 is one unless
            it is a class.

    Attributes:
        of_classes: the values that are classes.

    Raises:
        UserError: there are too many classes, a class has no value, a value is no whole number or
            has two meanings.

    Example:
        Values("street", 2, (7, 8), (0,)).classes(np.uint8([[7, 8, 0]]), "a.png")  # [[0, 1, 255]]
    """

    def __init__(
        self, name: str, num_classes: int, values: Sequence[int] | None, ignore: Sequence[int]
    ):
        _check_number(name, num_classes)
        self._values = (
            tuple(range(num_classes)) if values is None else _whole(name, "values", values)
        )
        self._ignore = _whole(name, "ignore", ignore)
        self.of_classes = frozenset(self._values)
        given = [*self._values, *self._ignore]
        if len(self._values) != num_classes or len(set(given)) != len(given):
            raise UserError(
                f"source {name!r}: each of the {num_classes} classes needs one value that is not "
                f"ignored, received values {_ranges(self._values)} and ignore "
                f"{_ranges(self._ignore)}"
            )
        class_of = dict.fromkeys((IGNORE, *self._ignore), IGNORE)
        class_of |= {value: index for index, value in enumerate(self._values)}
        self._ignored = [value for value, meaning in class_of.items() if meaning == IGNORE]
        self._class_of = class_of
        # Nearly every map has bytes, for which OpenCV has tables.
        classes, unknown = self._look_up(np.arange(256))
        self._byte_tables = classes, unknown.astype(np.uint8)

    def describe(self) -> dict[str, Any]:
        return {"values": self._values, "ignore": self._ignore}

    def classes(self, values: np.ndarray, where: str) -> np.ndarray:
        """Return the classes and IGNORE, [h, w] uint8, of [h, w] integers.

        Raises:
            UserError: one has no meaning; `where` names the file.
        """
        if values.dtype == np.uint8:
            classes, unknown = (cv2.LUT(values, table) for table in self._byte_tables)
        else:
            classes, unknown = self._look_up(values)
        if np.any(unknown):
            raise UserError(
                f"{where} has values that are neither a class nor to be ignored: "
                f"{_few(map(str, np.unique(values[unknown > 0])))}; classes are "
                f"{_ranges(self._values)}, ignored {_ranges(self._ignored)}: values of classes are "
                "named by values=(...), additional ones to be ignored by ignore=(...)"
            )
        return classes

    def _look_up(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the class of every value, and whether it has none."""
        if values.dtype.kind == "f":
            # A fraction is no class; rounding would make it one.
            is_whole = (np.abs(values) < _MAX_VALUE) & (values == np.floor(values))
            numbers = np.where(is_whole, values, _MAX_VALUE).astype(np.int64)
        else:
            numbers = values.astype(np.int64)
        return looked_up(numbers, [*self._class_of], [*self._class_of.values()])


class Colors:
    """Three bytes a pixel.

    Args:
        name: of the source, for errors.
        num_classes: at most 255.
        colors: the (R, G, B) of each class.
        ignore: additional colors, of pixels that nobody labeled.

    Raises:
        UserError: a class has no color, or a color two meanings.

    Example:
        Colors("street", 1, [(128, 0, 0)], [(0, 0, 0)]).classes(pixels, "a.png")
    """

    def __init__(
        self, name: str, num_classes: int, colors: Sequence[Color], ignore: Sequence[Color]
    ):
        self._colors = [checked_color(name, color) for color in colors]
        self._ignore = [checked_color(name, color) for color in ignore]
        _check_number(name, num_classes)
        known = [*self._colors, *self._ignore]
        if len(self._colors) != num_classes or len(set(known)) != len(known):
            raise UserError(
                f"source {name!r}: each of the {num_classes} classes needs one color that is not "
                f"ignored, received {len(self._colors)} colors and {len(self._ignore)} ignored, "
                f"{len(set(known))} of them different"
            )
        self._codes = _code(np.array(known))
        self._classes = [*range(num_classes), *[IGNORE] * len(self._ignore)]

    def describe(self) -> dict[str, Any]:
        return {"colors": self._colors, "ignore_colors": self._ignore}

    def classes(self, pixels: np.ndarray, where: str) -> np.ndarray:
        """Return the classes and IGNORE, [h, w] uint8, of [h, w, 3] uint8.

        Raises:
            UserError: one has no meaning; `where` names the file.
        """
        codes = _code(pixels.astype(np.int64))
        classes, unknown = looked_up(codes, self._codes, self._classes)
        if np.any(unknown):
            odd = np.unique(codes[unknown])
            shown = _few(f"({c >> 16}, {c >> 8 & 255}, {c & 255})" for c in odd)
            raise UserError(
                f"{where} has colors that are neither a class nor to be ignored: {shown}; "
                f"{len(self._colors)} classes and {len(self._ignore)} ignored colors are known"
            )
        return classes


class Palettes:
    """The palettes of a source's label maps, compared where their indices are the classes.

    Args:
        notices: receives differences that may be right.
        of_classes: the values that are classes; the color of another means nothing.
        are_stated: whether a user has stated the value of each class, and so that the indices of
            all files mean the same: then differing palettes are a notice, not an error.

    Example:
        Palettes(Notices("source 'x'"), range(3), are_stated=False).check(read_coded(p), str(p))
    """

    def __init__(self, notices: Notices, of_classes: Collection[int], *, are_stated: bool):
        self._notices, self._are_stated = notices, are_stated
        self._of_classes = of_classes
        self._checked: set[str] = set()
        self._known: dict[int, tuple[Color, str]] = {}
        self._kinds: dict[str, str] = {}

    def check(self, picture: CodedPicture, where: str) -> None:
        """Compare a map with the maps read before, at its first reading alone.

        Raises:
            UserError: a color has another index than in another file, so that equal indices are
                different classes; names both files.
        """
        with _lock:
            if where in self._checked:
                return
            if picture.is_transparent:
                self._notices.add("transparent maps", where, _TRANSPARENT)
            used = self._used(picture)
            is_gray = all(color == (index,) * 3 for index, color in used.items())
            # A palette of which black alone is used, for example, is of both kinds.
            if picture.palette is None or not is_gray:
                self._kinds.setdefault("gray" if is_gray else "palette", where)
            if len(self._kinds) > 1:
                gray, palette = self._kinds["gray"], self._kinds["palette"]
                text = (
                    f"{palette} has a palette and {gray} is gray: an index and a gray value of the "
                    "same number are read as the same class"
                )
                self._notices.add("kinds of maps", where, text)
            self._compare(used, where)
            if not is_gray and self._is_gray(picture.palette):
                self._notices.add("gray palettes", where, _GRAY_PALETTE)
            # Examining a gray map again costs less than a million of their names.
            if picture.palette is not None:
                self._checked.add(where)

    def _used(self, picture: CodedPicture) -> dict[int, Color]:
        """Return {index: color} of the classes in a palette's picture; {} for another picture."""
        if picture.palette is None:
            return {}
        used = np.flatnonzero(np.bincount(picture.values.reshape(-1))).tolist()
        return {
            index: tuple(picture.palette[index].tolist())
            for index in used
            if index < len(picture.palette) and index in self._of_classes
        }

    def _is_gray(self, palette: np.ndarray) -> bool:
        """Return whether all colors of a palette are grays that are values of classes."""
        is_gray = np.all(palette == palette[:, :1])
        return bool(is_gray) and set(palette[:, 0].tolist()) <= set(self._of_classes)

    def _compare(self, colors: dict[int, Color], where: str) -> None:
        counts = collections.Counter(colors.values())
        for index, color in colors.items():
            known = self._known.setdefault(index, (color, where))
            if known[0] == color:
                continue
            # Colors that stand for several indices, as black at a palette's end, name none.
            other = next((i for i, (c, _) in self._known.items() if c == color), None)
            is_moved = other is not None and counts[color] == 1
            first = known[1]
            text = (
                f"value {index} has the color {color} in its palette, and {known[0]} in that of "
                f"{first}"
            )
            if is_moved and not self._are_stated:
                raise UserError(
                    f"{where}: {text}, where {color} is value {other}: equal values are different "
                    "classes. Read the maps by their colors, colors=(...) with the color of each "
                    "class; or state the value of each class, values=(...), if the values are "
                    "right and the colors do not matter"
                )
            hint = (
                "if equal values are different classes, read the maps by their colors, colors=(...)"
            )
            self._notices.add("palettes", where, f"{text}: {hint}")


_TRANSPARENT = (
    "pixels are transparent, and are read as their value all the same: give them a value that is "
    "ignored, or read the maps by their colors, colors=(...), where what is wholly transparent "
    "is black"
)


_GRAY_PALETTE = (
    "its palette has grays that are values of classes, too, and the indices are read as classes: "
    "if the grays are meant, as where a program stored gray maps with a palette, read the maps by "
    "their colors, colors=((0, 0, 0), (1, 1, 1), ...)"
)


def checked_color(name: str, color: Sequence[int]) -> Color:
    """Return (R, G, B) as integers.

    Raises:
        UserError: of the source `name`: it is no color.
    """
    red_green_blue = _as_integers(color) or ()
    if len(red_green_blue) != 3 or not all(0 <= value <= 255 for value in red_green_blue):
        raise UserError(
            f"source {name!r}: {color} is no color: expected (R, G, B), whole numbers from 0 to 255"
        )
    return red_green_blue


def _as_integers(values: Any) -> tuple[int, ...] | None:
    """Return whole numbers as integers, or None where values are not whole numbers."""
    try:
        given = tuple(values)
        whole = tuple(int(value) for value in given)
    except (TypeError, ValueError, OverflowError):
        return None
    return whole if whole == given and not isinstance(values, str | Mapping) else None


def looked_up(
    numbers: np.ndarray, known: Sequence[int], classes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the class, uint8, of every number, and whether it is none of the known ones."""
    order = np.argsort(known)
    ascending, class_of = np.array(known, np.int64)[order], np.array(classes, np.uint8)[order]
    places = np.minimum(np.searchsorted(ascending, numbers), len(known) - 1)
    return class_of[places], ascending[places] != numbers


def _code(colors: np.ndarray) -> np.ndarray:
    """Return one number, [...], for each of [..., 3] colors."""
    return colors @ np.array([2**16, 2**8, 1])


def _check_number(name: str, num_classes: int) -> None:
    if not 1 <= num_classes <= IGNORE:
        raise UserError(f"source {name!r}: 1 to {IGNORE} classes, received {num_classes}")


def _whole(name: str, what: str, values: Sequence[int]) -> tuple[int, ...]:
    """Return the values as integers.

    Raises:
        UserError: of the source `name`: they are not whole numbers.
    """
    whole = _as_integers(values)
    if whole is None or any(abs(value) >= _MAX_VALUE for value in whole):
        raise UserError(
            f"source {name!r}: {what}={values!r}: expected a tuple of whole numbers; with one: "
            "(11,)"
        )
    return whole


def _few(names: Iterable[str], limit: int = 10) -> str:
    """Return the first names, and "..." for the others."""
    shown = list(itertools.islice(names, limit + 1))
    return ", ".join(shown[:limit]) + (", ..." if len(shown) > limit else "")


def _ranges(values: Sequence[int]) -> str:
    """Return values as a person writes them: "0-10, 255"."""
    runs: list[list[int]] = []
    for value in sorted(set(values)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs) or "none"
