"""Pictures from files: images as upright RGB, and pictures whose values are labels."""

from __future__ import annotations

import contextlib
import os
import stat
import warnings
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
import OpenEXR
from PIL import Image

from must_keras.data import image_metadata
from must_keras.data.notices import Notices
from must_keras.errors import UserError

Path = str | os.PathLike[str]

# Of one image, whatever its header claims: the largest sensors of phones have 200 million. An
# image of as many takes 0.6 GB as RGB, and up to four times that while it is converted.
MAX_PIXELS = 200_000_000
# Pillow's own limit would warn of 90 million pixels and refuse 180 million.
Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
# What is decoded: not what Pillow hands to other programs (PostScript), and no fonts or films.
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
# Tags of a TIFF that state how many bits of a pixel are used.
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE, _S_MAX_SAMPLE_VALUE = 258, 281, 341
# Where a PNG's header has the bits of a sample.
_PNG_DEPTH = 24
# What cameras and microscopes use of 16 bits.
_USED_BITS = (8, 10, 12, 14)
_OF_NO_SOURCE = Notices("")
_ONE_VALUE = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def read_image(
    path: Path, *, bits: int | None = None, notices: Notices | None = None
) -> np.ndarray:
    """An image as a person sees it: [h, w, 3] uint8 RGB, turned upright as its EXIF says.

    Grey becomes three equal colours, 16 bits become 8 (round(value / 257)), what is transparent
    shows white. Where pixels of more than 8 bits use fewer than 16, 2^bits - 1 becomes 255. Of an
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
        has_deep_colours = _has_deep_colours(image, path)
        if has_deep_colours and bits is not None:
            image = _deep_colours(path, bits)
        elif bits is None:
            bits = _stated_bits(image)
            notice_bits(image, path, notices, bits=bits or 16, has_deep_colours=has_deep_colours)
        return rgb(_upright(image, orientation), bits=bits)


def upright_size(path: Path) -> tuple[int, int]:
    """(height, width) of `read_image(path)`, from the file's header alone."""
    with _opened(path, decode=False) as (image, orientation):
        width, height = _stored_size(image)
        return (width, height) if orientation in _ON_THEIR_SIDE else (height, width)


class CodedPicture(NamedTuple):
    """A picture of one integer a pixel.

    Attributes:
        values: [h, w], 8, 16 or 32 bits as in the file; of a palette the indices.
        palette: [n, 3] uint8, the color of each index; None of a picture without a palette.
        is_transparent: whether a pixel is wholly or partly transparent.
    """

    values: np.ndarray
    palette: np.ndarray | None
    is_transparent: bool


def read_coded(path: Path) -> CodedPicture:
    """Read a picture of one integer a pixel, or of equal colors, and what belongs to it.

    Raises:
        UserError: see `read_numbers`; or they are floating point numbers.
    """
    with _opened(path) as (image, orientation):
        found = values(_upright(image, orientation))
        colours = image.getpalette("RGB") if image.mode == "P" else None
        is_transparent = _is_transparent(image)
    if found is None:
        raise UserError(f"{path} has colours (mode {image.mode}), expected one number a pixel")
    if found.dtype.kind == "f":
        raise UserError(f"{path} has floating point numbers (mode F), expected one integer a pixel")
    palette = None if colours is None else np.array(colours, np.uint8).reshape(-1, 3)
    return CodedPicture(found, palette, is_transparent)


def read_numbers(path: Path) -> np.ndarray:
    """A picture of one number a pixel: integers as stored, or [h, w] float32 of a TIFF of floats.

    Raises:
        UserError: there is no such file, it cannot be read, or it has several numbers a pixel.
    """
    with _opened(path) as (image, orientation):
        found = values(_upright(image, orientation))
    if found is None:
        raise UserError(f"{path} has colours (mode {image.mode}), expected one number a pixel")
    return found


def read_array(path: Path) -> np.ndarray:
    """A NumPy file (.npy) of one number a pixel: [h, w] or [h, w, 1], as [h, w].

    Raises:
        UserError: there is no such file, it cannot be read, or it is of another shape or kind.
    """
    with _reading(path, "a NumPy array"), open_regular(path) as file:
        found = np.load(file, allow_pickle=False)
    return _one_number(found, path)


