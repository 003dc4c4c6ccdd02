"""Images with a label for every pixel, in files of their own: classes, depths, normals."""

import pathlib
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from must_keras.data.io.depth_codes import DepthValues
from must_keras.data.io.folders import SUFFIXES, content_digest, picture_files
from must_keras.data.io.images import load_array, read_array, read_coded, read_numbers, read_triples
from must_keras.data.io.map_codes import Color, Colors, Palettes, Values, checked_color
from must_keras.data.io.notices import MAX_EXAMINED
from must_keras.data.names import stem
from must_keras.data.sources.image_files import ImageFiles, PairedFolders
from must_keras.data.sources.source import LabelSpace, Stored
from must_keras.errors import Path, UserError, check_classes, not_allowed
from must_keras.tasks.normals import points_away


class LabelMaps(PairedFolders):
    """Images, and PNGs of the same names whose values or colors are classes.

    A map is gray or has a palette, and its values (of a palette the indices) are classes; or, where
    `colors` is given, it is read as colors. Palettes of one source need the same order: where a
    color has another index in another file, give `colors`, or `values` if the indices are right.

    Args:
        name: of the source.
        images: the images' folder.
        maps: the maps' folder; an image without a map is not labeled.
        head: the head that the maps label; default: the source's name; None: images alone.
        classes: names, at most 255.
        values: the value of each class in the files, in the order of `classes`; None: 0, 1, ...
        ignore: additional values, of pixels that nobody labeled; 255 is one unless it is a class.
        colors: the (R, G, B) of each class, in the order of `classes`, of color-coded maps.
        ignore_colors: of pixels that nobody labeled; wholly transparent pixels are black.
        bits: bits that are used of the images' pixels; see images.read_image.

    Raises:
        UserError: see PairedFolders; or a map has a value that is neither a class nor ignored, or
            a palette in another order.

    Example:
        mk.LabelMaps(name="camvid", images="train", maps="trainannot", head="street",
                     classes=CLASSES, ignore=(11,))
    """

    label_key = "map"

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        maps: Path,
        head: str | None = "",
        classes: Sequence[str],
        values: Sequence[int] | None = None,
        ignore: Sequence[int] = (),
        colors: Sequence[Color] | None = None,
        ignore_colors: Sequence[Color] = (),
        bits: int | None = None,
    ):
        check_classes(f"source {name!r}", classes)
        if colors is None:
            self._code = Values(name, len(classes), values, ignore)
        elif values is not None or ignore:
            raise UserError(f"source {name!r}: give values or colors, not both")
        else:
            self._code = Colors(name, len(classes), colors, ignore_colors)
        space = LabelSpace("map", tuple(classes))
        super().__init__(name=name, images=images, labels=maps, head=head, space=space, bits=bits)
        self._palettes = None
        if isinstance(self._code, Values):
            known = self._code.of_classes
            self._palettes = Palettes(self.notices, known, are_stated=values is not None)

    def describe(self) -> dict[str, Any]:
        return super().describe() | self._code.describe()

    def read_label(self, path: pathlib.Path) -> np.ndarray:
        if self._palettes is None:
            return self._code.classes(read_triples(path, palette=True), str(path))
        picture = read_coded(path)
        classes = self._code.classes(picture.values, str(path))
        self._palettes.check(picture, str(path))
        return classes


