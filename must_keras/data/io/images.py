"""Pictures from files: images as upright RGB, and pictures whose values are labels."""

import contextlib
import io
import pathlib
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import OpenEXR
from PIL import Image

from must_keras.data.io import image_metadata, pixel_bits
from must_keras.data.io.notices import Notices
from must_keras.errors import Path, UserError
from must_keras.files import open_regular

# Of one image, by its header: the largest sensors of phones have 200 million pixels. An image of
# as many takes 0.6 GB as RGB, and up to four times that while it is converted.
MAX_PIXELS = 200_000_000
# Pillow's own limit would warn of 90 million pixels and refuse 180 million.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# Formats that are decoded: none that Pillow hands to other programs (PostScript), fonts or films.
FORMATS = (
    "JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM", "TGA",
    "PCX", "ICO", "PSD", "QOI", "SGI",
)  # fmt: skip

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_THEIR_SIDE = (5, 6, 7, 8)
_ONE_VALUE = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def read_image(
    path: Path, *, bits: int | None = None, notices: Notices | None = None
) -> np.ndarray:
    """Return an upright image, its EXIF orientation applied: [h, w, 3] uint8 RGB.

    Gray becomes three equal colors, 16 bits become 8 (round(value / 257)), transparent pixels
    show white. Where pixels of more than 8 bits use fewer than 16, 2^bits - 1 becomes 255. Of an
    animation or a TIFF of several pages, the first.

    Args:
        path: of the file.
        bits: number of bits that pixels of more than 8 bits use, from the lowest on; None: what a
            TIFF states (BitsPerSample, or a SMaxSampleValue or MaxSampleValue of 2^bits - 1),
            else 16.
        notices: receives a notice of a file whose values use fewer bits than they are read with;
            None: that of files without a source, once for each folder.

    Raises:
        UserError: there is no such file, it is not a regular file, it has more than MAX_PIXELS,
            it cannot be decoded for any reason, or a value needs more than `bits`.
    """
    with _opened(path) as (image, orientation):
        image, bits = pixel_bits.used(image, path, path, bits=bits, notices=notices)
        return rgb(_upright(image, orientation), bits=bits)


def read_image_bytes(
    data: bytes, where: str, *, bits: int | None = None, notices: Notices | None = None
) -> np.ndarray:
    """Return `read_image` of an image's bytes.

    Args:
        data: the content of an image's file.
        where: names the image, for errors and notices.
        bits: see `read_image`.
        notices: see `read_image`.

    Raises:
        UserError: see `read_image`.
    """
    with _reading(where, "a picture"), _decoded(where, io.BytesIO(data), True) as found:
        image, orientation = found
        image, bits = pixel_bits.used(image, data, where, bits=bits, notices=notices)
        return rgb(_upright(image, orientation), bits=bits)


def upright_size(path: Path) -> tuple[int, int]:
    """Return the (height, width) of `read_image(path)`, from the file's header alone."""
    with _opened(path, decode=False) as (image, orientation):
        width, height = image.size
        # Pillow gives the upright size of a TIFF.
        turned = image.tag_v2.get(image_metadata.ORIENTATION) if image.format == "TIFF" else 1
        is_as_stored = (turned in _ON_THEIR_SIDE) == (orientation in _ON_THEIR_SIDE)
        return (height, width) if is_as_stored else (width, height)


class CodedPicture(NamedTuple):
    """A picture of one integer a pixel.

    Attributes:
        values: [h, w], 8, 16 or 32 bits as in the file; of a palette the indices.
        palette: [n, 3] uint8, the color of each index; None of a picture without a palette.
        is_transparent: whether a pixel is wholly or partly transparent.

    Example:
        read_coded("map.png").values.max()
    """

    values: np.ndarray
    palette: np.ndarray | None
    is_transparent: bool


def read_coded(path: Path) -> CodedPicture:
    """Read a picture of one integer a pixel, or of equal colors, with its palette.

    Raises:
        UserError: see `read_numbers`; or they are floating point numbers.
    """
    with _opened(path) as (image, orientation):
        found = _numbers(path, image, orientation)
        colors = image.getpalette("RGB") if image.mode == "P" else None
        least_alpha = (
            image.convert("RGBA").getextrema()[3][0] if image.has_transparency_data else 255
        )
    if found.dtype.kind == "f":
        raise UserError(f"{path} has floating point numbers (mode F), expected one integer a pixel")
    palette = None if colors is None else np.array(colors, np.uint8).reshape(-1, 3)
    return CodedPicture(found, palette, is_transparent=least_alpha < 255)


def read_numbers(path: Path) -> np.ndarray:
    """Return a file of one number a pixel, [h, w]: a picture, or see `read_array` and `read_exr`.

    A picture has integers as stored, or float32 of a TIFF.

    Raises:
        UserError: there is no such file, it cannot be read, or it has several numbers a pixel.
    """
    read = {".npy": read_array, ".exr": read_exr}.get(pathlib.Path(path).suffix.lower())
    if read is not None:
        return read(path)
    with _opened(path) as (image, orientation):
        return _numbers(path, image, orientation)


def load_array(path: Path) -> np.ndarray:
    """Return a NumPy file (.npy).

    Raises:
        UserError: there is no such file, it cannot be read, or it is an archive (.npz).
    """
    with _reading(path, "a NumPy array"), open_regular(path) as file:
        found = np.load(file, allow_pickle=False)
    if not isinstance(found, np.ndarray):
        raise UserError.at(path, "is an archive of arrays (.npz), expected one array (.npy)")
    return found