def read_exr(path: Path) -> np.ndarray:
    """An OpenEXR file of one channel, or its channel "Z": [h, w] float16, float32 or uint32.

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
        raise UserError(f"{path} has the channels {', '.join(channels)}: expected one, or a Z")
    return _one_number(channels["Z"], path)


def _one_number(found: object, path: Path) -> np.ndarray:
    if not isinstance(found, np.ndarray):
        raise UserError(f"{path} is an archive of arrays (.npz), expected one array (.npy)")
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
    with _opened(path, decode=False) as (image, orientation):
        modes = ("RGB", "RGBA", "P", "PA", "L", "LA") if palette else ("RGB", "RGBA")
        if image.mode not in modes:
            raise UserError(f"{path} has mode {image.mode}, expected colours: {' or '.join(modes)}")
        if orientation != 1:
            raise UserError(
                f"{path} has the EXIF orientation {orientation}, expected 1 or none: turn its "
                "pixels, and what they say, before storing it"
            )
        pixels = np.asarray(image.convert("RGBA"))
    return np.where(pixels[:, :, 3:] > 0, pixels[:, :, :3], np.uint8(0))


def rgb(image: Image.Image, *, bits: int | None = None) -> np.ndarray:
    """[h, w, 3] uint8 of a Pillow image in any mode of integers; see `read_image`."""
    if image.mode.startswith("I"):
        grey = _in_8_bits(np.asarray(image), bits)
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("its pixels are floating point numbers, expected 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _is_transparent(image: Image.Image) -> bool:
    if not image.has_transparency_data:
        return False
    return int(image.convert("RGBA").getextrema()[3][0]) < 255


def check_bits(where: str, bits: int | None) -> None:
    """Raise UserError where a number of bits is none that pixels can use."""
    if bits is not None and not (isinstance(bits, int) and 1 <= bits <= 32):
        raise UserError(f"{where}: bits={bits!r}: expected a whole number from 1 to 32, or None")


def _in_8_bits(deep: np.ndarray, bits: int | None) -> np.ndarray:
    """round(255 value / (2^bits - 1)) of whole numbers; None: 16, and what is above is white.

    Raises:
        ValueError: a value needs more bits.
    """
    full, deep = 2 ** (bits or 16) - 1, deep.astype(np.int64)
    if bits is not None and deep.size and deep.max() > full:
        raise ValueError(f"its largest value is {deep.max()}, above {full}: bits={bits} is wrong")
    return ((np.clip(deep, 0, full) * 255 + full // 2) // full).astype(np.uint8)


def _stated_bits(image: Image.Image) -> int | None:
    """How many bits of its whole numbers a TIFF states that it uses, where they are fewer than 16.

    None where it states nothing, or where its values are larger.
    """
    tags = getattr(image, "tag_v2", None)
    if tags is None or not image.mode.startswith("I"):
        return None
    stated = [tags.get(_BITS_PER_SAMPLE)]
    stated += [_exponent(tags.get(tag)) for tag in (_S_MAX_SAMPLE_VALUE, _MAX_SAMPLE_VALUE)]
    firsts = [value[0] if isinstance(value, tuple) and value else value for value in stated]
    bits = [int(value) for value in firsts if value is not None and 8 <= value < 16]
    return min(bits) if bits and np.asarray(image).max() < 2 ** min(bits) else None


def _exponent(largest: object) -> int | None:
    """The k of 2^k - 1; None of another number: it is the largest of one picture."""
    value = largest[0] if isinstance(largest, tuple) and largest else largest
    if not isinstance(value, int | float) or value < 1 or value != int(value):
        return None
    exponent = (int(value) + 1).bit_length() - 1
    return exponent if 2**exponent == int(value) + 1 else None


def _has_deep_colours(image: Image.Image, path: Path) -> bool:
    """Whether several colours of 16 bits each are stored: Pillow keeps the upper 8 of them."""
    if len(image.getbands()) == 1:
        return False
    if image.format == "TIFF":
        return (image.tag_v2.get(_BITS_PER_SAMPLE) or (8,))[0] == 16
    if image.format != "PNG":
        return False
    with open_regular(path) as file:
        return file.read(_PNG_DEPTH + 1)[-1] == 16


def _deep_colours(path: Path, bits: int) -> Image.Image:
    """A picture of several colours of 16 bits, of which so many are used, as one of 8 bits.

    Raises:
        ValueError: a value needs more bits, or OpenCV cannot read the file.
    """
    with open_regular(path) as file:
        stored = cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3:
        raise ValueError(f"bits={bits}: its colours of 16 bits cannot be read one by one")
    colours = _in_8_bits(stored[:, :, 2::-1], bits)
    if stored.shape[2] == 4:
        colours = np.concatenate([colours, (stored[:, :, 3:] >> 8).astype(np.uint8)], axis=2)
    return Image.fromarray(np.ascontiguousarray(colours))


def notice_bits(
    image: Image.Image,
    path: Path,
    notices: Notices | None,
    *,
    bits: int = 16,
    has_deep_colours: bool = False,
) -> None:
    """Add a notice where pixels of 16 bits use fewer of them, or more than are read.

    Args:
        image: decoded.
        path: of its file, or what names it.
        notices: see `read_image`.
        bits: that its pixels are read with.
        has_deep_colours: whether it has several colours of 16 bits.
    """
    if has_deep_colours:
        # Pillow has kept the upper 8 bits.
        highs = [high for _, high in image.getextrema()]
        high = max(highs[: 1 if image.mode == "LA" else 3])
        largest = 256 * high + 255 if high else 0
    elif image.mode.startswith("I"):
        largest = int(np.asarray(image).max(initial=0))
    else:
        return
    # Files without a source: once for each folder.
    where = f" in {os.path.dirname(path)}" if notices is None else ""
    notices = _OF_NO_SOURCE if notices is None else notices
    if 0 < largest < 2 ** min(_USED_BITS[-1], bits - 1):
        notices.add(f"dark pictures{where}", path, _say_dark, value=largest)
    elif largest > 65535:
        notices.add(f"bright pictures{where}", path, _say_bright, value=largest)


def _say_dark(largest: float) -> str:
    bits = next(bits for bits in _USED_BITS if largest < 2**bits)
    return (
        f"16-bit pixels reach {largest:.0f} of 65535 only, so the pictures are nearly black: they "
        f"look like {bits} bits; give bits={bits}, or bits=16 if they are dark indeed"
    )


def _say_bright(largest: float) -> str:
    return (
        f"pixels of 32 bits reach {largest:.0f}, and what is above 65535 is read as white: give "
        f"the bits that they use, bits={int(largest).bit_length()}"
    )


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


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading; never a pipe or a device, which would wait or never end.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it may not be read, or it is not a regular file.
    """
    # Devices act on being opened: their kind is asked for first.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is not a regular file")
    # Without waiting, should a pipe have come in its place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


