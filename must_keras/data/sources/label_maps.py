"""Images with label maps: a picture whose values are classes."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.data.folders import PairedFolders, Path
from must_keras.data.images import read_values
from must_keras.data.sources.source import LabelSpace, Source, Stored, spaces
from must_keras.errors import UserError

# A map's value where nobody says what it shows.
IGNORE = 255
_UNKNOWN = -1


class LabelMaps(Source):
    """Images, and grey or palette PNGs of the same names that say what each pixel shows.

    Args:
        name: of the source.
        images: the images' folder.
        maps: the maps' folder; an image without a map is not labelled.
        head: the head that the maps label; None: images alone.
        classes: names, at most 255.
        values: the value of each class in the files, in the order of `classes`; None: 0, 1, ...
        ignore: further values, of pixels that nobody labelled; 255 is one unless it is a class.

    Raises:
        UserError: see PairedFolders; or a map has a value that is neither a class nor ignored.

    Example:
        LabelMaps(name="camvid", images="train", maps="trainannot", head="street",
                  classes=CLASSES, ignore=(11,))

    """

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        maps: Path,
        head: str | None,
        classes: Sequence[str],
        values: Sequence[int] | None = None,
        ignore: Sequence[int] = (),
    ):
        self.name = name
        self._pairs = PairedFolders(images, maps)
        self._values = tuple(range(len(classes)) if values is None else map(int, values))
        self._ignore = tuple(int(value) for value in ignore)
        self._class_of = _table(name, len(classes), self._values, self._ignore)
        self.label_spaces = spaces(head, LabelSpace("map", tuple(classes)))

    def __len__(self) -> int:
        return len(self._pairs)

    def image_id(self, index: int) -> str:
        return self._pairs.names[index]

    def image(self, index: int) -> np.ndarray:
        return self._pairs.image(index)

    def labels(self, index: int) -> dict[str, Stored]:
        if not self.label_spaces:
            return {}
        found = self._pairs.read_label(index, self._read)
        return {} if found is None else {head: {"map": found} for head in self.label_spaces}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "values": self._values,
            "ignore": self._ignore,
            **self._pairs.describe(),
        }

    def _read(self, path: pathlib.Path) -> np.ndarray:
        values = read_values(path)
        inside = (values >= 0) & (values < len(self._class_of))
        classes = self._class_of[np.where(inside, values, len(self._class_of) - 1)]
        unknown = ~inside | (classes == _UNKNOWN)
        if np.any(unknown):
            odd = np.unique(values[unknown])
            shown = ", ".join(map(str, odd[:10])) + (", ..." if len(odd) > 10 else "")
            raise UserError(
                f"{path} has values that are neither a class nor to be ignored: {shown}; "
                f"classes are {_ranges(self._values)}, ignored {_ranges((*self._ignore, IGNORE))}"
            )
        return classes.astype(np.uint8)


def _table(name: str, num_classes: int, values: Sequence[int], ignore: Sequence[int]) -> np.ndarray:
    """[65536] int16: the class of every value in the files, IGNORE or _UNKNOWN."""
    if not 1 <= num_classes <= IGNORE:
        raise UserError(f"source {name!r}: 1 to {IGNORE} classes, received {num_classes}")
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


def _ranges(values: Sequence[int]) -> str:
    """Values as a person writes them: "0-10, 255"."""
    runs: list[list[int]] = []
    for value in sorted(set(values)):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(f"{a}-{b}" if b > a else f"{a}" for a, b in runs) or "none"
