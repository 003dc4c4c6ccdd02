"""Images with surface normals, as colors."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from must_keras.data.io.folders import Path
from must_keras.data.io.images import read_triples
from must_keras.data.io.map_codes import Color, checked_color
from must_keras.data.io.notices import MAX_EXAMINED
from must_keras.data.sources.paired import PairedFolders
from must_keras.data.sources.source import LabelSpace
from must_keras.errors import UserError
from must_keras.experiment import nearest
from must_keras.tasks.normals import points_away

Axes = Literal["camera", "opengl", "directx"]

# What turns axes into X right, Y down, Z forward.
_SIGNS = {"camera": (1, 1, 1), "opengl": (1, -1, -1), "directx": (1, 1, -1)}
# Shorter vectors are no direction: (128, 128, 128) of maps whose unknown pixels are (0, 0, 0).
_SHORTEST = 0.1
# Rounding to 8 bits changes a length by less than 0.01; resized or compressed maps by more.
_LENGTHS, _ODD_SHARE = (0.8, 1.25), 0.1
# Length of a camera's focal length in widths of its image: of an angle of view of 60 degrees.
_FOCAL = 0.87
# Normals that would be turned so far away from the camera, as a cosine, are not visible.
_AWAY, _AWAY_SHARE = 0.1, 0.05


class NormalMaps(PairedFolders):
    """Images, and RGB PNGs of the same names: round((n + 1) / 2 * 255), (0, 0, 0) where unknown.

    What has no direction is unknown as well: colors near (128, 128, 128), and with an alpha channel
    what is wholly transparent. Lengths are normalized.

    Normals are in the camera's axes: X right, Y down, Z forward, towards the camera n_z < 0. Other
    axes are named by `axes`.

    Args:
        name: of the source.
        images: the images' folder.
        normals: the normals' folder; an image without normals is not labeled.
        head: the head that they label; None: images alone.
        axes: of the files: "camera"; "opengl", with Y up and Z towards the camera, in which most
            pixels are light blue; "directx", with Y down and Z towards the camera.
        unknown: further (R, G, B) that stand for unknown.
        bits: that the images' pixels use; see images.read_image.

    Raises:
        UserError: see PairedFolders; or a file is gray or says in its EXIF to be turned; or most
            of its normals point away from the camera, so that its axes are others.
    """

    label_key = "normals"

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        normals: Path,
        head: str | None,
        axes: Axes = "camera",
        unknown: Sequence[Color] = (),
        bits: int | None = None,
    ):
        if axes not in _SIGNS:
            raise UserError(f"source {name!r}: axes={axes!r}; {nearest(axes, get_args(Axes))}")
        self._axes: Axes = axes
        self._unknown = tuple(checked_color(name, color) for color in unknown)
        self._examined: set[pathlib.Path] = set()
        super().__init__(
            name=name,
            images=images,
            labels=normals,
            head=head,
            space=LabelSpace("normals"),
            bits=bits,
        )

    def describe(self) -> dict[str, Any]:
        """With version 2: what has no direction is unknown."""
        axes = {} if self._axes == "camera" else {"axes": self._axes}
        unknown = {"unknown": self._unknown} if self._unknown else {}
        return super().describe() | {"version": 2} | axes | unknown

    def read_label(self, path: pathlib.Path) -> np.ndarray:
        colors = read_triples(path)
        vectors = colors.astype(np.float32) / np.float32(127.5) - 1
        length = np.linalg.norm(vectors, axis=-1, keepdims=True)
        known = (length >= _SHORTEST) & np.any(colors != 0, axis=-1, keepdims=True)
        for color in self._unknown:
            known &= np.any(colors != np.array(color), axis=-1, keepdims=True)
        normals = np.where(known, vectors / np.where(known, length, 1), np.float32(0))
        if self._axes != "camera":
            # Adding 0 makes 0 of -0.
            normals = normals * np.array(_SIGNS[self._axes], np.float32) + np.float32(0)
        if points_away(normals):
            raise UserError(
                f"{path}: most normals point away from the camera with axes={self._axes!r}, which "
                f"is {_MEANING[self._axes]}; {_OTHERS[self._axes]}"
            )
        if path not in self._examined and len(self._examined) < MAX_EXAMINED:
            self._examined.add(path)
            self._notice_lengths(length[known], path)
            self._notice_flip(normals, path)
        return normals

    def _notice_lengths(self, lengths: np.ndarray, path: pathlib.Path) -> None:
        odd = np.count_nonzero((lengths < _LENGTHS[0]) | (lengths > _LENGTHS[1]))
        if odd > _ODD_SHARE * lengths.size:
            self.notices.add("lengths of normals", path, _say_lengths, value=odd / lengths.size)

    def _notice_flip(self, normals: np.ndarray, path: pathlib.Path) -> None:
        """Add a notice where normals could be seen only if Y pointed the other way."""
        height, width = normals.shape[:2]
        across = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / (_FOCAL * width)
        down = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / (_FOCAL * width)
        x, y, z = np.moveaxis(normals, -1, 0)
        # The cosine to the ray is positive where a surface is seen from behind.
        rest, vertical = x * across[None] + z, y * down[:, None]
        count = max(np.count_nonzero(normals.any(-1)), 1)
        away, flipped = (np.count_nonzero(rest + v > _AWAY) / count for v in (vertical, -vertical))
        if away > _AWAY_SHARE and flipped < away / 4:
            other = "opengl" if self._axes == "directx" else "directx"
            self.notices.add(
                "direction of Y",
                path,
                lambda share: (
                    f"up to {share:.0%} of the normals face away from the camera, and would not "
                    f"if Y (green) pointed the other way: check axes={self._axes!r}"
                    + (f", try axes={other!r}" if self._axes != "camera" else "")
                ),
                value=away,
            )


_MEANING = {
    "camera": "X right, Y down, Z forward, with blue below 128",
    "opengl": "X right, Y up, Z towards the camera, with blue above 128",
    "directx": "X right, Y down, Z towards the camera, with blue above 128",
}
_OTHERS = {
    "camera": "if blue is above 128, give axes='opengl' (green above 128 points up) or "
    "axes='directx' (it points down)",
    "opengl": "if blue is below 128, leave axes out",
    "directx": "if blue is below 128, leave axes out",
}


def _say_lengths(share: float) -> str:
    return (
        f"up to {share:.0%} of the vectors are not of unit length before they are normalized, as "
        "where the colors mean something else, or pixels were blended or compressed: expected "
        "round((n + 1) / 2 * 255); a color for unknown is named by unknown=((R, G, B),)"
    )