@contextlib.contextmanager
def _opened(path: Path, *, decode: bool = True) -> Iterator[tuple[Image.Image, int]]:
    """Give an image as it is stored, and its EXIF orientation: 1 to 8.

    Args:
        path: of the file.
        decode: whether its pixels are read too.
    """
    with _reading(path, "a picture"), open_regular(path) as file:
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
        raise UserError(f"there is no file {path}") from None
    except Exception as error:  # No list of what decoders raise has ever been complete.
        reason = f": {_reason(error)}"
        if isinstance(error, Image.UnidentifiedImageError):
            reason = ""  # It names an object in memory.
        raise UserError(f"{path} cannot be read as {what}{reason}") from error


def _reason(error: Exception) -> str:
    """What an exception says, in one line."""
    if isinstance(error, MemoryError):
        return "it takes more memory than there is"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split()) or type(error).__name__


def _check_size(path: Path, width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UserError(f"{path} has no pixels: it is {width}x{height} (width x height)")
    if width * height > MAX_PIXELS:
        raise UserError(
            f"{path} claims {width}x{height} pixels (width x height), more than the "
            f"{MAX_PIXELS // 1_000_000} million that are read: make it smaller, or leave it out"
        )


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of the pixels as they lie in the file."""
    width, height = image.size
    # Pillow gives the upright size of a TIFF.
    if image.format == "TIFF" and image.tag_v2.get(image_metadata.ORIENTATION) in _ON_THEIR_SIDE:
        return height, width
    return width, height


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn a decoded image as its EXIF orientation says."""
    if orientation in _TURNS:
        return image.transpose(_TURNS[orientation])
    # A TIFF whose orientation Pillow reads in another way.
    return image if image.size == image.im.size else image.copy()