class DepthMaps(PairedFolders):
    """Images, and depths of the same names: along the camera's axis, 0 where unknown.

    A depth is a 16-bit PNG, a TIFF of 16 bits or of 32-bit floats, a NumPy array (.npy) [h, w], or
    an OpenEXR file of one channel or with a channel "Z". Depths that are not finite or not positive
    are unknown, and so is the largest number of 16 bits (65535) and of other types, see `unknown`.

    Args:
        name: of the source.
        images: the images' folder.
        depths: the depths' folder; an image without a depth is not labeled.
        head: the head that they label, in meters; default: the source's name; None: images alone.
        depth_scale: meters per count: 0.001 where the files count millimeters; 1 / 5000 in TUM's,
            1 / 256 in KITTI's; 1 where floats are meters.
        unknown: numbers, as in the files, that stand for unknown besides those that are not finite
            or not positive; None: 65535 of 16 bits, 65504 of half floats, the largest of 32 bits,
            and of floats 1e9 and more; () for none of them.
        bits: bits that are used of the images' pixels; see images.read_image.

    Raises:
        UserError: see PairedFolders; or a depth file has 8 bits a pixel, or its median is nearer
            than 2 cm or farther than 1 km, as in another unit.

    Example:
        mk.DepthMaps(name="far", images="rgb", depths="depth", depth_scale=1 / 5000)
    """

    label_key = "depth"
    label_suffixes = (*SUFFIXES, ".npy", ".exr")

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        depths: Path,
        head: str | None = "",
        depth_scale: float = 0.001,
        unknown: Sequence[float] | None = None,
        bits: int | None = None,
    ):
        self._values = DepthValues(f"source {name!r}", depth_scale, unknown)
        space = LabelSpace("metric")
        super().__init__(name=name, images=images, labels=depths, head=head, space=space, bits=bits)

    def describe(self) -> dict[str, Any]:
        unit = {"depth_scale": self._values.depth_scale}
        return super().describe() | unit | self._values.describe()

    def read_label(self, path: pathlib.Path) -> np.ndarray:
        return self._values.meters(read_numbers(path), where=str(path), notices=self.notices)


Axes = Literal["camera", "opengl", "directx"]

# Signs that turn axes into X right, Y down, Z forward.
_SIGNS = {"camera": (1, 1, 1), "opengl": (1, -1, -1), "directx": (1, 1, -1)}
_MEANING = {
    "camera": "X right, Y down, Z forward, with blue below 128",
    "opengl": "X right, Y up, Z towards the camera, with blue above 128",
    "directx": "X right, Y down, Z towards the camera, with blue above 128",
}
_NOT_CAMERA = "if blue is below 128, leave axes out"
_OTHERS = {
    "camera": "if blue is above 128, give axes='opengl' (green above 128 points up) or "
    "axes='directx' (it points down)",
    "opengl": _NOT_CAMERA,
    "directx": _NOT_CAMERA,
}
# Shorter vectors have no direction: (128, 128, 128) of maps whose unknown pixels are (0, 0, 0).
_MIN_LENGTH = 0.1
# Rounding to 8 bits changes a length by less than 0.01; resizing or compression by more.
_UNIT_LENGTHS, _MAX_ODD_SHARE = (0.8, 1.25), 0.1
# Focal length in widths of the image, for an angle of view of 60 degrees.
_FOCAL_LENGTH = 0.87
# Normals that point so far away from the camera, as a cosine, belong to no visible surface.
_AWAY_COSINE, _MAX_AWAY_SHARE = 0.1, 0.05


def _directions(vectors: np.ndarray, known: np.ndarray | bool) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors, [h, w, 3], (0, 0, 0) where unknown, and the lengths that they had."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    known = known & np.isfinite(length) & (length >= _MIN_LENGTH)
    return np.where(known, vectors / np.where(known, length, 1), np.float32(0)), length[known]


