"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import sys
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from must_keras.errors import UserError

# What an interrupted write leaves behind ends in this; nobody reads such a file.
TEMPORARY = ".tmp"
LOCK = "lock"


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, shared: bool = False) -> Iterator[pathlib.Path]:
    """Gives a temporary path to write to; it becomes `path` when the block ends without an error.

    The contents are on the disk before the name is, so that a loss of power leaves the old file
    or the new one.

    Args:
        path: of the file.
        shared: several processes may write it at the same time, each to a temporary path of its
            own; what a killed one leaves is not overwritten by the next.
    """
    own = f".{uuid.uuid4().hex[:8]}" if shared else ""
    temporary = path.with_name(path.name + own + TEMPORARY)
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


@contextlib.contextmanager
def locked(folder: pathlib.Path) -> Iterator[None]:
    """Keeps other processes out of a folder; a process that dies, however, lets them in.

    Raises:
        UserError: another process is there.
    """
    with open(folder / LOCK, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder}: another process works here ({file.read().strip()}); wait for it, or "
                "choose another --workdir"
            ) from None
        except OSError as error:  # Some network file systems know no locks.
            print(f"warning: {folder} cannot be locked: {error.strerror}", file=sys.stderr)
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes plain data as JSON, in the order of its keys, under its name only when whole.

    Raises:
        ValueError: a number is not finite. What was there before stays.
    """
    path = pathlib.Path(path)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        # Piece by piece: lists of files are long.
        json.dump(value, file, indent=2, allow_nan=False, ensure_ascii=False)
        file.write("\n")


def file_sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_sha256(items: Iterable[Any]) -> str:
    """The SHA-256 of plain data as one JSON list, however long, in hexadecimal."""
    digest = hashlib.sha256(b"[")
    for number, item in enumerate(items):
        digest.update((", " if number else "").encode() + json.dumps(item).encode())
    digest.update(b"]")
    return digest.hexdigest()


def _to_disk(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
