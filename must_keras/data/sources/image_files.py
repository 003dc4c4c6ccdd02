"""What all sources whose images are files below a folder have in common."""

from __future__ import annotations

import functools
import pathlib
import posixpath
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.data.io.folders import check_inside, content_digest
from must_keras.data.io.images import read_image, upright_size
from must_keras.data.io.notices import Notices
from must_keras.data.io.pixel_bits import check_bits
from must_keras.data.sources.source import LabelSpace, Source
from must_keras.errors import UserError

# 2: the bits that a TIFF states are looked at.
_TIFF_VERSION = 2


def frame_hint(upright: tuple[int, int], labeled: tuple[int, int]) -> str:
    """Return what to do where labels are of an image on its side; "" for other sizes.

    All labels are read in the frame of the upright image, with its EXIF orientation applied.

    Args:
        upright: (height, width) of the upright image.
        labeled: (height, width) according to its labels.
    """
    if upright != (labeled[1], labeled[0]):
        return ""
    return (
        "; labels are read in the frame of the upright image (EXIF orientation applied): if these "
        "are in the frame of the pixels as stored, remove the orientation from the image "
        "(exiftool -Orientation= FILE) or turn the labels"
    )


class ImageFiles(Source):
    """Images by their relative paths, which are their ids; a subclass says what is labeled.

    Args:
        name: of the source.
        root: the images' folder.
        files: relative paths, in the order of the indices.
        label_spaces: see Source.
        bits: see images.read_image.

    Attributes:
        notices: of its files, each reported once.

    Raises:
        UserError: a path leads out of the folder, or `bits` is no number of bits.
    """

    def __init__(
        self,
        *,
        name: str,
        root: pathlib.Path,
        files: Sequence[str],
        label_spaces: Mapping[str, LabelSpace],
        bits: int | None = None,
    ):
        check_inside(files, f"source {name!r}")
        check_bits(f"source {name!r}", bits)
        self.name, self.label_spaces = name, label_spaces
        self.notices, self._bits = Notices(f"source {name!r}"), bits
        self._root, self._files = root, files
        self._of_their_size: set[int] = set()

    def __len__(self) -> int:
        return len(self._files)

    def image_id(self, index: int) -> str:
        return self._files[index]

    def file(self, index: int) -> pathlib.Path:
        return self._root / self._files[index]

    def folders(self) -> frozenset[pathlib.Path]:
        below = {posixpath.dirname(file) for file in self._files}
        return frozenset(self._root / folder for folder in below)

    def image(self, index: int) -> np.ndarray:
        return read_image(self.file(index), bits=self._bits, notices=self.notices)

    @functools.cached_property
    def _image_digest(self) -> str:
        # Once: a run describes its sources many times, and a million files take many seconds.
        return content_digest(self._root, self._files)

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        found = {} if self._bits is None else {"bits": self._bits}
        names = self._files if ids is None else ids
        is_tiff = any(name.lower().endswith((".tif", ".tiff")) for name in names)
        return found | ({"tiff": _TIFF_VERSION} if is_tiff else {})

    def check_size(self, index: int, size: tuple[int, int], where: str | pathlib.Path) -> None:
        """Looks once whether an image is as large as its annotation says, (height, width).

        Boxes are fractions of it, so it matters wherever the image's pixels come from.

        Raises:
            UserError: it is not; or it cannot be read.
        """
        if index in self._of_their_size:
            return
        file = self.file(index)
        found = upright_size(file)
        if found != size:
            raise UserError(
                f"{file} is {found[1]}x{found[0]} pixels upright, "
                f"{where} says {size[1]}x{size[0]} (width x height){frame_hint(found, size)}"
            )
        self._of_their_size.add(index)