class NormalMaps(PairedFolders):
    """Images, and RGB PNGs of the same names: round((n + 1) / 2 * 255), (0, 0, 0) where unknown.

    Pixels without a direction are unknown as well: colors near (128, 128, 128), and with an alpha
    channel wholly transparent ones. Lengths are normalized.

    Normals are in the camera's axes: X right, Y down, Z forward, towards the camera n_z < 0. Other
    axes are named by `axes`.

    Args:
        name: of the source.
        images: the images' folder.
        normals: the normals' folder; an image without normals is not labeled.
        head: the head that they label; default: the source's name; None: images alone.
        axes: of the files: "camera"; "opengl", with Y up and Z towards the camera, in which most
            pixels are light blue; "directx", with Y down and Z towards the camera.
        unknown: additional (R, G, B) that stand for unknown.
        bits: bits that are used of the images' pixels; see images.read_image.

    Raises:
        UserError: see PairedFolders; or a file is gray or has an EXIF orientation; or most of its
            normals point away from the camera, so that its axes are others.

    Example:
        mk.NormalMaps(name="rooms", images="rgb", normals="normals", head="normals", axes="opengl")
    """

    label_key = "normals"

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        normals: Path,
        head: str | None = "",
        axes: Axes = "camera",
        unknown: Sequence[Color] = (),
        bits: int | None = None,
    ):
        if axes not in _SIGNS:
            raise not_allowed(f"source {name!r}: axes={axes!r}", axes, get_args(Axes), key="axes")
        self._axes: Axes = axes
        self._unknown = tuple(checked_color(name, color) for color in unknown)
        self._examined: set[pathlib.Path] = set()
        space = LabelSpace("normals")
        super().__init__(
            name=name, images=images, labels=normals, head=head, space=space, bits=bits
        )

    def describe(self) -> dict[str, Any]:
        """Return the description, with version 2: pixels without a direction are unknown."""
        axes = {} if self._axes == "camera" else {"axes": self._axes}
        unknown = {"unknown": self._unknown} if self._unknown else {}
        return super().describe() | {"version": 2} | axes | unknown

    def read_label(self, path: pathlib.Path) -> np.ndarray:
        colors = read_triples(path)
        vectors = colors.astype(np.float32) / np.float32(127.5) - 1
        known = np.ones((*colors.shape[:2], 1), bool)
        for color in ((0, 0, 0), *self._unknown):
            known &= np.any(colors != np.array(color), axis=-1, keepdims=True)
        normals, lengths = _directions(vectors, known)
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
            self._notice_lengths(lengths, path)
            self._notice_flip(normals, path)
        return normals

    def _notice_lengths(self, lengths: np.ndarray, path: pathlib.Path) -> None:
        """Add a notice where vectors are not of unit length before they are normalized."""
        low, high = _UNIT_LENGTHS
        odd = np.count_nonzero((lengths < low) | (lengths > high))
        if odd > _MAX_ODD_SHARE * lengths.size:
            share = odd / lengths.size
            text = (
                f"up to {share:.0%} of the vectors are not of unit length before they are "
                "normalized, as where the colors mean something else, or pixels were blended or "
                "compressed: expected round((n + 1) / 2 * 255); a color for unknown is named by "
                "unknown=((R, G, B),)"
            )
            self.notices.add("lengths of normals", path, text, value=share)

    def _notice_flip(self, normals: np.ndarray, path: pathlib.Path) -> None:
        """Add a notice where normals would be visible only if Y pointed the other way."""
        height, width = normals.shape[:2]
        across = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / (_FOCAL_LENGTH * width)
        down = (np.arange(height, dtype=np.float32) + 0.5 - height / 2) / (_FOCAL_LENGTH * width)
        x, y, z = np.moveaxis(normals, -1, 0)
        # The cosine to the ray is positive where a surface would be seen from behind.
        rest, vertical = x * across[None] + z, y * down[:, None]
        count = max(np.count_nonzero(normals.any(-1)), 1)
        away, flipped = (
            np.count_nonzero(rest + v > _AWAY_COSINE) / count for v in (vertical, -vertical)
        )
        if away > _MAX_AWAY_SHARE and flipped < away / 4:
            other = "opengl" if self._axes == "directx" else "directx"
            hint = f", try axes={other!r}" if self._axes != "camera" else ""
            text = (
                f"up to {away:.0%} of the normals face away from the camera, and would not if Y "
                f"(green) pointed the other way: check axes={self._axes!r}{hint}"
            )
            self.notices.add("direction of Y", path, text, value=away)


# Ends of the names of DIODE's label files, by kind of label.
_DIODE_ENDS = {"metric": ("_depth.npy", "_depth_mask.npy"), "normals": ("_normal.npy",)}


