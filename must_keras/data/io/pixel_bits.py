"""The number of bits that pixels use: stated by files, given by users, or doubtful."""

import os

import cv2
import numpy as np
from PIL import Image

from must_keras.data.io.notices import Notices
from must_keras.errors import Path, UserError
from must_keras.files import open_regular

# Tags of a TIFF that state how many bits of a pixel are used.
_BITS_PER_SAMPLE, _MAX_SAMPLE_VALUE, _S_MAX_SAMPLE_VALUE = 258, 281, 341
# Where a PNG's header has the bits of a sample.
_PNG_DEPTH = 24
# Bits that cameras and microscopes use of 16.
_USED_BITS = (8, 10, 12, 14)
_OF_NO_SOURCE = Notices("")


def check_bits(where: str, bits: int | None) -> None:
    """Raise UserError where `bits` is no number of bits from 1 to 32."""
    if bits is not None and not (isinstance(bits, int) and 1 <= bits <= 32):
        raise UserError.of(where, "bits", bits, "expected a whole number from 1 to 32, or None")


def in_8_bits(deep: np.ndarray, bits: int | None) -> np.ndarray:
    """Return round(255 value / (2^bits - 1)) of whole numbers; None: 16, and white above.

    Raises:
        ValueError: a value needs more bits.
    """
    full = 2 ** (bits or 16) - 1
    if bits is not None and deep.size and deep.max() > full:
        raise ValueError(f"its largest value is {deep.max()}, above {full}: bits={bits} is wrong")
    # A table needs no wider copy of a picture, which may have 200 megapixels.
    by_table = deep.dtype == np.uint16
    counts = np.clip(np.arange(2**16) if by_table else deep.astype(np.int64), 0, full)
    found = ((counts * 255 + full // 2) // full).astype(np.uint8)
    return found[deep] if by_table else found


def _stated_bits(image: Image.Image) -> int | None:
    """Return the number of bits, fewer than 16, that a TIFF states for its whole numbers.

    None where it states nothing, or where its values are larger.
    """
    tags = getattr(image, "tag_v2", None)
    if tags is None or not image.mode.startswith("I"):
        return None
    values = [tags.get(tag) for tag in (_BITS_PER_SAMPLE, _S_MAX_SAMPLE_VALUE, _MAX_SAMPLE_VALUE)]
    firsts = [value[0] if isinstance(value, tuple) and value else value for value in values]
    stated = [firsts[0], *map(_exponent, firsts[1:])]
    bits = [int(value) for value in stated if value is not None and 8 <= value < 16]
    return min(bits) if bits and np.asarray(image).max() < 2 ** min(bits) else None


def _exponent(value: object) -> int | None:
    """Return the k of 2^k - 1; None for another number, which is the largest of one picture."""
    if not isinstance(value, int | float) or value < 1 or value != int(value):
        return None
    exponent = (int(value) + 1).bit_length() - 1
    return exponent if 2**exponent == int(value) + 1 else None


def _has_deep_colors(image: Image.Image, stored: Path | bytes) -> bool:
    """Return whether several colors of 16 bits each are stored: Pillow keeps the upper 8.

    Args:
        image: opened.
        stored: the path of its file, or the content.
    """
    if len(image.getbands()) == 1:
        return False
    if image.format == "TIFF":
        return (image.tag_v2.get(_BITS_PER_SAMPLE) or (8,))[0] == 16
    return image.format == "PNG" and _content(stored, _PNG_DEPTH + 1)[_PNG_DEPTH] == 16


def _content(stored: Path | bytes, size: int = -1) -> bytes:
    """Return the content of a file, or the first bytes of it."""
    if isinstance(stored, bytes):
        return stored
    with open_regular(stored) as file:
        return file.read(size)


def _deep_colors(stored: Path | bytes, bits: int) -> Image.Image:
    """Return a picture of several colors of 16 bits, of which `bits` are used, with 8 bits.

    Raises:
        ValueError: a value needs more bits, or OpenCV cannot read the file.
    """
    deep = cv2.imdecode(np.frombuffer(_content(stored), np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None or deep.dtype != np.uint16 or deep.ndim != 3:
        raise ValueError(f"bits={bits}: its colors of 16 bits cannot be read one by one")
    colors = in_8_bits(deep[:, :, 2::-1], bits)
    if deep.shape[2] == 4:
        colors = np.concatenate([colors, (deep[:, :, 3:] >> 8).astype(np.uint8)], axis=2)
    return Image.fromarray(np.ascontiguousarray(colors))


def used(
    image: Image.Image,
    stored: Path | bytes,
    name: Path,
    *,
    bits: int | None,
    notices: Notices | None,
) -> tuple[Image.Image, int | None]:
    """Return an image of which `bits` are used, or of 8 bits, and how many bits are used.

    Args:
        image: opened.
        stored: the path of its file, or the content.
        name: the path of its file, or its name in messages.
        bits: see `images.read_image`.
        notices: see `images.read_image`.

    Raises:
        ValueError: see `_deep_colors`.
    """
    is_deep = _has_deep_colors(image, stored)
    if is_deep and bits is not None:
        return _deep_colors(stored, bits), bits
    if bits is None:
        bits = _stated_bits(image)
        _notice(image, name, notices, bits=bits or 16, has_deep_colors=is_deep)
    return image, bits


def _notice(
    image: Image.Image, path: Path, notices: Notices | None, *, bits: int, has_deep_colors: bool
) -> None:
    """Add a notice where pixels of 16 bits use fewer of them, or more than are read."""
    if has_deep_colors:
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
    dark = f"dark pictures{where}"
    if 0 < largest < 2 ** min(_USED_BITS[-1], bits - 1):
        few = next(bits for bits in _USED_BITS if largest < 2**bits)
        text = (
            f"16-bit pixels reach {largest} of 65535 only, so the pictures are nearly black: they "
            f"look like {few} bits; give bits={few}, or bits=16 if they are dark indeed"
        )
        notices.add(dark, path, text, value=largest)
    elif largest >= 2 ** _USED_BITS[-1]:
        # A photo of the night is dark among others that are not.
        notices.contradict(dark, path)
    if largest > 65535:
        text = (
            f"pixels of 32 bits reach {largest}, and what is above 65535 is read as white: give "
            f"the bits that they use, bits={largest.bit_length()}"
        )
        notices.add(f"bright pictures{where}", path, text, value=largest)
