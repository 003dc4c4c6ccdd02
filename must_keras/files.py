"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any

# What an interrupted write leaves behind ends in this; nobody reads such a file.
TEMPORARY = ".tmp"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Gives a temporary path to write to; it becomes `path` when the block ends without an error.

    The contents are on the disk before the name is, so that a loss of power leaves the old file
    or the new one. One writer at a time.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        yield temporary
        _to_disk(temporary)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            error.filename = error.filename or str(path)
        raise
    os.replace(temporary, path)
    _to_disk(path.parent)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes plain data as JSON, in the order of its keys, under its name only when whole.

    Raises:
        ValueError: a number is not finite. What was there before stays.
    """
    path = pathlib.Path(path)
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _to_disk(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
