"""Text files: lists of names, and JSON, whole or element by element.

Annotations of a large set take more memory as Python objects than there is: `array_items` yields
them one by one.
"""

import codecs
import gc
import io
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import ijson

from must_keras.data import names
from must_keras.data.io.folders import Path
from must_keras.errors import UserError

# First bytes of compressed files.
_PACKED = {
    b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}  # fmt: skip
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_bytes(path: Path) -> bytes:
    """Return the content of a file.

    Raises:
        UserError: there is no such file, or it cannot be read.
    """
    try:
        return pathlib.Path(path).read_bytes()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", path=path) from None
    except OSError as error:
        raise UserError.at(path, f"cannot be read: {error.strerror}") from None


def decoded(path: Path, data: bytes, encoding: str) -> str:
    """Return the text of a file's content.

    Raises:
        UserError: it is not text in this encoding: the line, and the reason.
    """
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path}, line {line}: byte 0x{data[error.start : error.start + 1].hex()} is not "
            f"{encoding.removesuffix('-sig').upper()} text ({error.reason}); save the file as UTF-8"
        ) from None


def read_class_names(path: Path) -> tuple[str, ...]:
    """Return the lines of a file in the order of the classes' indices, without empty lines.

    Raises:
        UserError: there is no such file, it is not UTF-8 text, it is empty, or two of its names
            read the same.

    Example:
        LabelMaps(..., classes=read_class_names("classes.txt"))
    """
    found: dict[str, tuple[int, str]] = {}
    for number, line in read_lines(path):
        name = line.strip()
        other, _ = found.setdefault(names.as_read(name), (number, name))
        if other != number:
            raise UserError.at(path, f", line {number}: {name!r} is also on line {other}")
    return tuple(name for _, name in found.values())


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Return (line number, text without plain spaces around it) of the lines that are not empty.

    Names of files may contain other spaces, and characters that Unicode counts as ends of lines.

    Raises:
        UserError: there is no such file, it is not UTF-8 text, or it is empty.
    """
    text = decoded(path, read_bytes(path), "utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    lines = enumerate(text.split("\n"), 1)
    found = [(number, line.strip(" \t\r\f\v")) for number, line in lines if line.strip()]
    if not found:
        raise UserError.at(path, "is empty")
    return found


def read_json(path: Path) -> Any:
    """Return the content of a JSON file in UTF-8 or UTF-16, with or without a byte order mark.

    NaN and Infinity are read as numbers: their users check them.

    Raises:
        UserError: there is no such file, or it is no JSON, by line and column.
    """
    with _opened(path) as file:
        data = file.read()
    text = decoded(path, data, json.detect_encoding(data))
    del data
    # The objects of JSON refer to none of their owners. Python's search for cycles goes through all
    # of them again and again: of a million annotations it takes more time than reading them.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        hint = ""
        if error.msg == "Extra data":
            hint = "; one JSON value is expected, not several (JSON Lines)"
        elif text[: error.pos].rstrip().endswith(","):
            hint = "; a comma before it has nothing behind it"
        raise UserError.at(path, f"cannot be read as JSON: {error}{hint}") from None
    except RecursionError:
        raise UserError.at(path, "cannot be read as JSON: it is nested too deeply") from None
    except ValueError as error:  # A whole number of more than 4,300 digits.
        raise UserError.at(path, f"cannot be read as JSON: {error}") from None
    finally:
        if was_enabled:
            gc.enable()


def array_items(path: Path, key: str) -> Iterator[Any]:
    """Yield the elements of an array of a JSON object, one by one.

    Args:
        path: a file {"images": [...], "annotations": [...], "info": ...}.
        key: of the array; an absent one has no elements.

    Raises:
        UserError: there is no such file, or it is no JSON object in UTF-8.
    """
    try:
        with _opened(path) as file:
            if file.peek(2)[:2] in _UTF_16:
                raise UserError.at(path, "is UTF-16 text, expected UTF-8: save it as UTF-8")
            yield from ijson.items(file, f"{key}.item", use_float=True)
    except (OSError, ijson.JSONError) as error:
        detail = " ".join(str(error).split())
        raise UserError.at(path, f"cannot be read as a JSON object: {detail}") from error


def _opened(path: Path) -> io.BufferedReader:
    """Return a JSON file opened behind its UTF-8 byte order mark, if it has one.

    Raises:
        UserError: it is not there, is a folder, is empty or packed.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UserError.at(path, "is a folder, expected a JSON file")
    try:
        file = open(path, "rb")  # noqa: SIM115 (returned open)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", path=path) from None
    except OSError as error:
        raise UserError.at(path, f"cannot be read as a JSON file: {error.strerror}") from None
    start = file.peek(8)[:8]
    packed = next((kind for magic, kind in _PACKED.items() if start.startswith(magic)), None)
    if packed or not start:
        file.close()
        detail = f"it is {packed}-packed: unpack it first" if packed else "it is empty (0 bytes)"
        raise UserError.at(path, f"cannot be read as a JSON object: {detail}")
    if start.startswith(codecs.BOM_UTF8):
        file.seek(len(codecs.BOM_UTF8))
    return file
