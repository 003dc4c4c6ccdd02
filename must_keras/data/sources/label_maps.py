"""Images with label maps: a picture whose values or colors are classes."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.data.io.folders import Path
from must_keras.data.io.images import read_coded, read_triples
from must_keras.data.io.map_codes import Color, Colors, Palettes, Values
from must_keras.data.sources.paired import PairedFolders
from must_keras.data.sources.source import LabelSpace
from must_keras.errors import UserError, check_classes


class LabelMaps(PairedFolders):
    """Images, and PNGs of the same names that say what each pixel shows.

    A map is gray or a palette, and its values (of a palette the indices) are classes; or, where
    `colors` is given, it is read as colors. Palettes of one source need the same order: where a
    color has another index in another file, give `colors`, or `values` if the indices are right.

    Args:
        name: of the source.
        images: the images' folder.
        maps: the maps' folder; an image without a map is not labeled.
        head: the head that the maps label; None: images alone.
        classes: names, at most 255.
        values: the value of each class in the files, in the order of `classes`; None: 0, 1, ...
        ignore: further values, of pixels that nobody labeled; 255 is one unless it is a class.
        colors: the (R, G, B) of each class, in the order of `classes`, of color-coded maps.
        ignore_colors: of pixels that nobody labeled; what is wholly transparent is black.
        bits: that the images' pixels use; see images.read_image.

    Raises:
        UserError: see PairedFolders; or a map has a value that is neither a class nor ignored, or
            a palette in another order.

    Example:
        LabelMaps(name="camvid", images="train", maps="trainannot", head="street",
                  classes=CLASSES, ignore=(11,))

    """

    label_key = "map"

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
        colors: Sequence[Color] | None = None,
        ignore_colors: Sequence[Color] = (),
        bits: int | None = None,
    ):
        check_classes(f"source {name!r}", classes)
        if colors is not None:
            if values is not None or ignore:
                raise UserError(f"source {name!r}: give values or colors, not both")
            self._code: Values | Colors = Colors(name, len(classes), colors, ignore_colors)
        else:
            self._code = Values(name, len(classes), values, ignore)
        super().__init__(
            name=name,
            images=images,
            labels=maps,
            head=head,
            space=LabelSpace("map", tuple(classes)),
            bits=bits,
        )
        if isinstance(self._code, Values):
            self._palettes = Palettes(
                self.notices, self._code.of_classes, are_stated=values is not None
            )

    def describe(self) -> dict[str, Any]:
        return super().describe() | self._code.describe()

    def read_label(self, path: pathlib.Path) -> np.ndarray:
        if isinstance(self._code, Colors):
            return self._code.classes(read_triples(path, palette=True), str(path))
        picture = read_coded(path)
        classes = self._code.classes(picture.values, str(path))
        self._palettes.check(picture, str(path))
        return classes