class Diode(ImageFiles):
    """A split of DIODE (arXiv 1908.00463): <indoors|outdoor>/<scene>/<scan>/<image>.png.

    Beside <image>.png lie, where they were downloaded:

    - <image>_depth.npy, [h, w, 1] float32: meters; and <image>_depth_mask.npy, [h, w]: 1 where
      the scanner measured one, by DIODE's devkit. That depth is measured along the camera's axis is
      not documented; Metric3D's loader, and most others, take it so.
    - <image>_normal.npy, [h, w, 3] float: unit vectors, (0, 0, 0) where unknown. They are a
      download of their own. Their axes are not documented: X right, Y up, Z towards the camera
      is what Metric3D's loader takes (training/mono/datasets/diode_dataset.py negates Y and Z).
      Here Y and Z are negated alike: X right, Y down, Z forward, n_z < 0 towards the camera. A
      file most of whose normals then point away from the camera is an error; that Y points up
      could not be verified on the files themselves.

    Args:
        name: of the source.
        root: the folder of a split: val.
        depth_head: the head that depth labels; None to leave depth out.
        normals_head: the head that normals label; None to leave normals out.

    Raises:
        UserError: there is no image, or none with the labels that are asked for.

    Example:
        Diode(name="diode", root="diode/val", depth_head="depth")
    """

    searches_root = True

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        depth_head: str | None = None,
        normals_head: str | None = None,
    ):
        files = picture_files(root, (".png",))
        heads = {"metric": depth_head, "normals": normals_head}
        self._heads = {kind: head for kind, head in heads.items() if head is not None}
        label_spaces = {head: LabelSpace(kind) for kind, head in self._heads.items()}
        super().__init__(name=name, root=root, files=files, label_spaces=label_spaces)
        self._ends = [end for kind in self._heads for end in _DIODE_ENDS[kind]]
        for end in self._ends:
            if not any(self._label_file(i, end).is_file() for i in range(len(files))):
                raise UserError.at(self._root, f"has no *{end} beside its {len(files)} images")

    def labels(self, index: int) -> dict[str, Stored]:
        read = {"metric": self._depth, "normals": self._normals}
        return {
            head: read[kind](index)
            for kind, head in self._heads.items()
            if self._label_file(index, _DIODE_ENDS[kind][0]).is_file()
        }

    def describe_content(self) -> dict[str, str]:
        # By names and sizes: all the labels are 300 GB, and have never been corrected.
        labels = (f"{stem(file)}{end}" for file in self._files for end in self._ends)
        there = (name for name in labels if (self._root / name).is_file())
        return {
            "images": content_digest(self._root, self._files),
            "labels": content_digest(self._root, there),
        }

    def _label_file(self, index: int, end: str) -> pathlib.Path:
        return self._root / f"{stem(self._files[index])}{end}"

    def _depth(self, index: int) -> Stored:
        path, mask_path = (self._label_file(index, end) for end in _DIODE_ENDS["metric"])
        depth, mask = read_array(path).astype(np.float32), read_array(mask_path)
        for values, where in ((depth, path), (mask, mask_path)):
            self.check_label_size(index, values, where)
        known = (mask > 0) & np.isfinite(depth) & (depth > 0)
        return {"depth": np.where(known, depth, np.float32(0))}

    def _normals(self, index: int) -> Stored:
        path = self._label_file(index, *_DIODE_ENDS["normals"])
        found = load_array(path)
        if found.ndim != 3 or found.shape[2] != 3 or found.dtype.kind != "f":
            raise UserError(
                f"{path} holds {found.dtype} of shape {found.shape}, expected floats of shape "
                "(height, width, 3)"
            )
        self.check_label_size(index, found, path)
        normals, _ = _directions(found.astype(np.float32) * np.float32((1, -1, -1)), known=True)
        if points_away(normals):
            raise UserError(
                f"{path}: most normals point away from the camera; expected X right, Y up, Z "
                "towards the camera, so that most of Z is positive"
            )
        return {"normals": normals}
