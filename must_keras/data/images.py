"""Pictures from files: images as upright RGB, and pictures whose values are labels."""

from __future__ import annotations

import contextlib
import os
import pathlib
import struct
from collections.abc import Iterator

import cv2
import numpy as np
import OpenEXR
from PIL import Image, ImageOps

from must_keras.data.notices import Notices
from must_keras.errors import UserError

Path = str | os.PathLike[str]

_ORIENTATION = 0x0112
_ON_THEIR_SIDE = (5, 6, 7, 8)
# Tags of a TIFF that state how many bits of a pixel are used.
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE, _S_MAX_SAMPLE_VALUE = 258, 281, 341
# What cameras and microscopes use of 16 bits.
_USED_BITS = (8, 10, 12, 14)
_OF_NO_SOURCE = Notices("")
_ONE_VALUE = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
# What Pillow raises for files that are damaged or no pictures.
_UNREADABLE = (
    OSError, ValueError, SyntaxError, EOFError, struct.error, Image.DecompressionBombError,
)  # fmt: skip


def read_image(
    path: Path, *, bits: int | None = None, notices: Notices | None = None
) -> np.ndarray:
    """An image as a person sees it: [h, w, 3] uint8 RGB, turned upright as its EXIF says.

    Grey becomes three equal colours, 16 bits become 8 (round(value / 257)), what is transparent
    shows white. Where pixels of 16 bits use fewer, the brightest value is 2^bits - 1.

    Args:
        path: of the file.
        bits: that pixels of more than 8 bits use, from the lowest on; None: what a TIFF states
            (BitsPerSample, or a SMaxSampleValue or MaxSampleValue of 2^bits - 1), else 16.
        notices: receives a notice of a file whose values use fewer bits than they are read with;
            None: those of files without a source, once for each folder.

    Raises:
        UserError: there is no such file, it cannot be read, or a value needs more than `bits`.
    """
    with _opened(path) as image:
        # Before the pixels are loaded, which forgets how they are stored.
        has_deep_colours = _has_deep_colours(image)
        if has_deep_colours and bits is not None:
            image = _deep_colours(path, bits, image.getexif().get(_ORIENTATION, 1))
        elif bits is None:
            bits = _stated_bits(image)
            _notice_bits(image, path, notices, bits=bits or 16, has_deep_colours=has_deep_colours)
        ImageOps.exif_transpose(image, in_place=True)
        return rgb(image, bits=bits)


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


def _has_deep_colours(image: Image.Image) -> bool:
    """Whether several colours of 16 bits each are stored: Pillow keeps the upper 8 of them."""
    return len(image.getbands()) > 1 and any(";16" in str(tile[3]) for tile in image.tile)


def _deep_colours(path: Path, bits: int, orientation: int) -> Image.Image:
    """A picture of several colours of 16 bits, of which so many are used, as one of 8 bits.

    Raises:
        ValueError: a value needs more bits, or OpenCV cannot read the file.
    """
    stored = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.dtype != np.uint16 or stored.ndim != 3:
        raise ValueError(f"bits={bits}: its colours of 16 bits cannot be read one by one")
    colours = _in_8_bits(stored[:, :, 2::-1], bits)
    if stored.shape[2] == 4:
        colours = np.concatenate([colours, (stored[:, :, 3:] >> 8).astype(np.uint8)], axis=2)
    image, exif = Image.fromarray(np.ascontiguousarray(colours)), Image.Exif()
    exif[_ORIENTATION] = orientation
    image.info["exif"] = exif.tobytes()
    return image


def _notice_bits(
    image: Image.Image,
    path: Path,
    notices: Notices | None,
    *,
    bits: int,
    has_deep_colours: bool,
) -> None:
    """Add a notice where pixels of 16 bits use fewer of them, or more than are read."""
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
    where = f" in {pathlib.Path(path).parent}" if notices is None else ""
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
