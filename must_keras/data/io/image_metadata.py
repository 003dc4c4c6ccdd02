"""The orientation of an image, from its metadata, whatever else they contain.

One tag is needed of EXIF blocks that cameras, editors and phones have filled for thirty years. That
tag is searched, within the bounds of the block, and no other is parsed: a reader of all tags fails
on a float where a text is expected, and the image is lost with it.
"""

import dataclasses
import io
import os
import re
import struct
import zlib
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from PIL import Image

# EXIF 2.3, table 6; the tag is also TIFF's own.
ORIENTATION = 0x0112

# Reads `size` bytes from `offset` on, or fewer at the end.
_Read = Callable[[int, int], bytes]

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_ORIENTATION = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([0-9])")
# struct's letters for TIFF's types of numbers, of fractions two; texts and undefined bytes are no
# orientation.
_NUMBERS = {
    1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 11: "f", 12: "d", 13: "I", 16: "Q", 17: "q",
    18: "Q", 5: "II", 10: "ii",
}  # fmt: skip
_MAX_ENTRIES = 65_535
# Bytes of one compressed text, and chunks of a PNG file that are read.
_MAX_TEXT, _MAX_CHUNKS = 2**20, 2**20
# Bytes of a file that is copied without its metadata.
_MAX_FILE = 2**30
# The first bytes of files of these formats.
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# Chunks that a PNG's pixels depend on.
_PIXEL_CHUNKS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
# JFIF's and Adobe's markers name the colors that a JPEG's numbers are.
_COLOR_MARKERS = (0xE0, 0xEE)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """The parts of an image's metadata that may contain an orientation.

    Attributes:
        exif: a block of EXIF, a small TIFF file; or a function that reads a TIFF file.
        xmp: an XMP packet, which counts where EXIF names no orientation.

    Example:
        Metadata(xmp=b'<rdf:Description tiff:Orientation="6"/>').orientation()  # 6
    """

    exif: bytes | _Read = b""
    xmp: bytes = b""

    def orientation(self) -> int:
        """Return the orientation, 1 to 8; 1 (upright) where there is none or no valid one."""
        read = self.exif if callable(self.exif) else _reader(self.exif)
        value = _tag(read)
        if value is None:
            found = _XMP_ORIENTATION.search(self.xmp)
            value = int(found[1]) if found else 1
        return int(value) if value in range(1, 9) else 1


class WithoutMetadata(NamedTuple):
    """A file's pixels alone, and the metadata that stood beside them.

    Example:
        found = without_metadata(file)
        Image.open(found.pixels), found.metadata.orientation()
    """

    pixels: io.BytesIO
    metadata: Metadata


def of_image(image: Image.Image, file: BinaryIO) -> Metadata:
    """Return the metadata of an image that is open, not decoded; the file's position stays."""
    info = image.info
    if image.format == "PNG":
        # Chunks behind the pixels count too, and Pillow gets to them by decoding.
        return _png_metadata(_read_at(file))
    xmp = info.get("xmp", b"")
    xmp = xmp if isinstance(xmp, bytes) else str(xmp).encode(errors="replace")
    if image.format == "TIFF":
        return Metadata(_read_at(file), xmp)
    exif = info.get("exif", b"")
    return Metadata(exif if isinstance(exif, bytes) else b"", xmp)


def _read_at(file: BinaryIO) -> _Read:
    """Return what reads a file at any place; the file's position stays."""
    if isinstance(file, io.BytesIO):
        return _reader(file.getvalue())
    return lambda offset, size: os.pread(file.fileno(), size, offset)


def without_metadata(file: BinaryIO) -> WithoutMetadata | None:
    """Return the pixels of a JPEG or PNG file alone; None for other files and very large ones."""
    file.seek(0)
    start = file.read(8)
    if not start.startswith((_JPEG, _PNG)) or file.seek(0, os.SEEK_END) > _MAX_FILE:
        return None
    file.seek(0)
    content = file.read()
    if start.startswith(_JPEG):
        return _jpeg_without_metadata(content)
    read = _reader(content)
    kept = [read(at, size + 12) for at, kind, size in _chunks(read) if kind in _PIXEL_CHUNKS]
    return WithoutMetadata(io.BytesIO(b"".join([_PNG, *kept])), _png_metadata(read))