def read_array(path: Path) -> np.ndarray:
    """Return a NumPy file (.npy) of one number a pixel, [h, w] or [h, w, 1], as [h, w].

    Raises:
        UserError: see `load_array`; or it is of another shape or kind.
    """
    return _one_number(load_array(path), path)


def read_exr(path: Path) -> np.ndarray:
    """Return an OpenEXR file's one channel, or its "Z": [h, w] float16, float32 or uint32.

    Raises:
        UserError: there is no such file, it cannot be read, or it has neither.
    """
    with _reading(path, "OpenEXR"):
        open_regular(path).close()  # OpenEXR names no reason.
        with OpenEXR.File(str(path), header_only=True) as file:
            (left, top), (right, bottom) = file.header()["dataWindow"]
        _check_size(path, int(right) - int(left) + 1, int(bottom) - int(top) + 1)
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    if len(channels) == 1:
        return _one_number(next(iter(channels.values())), path)
    if "Z" not in channels:
        raise UserError.at(path, f"has the channels {', '.join(channels)}: expected one, or a Z")
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
    """Return a picture whose colors are numbers, as in the file: [h, w, 3] uint8.

    (0, 0, 0) where it is wholly transparent; partly transparent pixels keep their colors.

    Args:
        path: of the file.
        palette: whether a palette's colors, and gray as equal colors, will do.

    Raises:
        UserError: there is no such file, it cannot be read, it has not three colors, or it has
            an EXIF orientation, with which the meaning of the numbers would not turn.
    """
    with _opened(path, decode=False) as (image, orientation):
        modes = ("RGB", "RGBA", "P", "PA", "L", "LA") if palette else ("RGB", "RGBA")
        if image.mode not in modes:
            raise UserError(f"{path} has mode {image.mode}, expected colors: {' or '.join(modes)}")
        if orientation != 1:
            raise UserError(
                f"{path} has the EXIF orientation {orientation}, expected 1 or none: turn its "
                "pixels, and their values, before storing it"
            )
        pixels = np.asarray(image.convert("RGBA"))
    return np.where(pixels[:, :, 3:] > 0, pixels[:, :, :3], np.uint8(0))


def rgb(image: Image.Image, *, bits: int | None = None) -> np.ndarray:
    """Return a Pillow image in any mode of integers as [h, w, 3] uint8; see `read_image`."""
    if image.mode.startswith("I"):
        gray = pixel_bits.in_8_bits(np.asarray(image), bits)
        return np.repeat(gray[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its pixels are floating point numbers, expected 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _numbers(path: Path, image: Image.Image, orientation: int) -> np.ndarray:
    """Return an image as [h, w] numbers.

    Raises:
        UserError: a pixel has different colors.
    """
    image = _upright(image, orientation)
    found = np.asarray(image)
    if image.mode in _ONE_VALUE:
        return found.astype(np.uint8) if image.mode == "1" else found
    num_colors = {"LA": 1, "RGB": 3, "RGBA": 3}.get(image.mode)
    if num_colors is None or np.any(found[:, :, 1:num_colors] != found[:, :, :1]):
        raise UserError(f"{path} has colors (mode {image.mode}), expected one number a pixel")
    return found[:, :, 0]


@contextlib.contextmanager
def _opened(path: Path, *, decode: bool = True) -> Iterator[tuple[Image.Image, int]]:
    """Open an image as it is stored, with its EXIF orientation: 1 to 8.

    Args:
        path: of the file.
        decode: whether its pixels are read too.
    """
    with (
        _reading(path, "a picture"),
        open_regular(path) as file,
        _decoded(path, file, decode) as found,
    ):
        yield found


@contextlib.contextmanager
def _decoded(path: Path, file: BinaryIO, decode: bool) -> Iterator[tuple[Image.Image, int]]:
    """Yield the image in a file's bytes; see `_opened`."""
    try:
        image = _stored(path, file, decode)
        metadata = image_metadata.of_image(image, file)
    except (Image.DecompressionBombError, MemoryError, UserError):
        raise
    except Exception:
        # Metadata that Pillow cannot parse may stand beside good pixels: decode those alone.
        found = image_metadata.without_metadata(file)
        if found is None:
            raise
        image, metadata = _stored(path, found.pixels, decode), found.metadata
    with image:
        yield image, metadata.orientation()


def _stored(path: Path, file: BinaryIO, decode: bool) -> Image.Image:
    image = Image.open(file, formats=FORMATS)
    _check_size(path, *image.size)
    # Pillow would parse every tag of the EXIF block to turn a TIFF.
    image.getexif = Image.Exif
    if decode:
        image.load()
    return image


@contextlib.contextmanager
def _reading(path: Path, what: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a UserError that names the file and the reason."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", path=path) from None
    except Exception as error:  # No list of what decoders raise has ever been complete.
        reason = f": {_reason(error)}"
        if isinstance(error, Image.UnidentifiedImageError):
            reason = ""  # It names an object in memory.
        raise UserError.at(path, f"cannot be read as {what}{reason}") from error


def _reason(error: Exception) -> str:
    """Return the reason of an exception in one line."""
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _check_size(path: Path, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UserError.at(path, f"has no pixels: it is {width}x{height} (width x height)")
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{path} has {width}x{height} pixels by its header (width x height), more than the "
            f"{MAX_PIXELS // 1_000_000} million that are read: make it smaller, or leave it out"
        )


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a decoded image by its EXIF orientation."""
    if orientation in _TURNS:
        return image.transpose(_TURNS[orientation])
    # A TIFF whose orientation Pillow reads in another way.
    return image if image.size == image.im.size else image.copy()
