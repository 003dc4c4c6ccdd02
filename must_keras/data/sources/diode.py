"""DIODE: photos indoors and outdoors with dense depth and surface normals."""

import pathlib

import numpy as np

from must_keras.data.io.folders import Path, content_digest, existing_folder, picture_files
from must_keras.data.io.images import read_array
from must_keras.data.names import stem
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored
from must_keras.errors import UserError
from must_keras.tasks.normals import points_away

_DEPTH, _MASK, _NORMAL = "_depth.npy", "_depth_mask.npy", "_normal.npy"
# Shorter vectors are no direction.
_MIN_LENGTH = 0.1


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
        folder = existing_folder(root)
        files = picture_files(folder, (".png",))
        self._heads = {
            kind: head
            for kind, head in (("metric", depth_head), ("normals", normals_head))
            if head is not None
        }
        super().__init__(
            name=name,
            root=folder,
            files=files,
            label_spaces={head: LabelSpace(kind) for kind, head in self._heads.items()},
        )
        ends = {"metric": (_DEPTH, _MASK), "normals": (_NORMAL,)}
        for kind in self._heads:
            for end in ends[kind]:
                if not any(self._label_file(i, end).is_file() for i in range(len(files))):
                    raise UserError.at(folder, f"has no *{end} beside its {len(files)} images")

    def labels(self, index: int) -> dict[str, Stored]:
        read = {"metric": self._depth, "normals": self._normals}
        found = {head: read[kind](index) for kind, head in self._heads.items()}
        return {head: label for head, label in found.items() if label is not None}

    def describe_content(self) -> dict[str, str]:
        # By names and sizes: all the labels are 300 GB, and have never been corrected.
        ends = [_DEPTH, _MASK] if "metric" in self._heads else []
        ends += [_NORMAL] if "normals" in self._heads else []
        labels = (f"{stem(file)}{end}" for file in self._files for end in ends)
        there = (name for name in labels if (self._root / name).is_file())
        return {
            "images": content_digest(self._root, self._files),
            "labels": content_digest(self._root, there),
        }

    def _label_file(self, index: int, end: str) -> pathlib.Path:
        return self._root / f"{stem(self._files[index])}{end}"

    def _depth(self, index: int) -> Stored | None:
        path, mask_path = (self._label_file(index, end) for end in (_DEPTH, _MASK))
        if not path.is_file():
            return None
        depth, mask = read_array(path).astype(np.float32), read_array(mask_path)
        for values, where in ((depth, path), (mask, mask_path)):
            self.check_label_size(index, values, where)
        known = (mask > 0) & np.isfinite(depth) & (depth > 0)
        return {"depth": np.where(known, depth, np.float32(0))}

    def _normals(self, index: int) -> Stored | None:
        path = self._label_file(index, _NORMAL)
        if not path.is_file():
            return None
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise UserError.at(path, f"cannot be read as a NumPy array: {error}") from error
        if found.ndim != 3 or found.shape[2] != 3 or found.dtype.kind != "f":
            raise UserError(
                f"{path} holds {found.dtype} of shape {found.shape}, expected floats of shape "
                "(height, width, 3)"
            )
        self.check_label_size(index, found, path)
        normals = found.astype(np.float32) * np.float32((1, -1, -1))
        length = np.linalg.norm(normals, axis=-1, keepdims=True)
        known = np.isfinite(length) & (length >= _MIN_LENGTH)
        normals = np.where(known, normals / np.where(known, length, 1.0), np.float32(0))
        if points_away(normals):
            raise UserError(
                f"{path}: most normals point away from the camera; expected X right, Y up, Z "
                "towards the camera, so that most of Z is positive"
            )
        return {"normals": normals.astype(np.float32)}
