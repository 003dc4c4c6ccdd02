"""Images as users give them to a model: files, folders, globs, Pillow images and arrays."""

import glob
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from must_keras.data.io.images import read_image, rgb
from must_keras.errors import UserError, warn
from must_keras.inference import image_paths

_URL = re.compile("[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_EXPECTED = "expected a path, a Pillow image or one [H, W, 3] uint8 array, or a list of these"


class GivenImage(NamedTuple):
    """An image with its name, "image" where it has no file.

    Example:
        read(np.zeros((48, 64, 3), np.uint8)).name  # "image"
    """

    pixels: np.ndarray
    name: str = "image"
    path: pathlib.Path | None = None


def is_several(given: Any) -> bool:
    """Return whether a list, a folder or a glob is given, which may be of any number of images."""
    if isinstance(given, list | tuple):
        return True
    if not isinstance(given, str | os.PathLike):
        return False
    path = pathlib.Path(given)
    return path.is_dir() or (not path.exists() and glob.has_magic(os.fspath(given)))


def read(given: Any) -> GivenImage:
    """Return one image, upright and as RGB.

    Args:
        given: a path, a Pillow image (its EXIF orientation is applied), or an array [H, W, 3]
            uint8, RGB.

    Raises:
        UserError: it is none of these, it cannot be read, or it is a batch of images.

    Example:
        read("photo.jpg").pixels.shape  # (480, 640, 3)
    """
    if isinstance(given, str | os.PathLike):
        _refuse_url(given)
        ((name, path),) = image_paths.find([os.fspath(given)]).items()
        return GivenImage(read_image(path), name, path)
    if isinstance(given, Image.Image):
        try:
            return GivenImage(rgb(ImageOps.exif_transpose(given)))
        except ValueError as error:
            raise UserError(f"a Pillow image: {error}", key="image", value=given.mode) from None
    return GivenImage(_checked(np.asarray(given)))


def read_several(given: Any) -> Iterator[GivenImage]:
    """Yield the images of a list, a folder or a glob, in order.

    A file of a folder or a glob that cannot be read is skipped with a warning; an item of a list
    is never skipped.

    Args:
        given: a list of what `read` takes, folders and globs among them; or a folder or a glob.

    Raises:
        UserError: an item of a list cannot be read, or there is no image.

    Example:
        [image.name for image in read_several("photos")]  # ["a.jpg", "b.jpg"]
    """
    if isinstance(given, list | tuple):
        for index, item in enumerate(given):
            if is_several(item):
                yield from read_several(item)
            else:
                image = read(item)
                yield image if image.path else image._replace(name=f"image {index}")
        return
    for name, path in image_paths.find([os.fspath(given)]).items():
        try:
            pixels = read_image(path)
        except UserError as error:
            warn(f"skipped: {error}")
            continue
        yield GivenImage(pixels, name, path)


def _checked(array: np.ndarray) -> np.ndarray:
    """Return an array that is one image.

    Raises:
        UserError: it is not.
    """
    received = f"received an array of shape {array.shape} and dtype {array.dtype}"
    problem = None
    if array.dtype == object:
        received, problem = "received no array", _EXPECTED
    elif array.ndim == 4:
        problem = "several images are given as a list: predict(list(images))"
    elif array.ndim != 3 or array.shape[2] != 3 or not array.size:
        problem = _EXPECTED
    elif array.dtype != np.uint8:
        problem = f"{_EXPECTED}: RGB in [0, 255], so scale it and use .astype('uint8')"
    if problem is not None:
        raise UserError(f"image: {received}; {problem}", key="image", value=array.shape)
    return array


def _refuse_url(given: str | os.PathLike[str]) -> None:
    if _URL.match(os.fspath(given)):
        raise UserError(
            f"{given} is an address: download the image, and give the path of the file",
            key="image",
            value=given,
        )
