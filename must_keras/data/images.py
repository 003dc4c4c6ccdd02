"""Pictures from files: images as upright RGB, and pictures whose values are labels."""

from __future__ import annotations

import contextlib
import os
import pathlib
import struct
from collections.abc import Iterator

import numpy as np
import OpenEXR
from PIL import Image, ImageOps

from must_keras.errors import UserError

Path = str | os.PathLike[str]

_ORIENTATION = 0x0112
_ON_THEIR_SIDE = (5, 6, 7, 8)
_ONE_VALUE = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
# What Pillow raises for files that are damaged or no pictures.
_UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


def read_image(path: Path) -> np.ndarray:
    """An image as a person sees it: [h, w, 3] uint8 RGB, turned upright as its EXIF says.

    Grey becomes three equal colours, 16 bits become 8 (round(value / 257)), what is transparent
    shows white.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    with _opened(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        return rgb(image)


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of `read_image(path)`, from the file's header alone."""
    with _opened(path) as image:
        # Pillow would decode a whole PNG to look for EXIF behind its pixels.
        has_exif = image.format != "PNG" or "exif" in image.info
        on_its_side = has_exif and image.getexif().get(_ORIENTATION) in _ON_THEIR_SIDE
        width, height = image.size
        return (width, height) if on_its_side else (height, width)


def read_values(path: Path) -> np.ndarray:
    """A picture of one integer a pixel: [h, w], 8, 16 or 32 bits as in the file.

    Of a palette the indices, not the colours. Of equal colours one.

    Raises:
        UserError: see `read_numbers`; or they are floating point numbers.
    """
    found = read_numbers(path)
    if found.dtype.kind == "f":
        raise UserError(f"{path} has floating point numbers (mode F), expected one integer a pixel")
    return found


def read_numbers(path: Path) -> np.ndarray:
    """A picture of one number a pixel: as `read_values`, or [h, w] float32 of a TIFF of floats.

    Raises:
        UserError: there is no such file, it cannot be read, or it has several numbers a pixel.
    """
    with _opened(path) as image:
        ImageOps.exif_transpose(image, in_place=True)
        found = values(image)
    if found is None:
        raise UserError(f"{path} has colours (mode {image.mode}), expected one number a pixel")
    return found


def read_array(path: Path) -> np.ndarray:
    """A NumPy file (.npy) of one number a pixel: [h, w] or [h, w, 1], as [h, w].

    Raises:
        UserError: there is no such file, it cannot be read, or it is of another shape or kind.
    """
    try:
        found = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{path} cannot be read as a NumPy array: {error}") from error
    return _one_number(found, path)


def read_exr(path: Path) -> np.ndarray:
    """An OpenEXR file of one channel, or its channel "Z": [h, w] float16, float32 or uint32.

    Raises:
        UserError: there is no such file, it cannot be read, or it has neither.
    """
    if not pathlib.Path(path).is_file():  # OpenEXR names no reason.
        raise UserError(f"there is no file {path}")
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, ValueError) as error:
        raise UserError(f"{path} cannot be read as OpenEXR: {error}") from error
    if len(channels) == 1:
        return _one_number(next(iter(channels.values())), path)
    if "Z" not in channels:
        raise UserError(f"{path} has the channels {', '.join(channels)}: expected one, or a Z")
    return _one_number(channels["Z"], path)


def _one_number(found: np.ndarray, path: Path) -> np.ndarray:
    if found.ndim == 3 and found.shape[2] == 1:
        found = found[:, :, 0]
    if found.ndim != 2 or found.dtype.kind not in "uif":
        raise UserError(
            f"{path} holds {found.dtype} of shape {found.shape}, expected numbers of shape "
            "(height, width)"
        )
    return found


def read_triples(path: Path, *, palette: bool = False) -> np.ndarray:
    """A picture whose colours are numbers, not a sight: [h, w, 3] uint8 as in the file.

    (0, 0, 0) where it is wholly transparent; partly transparent pixels keep their colours.

    Args:
        path: of the file.
        palette: whether a palette's colours, and grey as equal colours, will do.

    Raises:
        UserError: there is no such file, it cannot be read, it has not three colours, or its EXIF
            says to turn it: what the numbers mean would not turn with it.
    """
    with _opened(path) as image:
        modes = ("RGB", "RGBA", "P", "PA", "L", "LA") if palette else ("RGB", "RGBA")
        if image.mode not in modes:
            raise UserError(f"{path} has mode {image.mode}, expected colours: {' or '.join(modes)}")
        # Before the pixels are loaded: Pillow then turns some TIFFs and forgets that it did.
        orientation = image.getexif().get(_ORIENTATION, 1)
        if orientation != 1:
            raise UserError(
                f"{path} has the EXIF orientation {orientation}, expected 1 or none: turn its "
                "pixels, and what they say, before storing it"
            )
        pixels = np.asarray(image.convert("RGBA"))
    return np.where(pixels[:, :, 3:] > 0, pixels[:, :, :3], np.uint8(0))


def rgb(image: Image.Image) -> np.ndarray:
    """[h, w, 3] uint8 of a Pillow image in any mode of integers; see `read_image`."""
    if image.mode.startswith("I"):
        deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return np.repeat(((deep + 128) // 257).astype(np.uint8)[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its pixels are floating point numbers, expected 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def values(image: Image.Image) -> np.ndarray | None:
    """[h, w] numbers of a Pillow image; None if it has different colours in a pixel."""
    if image.mode in _ONE_VALUE:
        found = np.asarray(image)
        return found.astype(np.uint8) if image.mode == "1" else found
    colours = np.asarray(image)
    num_colours = {"LA": 1, "RGB": 3, "RGBA": 3}.get(image.mode)
    if num_colours is None or np.any(colours[:, :, 1:num_colours] != colours[:, :, :1]):
        return None
    return colours[:, :, 0]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    try:
        with Image.open(path) as image:
            yield image
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except _UNREADABLE as error:
        detail = "" if isinstance(error, Image.UnidentifiedImageError) else f": {error}"
        raise UserError(f"{path} cannot be read as a picture{detail}") from error