def _jpeg_without_metadata(content: bytes) -> WithoutMetadata:
    kept, exif, xmp, offset = [content[:2]], b"", b"", 2
    while content[offset : offset + 1] == b"\xff" and offset + 4 <= len(content):
        marker = content[offset + 1]
        if marker == 0xFF:  # Padding.
            offset += 1
            continue
        if marker == 0xDA or not 0xC0 <= marker <= 0xFE or 0xD0 <= marker <= 0xD9:
            break
        end = offset + 2 + int.from_bytes(content[offset + 2 : offset + 4], "big")
        segment, body = content[offset:end], content[offset + 4 : end]
        is_application = 0xE0 <= marker <= 0xEF or marker == 0xFE
        if not is_application or marker in _COLOR_MARKERS:
            kept.append(segment)
        elif marker == 0xE1 and body.startswith(_EXIF):
            # A block of more than 64 kB comes in several segments.
            exif += body[len(_EXIF) :]
        elif marker == 0xE1 and body.startswith(_XMP):
            xmp = body[len(_XMP) :]
        offset = max(end, offset + 2)
    kept.append(content[offset:])
    return WithoutMetadata(io.BytesIO(b"".join(kept)), Metadata(exif, xmp))


def _png_metadata(read: _Read) -> Metadata:
    exif = profile = xmp = b""
    for offset, kind, size in _chunks(read):
        if kind == b"eXIf":
            exif = exif or read(offset + 8, min(size, _MAX_TEXT))
        elif kind in (b"iTXt", b"tEXt", b"zTXt") and size <= _MAX_TEXT:
            keyword, _, text = read(offset + 8, size).partition(b"\0")
            if keyword == b"XML:com.adobe.xmp" and kind == b"iTXt":
                xmp = _international(text)
            elif keyword == b"Raw profile type exif" and kind != b"iTXt":
                profile = _profile(_inflated(text[1:]) if kind == b"zTXt" else text)
    return Metadata(exif or profile, xmp)


def _chunks(read: _Read) -> list[tuple[int, bytes, int]]:
    """Return (offset, kind, bytes of content) of a PNG file's chunks, as far as they are whole."""
    found, offset = [], len(_PNG)
    while len(found) < _MAX_CHUNKS:
        header = read(offset, 8)
        if len(header) < 8:
            break
        size = int.from_bytes(header[:4], "big")
        found.append((offset, header[4:], size))
        if header[4:] == b"IEND":
            break
        offset += size + 12
    return found


def _international(text: bytes) -> bytes:
    """Return the text of an iTXt chunk, from its compression flag on."""
    is_compressed = text[:1] == b"\1"
    *_, content = text[2:].split(b"\0", 2)
    return _inflated(content) if is_compressed else content


def _profile(text: bytes) -> bytes:
    """Return the block in ImageMagick's lines: empty, "exif", its size, hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _MAX_TEXT)
    except zlib.error:
        return b""


def _reader(data: bytes) -> _Read:
    while data.startswith(_EXIF):
        data = data[len(_EXIF) :]
    return lambda offset, size: data[offset : offset + size]


def _tag(read: _Read) -> float | None:
    """Return the orientation in the first directory of a TIFF file or EXIF block, or None."""
    head = read(0, 16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8 or (42 not in head[2:4] and 43 not in head[2:4]):
        return None
    is_big = 43 in head[2:4]
    # BigTIFF has offsets and counts of 64 bits.
    count_format, entry_format, room = ("Q", "HHQ", 8) if is_big else ("H", "HHI", 4)
    width = struct.calcsize(order + entry_format) + room
    try:
        (start,) = struct.unpack_from(order + ("Q" if is_big else "I"), head, 8 if is_big else 4)
        counted = struct.calcsize(order + count_format)
        (count,) = struct.unpack(order + count_format, read(start, counted))
    except struct.error:
        return None
    directory = read(start + counted, width * min(count, _MAX_ENTRIES))
    found = None
    for first in range(0, len(directory) - width + 1, width):
        tag, kind, number = struct.unpack_from(order + entry_format, directory, first)
        if tag == ORIENTATION and number:
            place = directory[first + width - room : first + width]
            value = _value(read, order, kind, number, place)
            found = found if value is None else value
    return found


def _value(read: _Read, order: str, kind: int, number: int, place: bytes) -> float | None:
    """Return the first number of an entry; None for other types or out of bounds."""
    letters = _NUMBERS.get(kind)
    if letters is None:
        return None
    size = struct.calcsize(order + letters)
    if size * number > len(place):
        # Values that do not fit into the entry lie elsewhere.
        (offset,) = struct.unpack(order + ("Q" if len(place) == 8 else "I"), place)
        place = read(offset, size)
    if len(place) < size:
        return None
    first, *others = struct.unpack_from(order + letters, place)
    if others:
        return first / others[0] if others[0] else 0.0
    return first
