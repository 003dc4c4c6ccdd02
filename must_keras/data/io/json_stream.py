"""JSON files: whole, or element by element where they are larger than memory as Python objects."""

from __future__ import annotations

import codecs
import contextlib
import gc
import io
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import ijson

from must_keras.data.io.folders import Path
from must_keras.errors import UserError

# First bytes of files that are no text yet.
_PACKED = {
    b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}  # fmt: skip
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def read_json(path: Path) -> Any:
    """Return the content of a JSON file in UTF-8 or UTF-16, with or without a byte order mark.

    NaN and Infinity are read as numbers: whoever uses a number checks it.

    Raises:
        UserError: there is no such file, or it is no JSON: where, by line and column.
    """
    with _opened(path) as file:
        data = file.read()
    try:
        text = data.decode(json.detect_encoding(data))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{path} cannot be read as JSON: line {line} is not {error.encoding} text "
            f"({error.reason}); save the file as UTF-8"
        ) from None
    del data
    try:
        with _without_cycles():
            return json.loads(text)
    except json.JSONDecodeError as error:
        hint = ""
        if error.msg == "Extra data":
            hint = "; one JSON value is expected, not several (JSON Lines)"
        elif text[: error.pos].rstrip().endswith(","):
            hint = "; a comma before it has nothing behind it"
        raise UserError(f"{path} cannot be read as JSON: {error}{hint}") from None
    except RecursionError:
        raise UserError(f"{path} cannot be read as JSON: it is nested too deeply") from None
    except ValueError as error:  # A whole number of more than 4,300 digits.
        raise UserError(f"{path} cannot be read as JSON: {error}") from None


@contextlib.contextmanager
def _without_cycles() -> Iterator[None]:
    """Make objects that refer to none of their owners: Python does not search them for cycles.

    The search goes through all objects again and again: of a million annotations it takes more
    time than reading them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def array_items(path: Path, *keys: str) -> Iterator[tuple[str, Any]]:
    """The elements of some arrays of a JSON object, one by one; the file is read once a key.

    Args:
        path: a file {"images": [...], "annotations": [...], "info": ...}.
        keys: of the arrays; one that is not there has no elements.

    Yields:
        (key, element), key by key.

    Raises:
        UserError: there is no such file, or it is no JSON object in UTF-8.
    """
    try:
        for key in keys:
            with _opened(path) as file:
                if file.peek(2)[:2] in _UTF_16:
                    raise UserError(f"{path} is UTF-16 text, expected UTF-8: save it as UTF-8")
                for item in ijson.items(file, f"{key}.item", use_float=True):
                    yield key, item
    except (OSError, ijson.JSONError) as error:
        detail = " ".join(str(error).split())
        raise UserError(f"{path} cannot be read as a JSON object: {detail}") from error


def _opened(path: Path) -> io.BufferedReader:
    """Return a JSON file opened behind its UTF-8 byte order mark, if it has one.

    Raises:
        UserError: it is not there, is a folder, is empty or packed.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a JSON file")
    try:
        file = open(path, "rb")  # noqa: SIM115 (returned open)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read as a JSON file: {error.strerror}") from None
    start = file.peek(8)[:8]
    packed = next((kind for magic, kind in _PACKED.items() if start.startswith(magic)), None)
    if packed or not start:
        file.close()
        detail = f"it is {packed}-packed: unpack it first" if packed else "it is empty (0 bytes)"
        raise UserError(f"{path} cannot be read as a JSON object: {detail}")
    if start.startswith(codecs.BOM_UTF8):
        file.seek(len(codecs.BOM_UTF8))
    return file
