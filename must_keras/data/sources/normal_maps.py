"""Images with surface normals, as colours."""

from __future__ import annotations

import pathlib

import numpy as np

from must_keras.data.builders.scenes.encoding import decode_normals
from must_keras.data.folders import Path
from must_keras.data.images import read_triples
from must_keras.data.sources.paired import PairedFolders
from must_keras.data.sources.source import LabelSpace
from must_keras.errors import UserError


class NormalMaps(PairedFolders):
    """Images, and RGB PNGs of the same names: round((n + 1) / 2 * 255), (0, 0, 0) where unknown.

    With an alpha channel, what is wholly transparent is unknown as well.

    Normals are unit vectors in the camera's axes, X right, Y down, Z forward, towards the camera:
    n_z < 0.

    Args:
        name: of the source.
        images: the images' folder.
        normals: the normals' folder; an image without normals is not labelled.
        head: the head that they label; None: images alone.

    Raises:
        UserError: see PairedFolders; or a file is grey or says in its EXIF to be turned; or most
            of its normals point away from the camera, so that its axes are others.
    """

    label_key = "normals"

    def __init__(self, *, name: str, images: Path, normals: Path, head: str | None):
        super().__init__(
            name=name, images=images, labels=normals, head=head, space=LabelSpace("normals")
        )

    def read_label(self, path: pathlib.Path) -> np.ndarray:
        normals = decode_normals(read_triples(path))
        forward = normals[:, :, 2]
        if np.count_nonzero(forward > 0) > np.count_nonzero(forward < 0):
            raise UserError(
                f"{path}: most normals point away from the camera; expected X right, Y down, "
                "Z forward, so that blue is below 128"
            )
        return normals
