"""Synthetic tiles of ground seen from above, rendered when they are first read."""

import dataclasses
from typing import Any

import numpy as np

from must_keras.data.sources.source import LabelSpace, Source, Stored, class_label, spaces
from must_keras.errors import UserError
from must_keras.synthetic.tiles import TILE_SETS, Tile, render_tile, tile_set

# Raised when the same arguments render something else than before.
_VERSION = 1
_SPLITS = ("train", "validation", "test")


class TilesSource(Source):
    """A split of a set of synthetic tiles: its classes, or tags where a tile can have several.

    Args:
        name: of the source.
        tiles: a name in synthetic.tiles.TILE_SETS.
        split: "train", "validation" or "test".
        images: number of tiles; a longer split begins with the tiles of a shorter one.
        head: the head that the labels are for; default: the source's name; None: images alone.
        data_seed: another one shows other ground.

    Raises:
        UserError: there is no such set or split, or a number is negative.

    Example:
        TilesSource(name="zones", tiles="zones", split="train", images=500).label_spaces
    """

    def __init__(
        self,
        *,
        name: str,
        tiles: str,
        split: str,
        images: int,
        head: str | None = "",
        data_seed: int = 0,
    ):
        self.name = name
        family, where = tile_set(tiles), f"source {name!r}"
        if split not in _SPLITS:
            raise UserError.of(where, "split", split, f"allowed are {', '.join(_SPLITS)}")
        for key, value in {"images": images, "data_seed": data_seed}.items():
            if value < 0:
                raise UserError.of(where, key, value, "expected 0 or more")
        self._tiles, self._split, self._images, self._seed = tiles, split, images, data_seed
        kind = "tags" if family.has_tags else "classes"
        self.label_spaces = spaces(head, LabelSpace(kind, family.classes), name=name)
        self._rendered: dict[int, Tile] = {}

    def __len__(self) -> int:
        return self._images

    def image_id(self, index: int) -> str:
        return f"{self._tiles}/{self._split}/{index:06d}"

    def image(self, index: int) -> np.ndarray:
        return self._tile(index).image

    def labels(self, index: int) -> dict[str, Stored]:
        if not self.label_spaces:
            return {}
        classes = self._tile(index).classes
        return {head: _stored(classes, space) for head, space in self.label_spaces.items()}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "tiles": self._tiles,
            "definition": dataclasses.asdict(TILE_SETS[self._tiles]),
            "split": self._split,
            "images": self._images,
            "data_seed": self._seed,
            "version": _VERSION,
        }

    def _tile(self, index: int) -> Tile:
        if index not in self._rendered:
            seed = {"data_seed": self._seed}
            self._rendered[index] = render_tile(self._tiles, self._split, index, **seed)
        return self._rendered[index]


def _stored(classes: tuple[int, ...], space: LabelSpace) -> Stored:
    if space.kind == "classes":
        return class_label(classes[0], len(space.classes))
    has = np.zeros(len(space.classes), np.float32)
    has[list(classes)] = 1.0
    return {"tags": has}
