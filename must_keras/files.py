"""Files that are either complete or missing, and their digests."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import platform
import shutil
import stat
import uuid
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from must_keras.errors import UserError, damaged, warn

# End of the name of a file that is being written; an interrupted write leaves it.
TEMPORARY = ".tmp"
LOCK = "lock"


@contextlib.contextmanager
def replacing(path: pathlib.Path, *, shared: bool = False) -> Iterator[pathlib.Path]:
    """Yield a temporary path to write to, renamed to `path` when the block ends without an error.

    The content is on the disk before the name is: a loss of power leaves the old file or the new
    one.

    Args:
        path: of the file.
        shared: whether several processes may write it at the same time; each has a temporary path
            of its own, which a killed one leaves behind.

    Example:
        with replacing(pathlib.Path("a.txt")) as temporary:
            temporary.write_text("complete")
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
    """Lock a folder against other processes, until the block or the process ends.

    Raises:
        UserError: another process has locked it; has its `path`.
    """
    with open(folder / LOCK, "a+", encoding="utf-8", errors="replace") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise UserError(
                f"{folder}: another process works here ({file.read().strip()}); wait for it, or "
                "choose another folder",
                path=folder,
                key="workdir",
            ) from None
        except OSError as error:  # Some network file systems have no locks.
            warn(f"{folder} cannot be locked: {error.strerror}")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}")
        file.flush()
        yield


def is_regular(path: str | os.PathLike[str], *, remedy: str) -> bool:
    """Return whether a path is a regular file; False where nothing is there.

    Raises:
        DataError: something else is there.
        UserError: the folder cannot be read.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise unreadable(path, error, remedy=remedy) from None
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise damaged(path, f"it is {what}, expected a file", remedy=remedy)
    return True


def unreadable(path: str | os.PathLike[str], error: OSError, *, remedy: str) -> UserError:
    """Return the error for a file that the system does not open."""
    remedy = f"make it readable for this user, or {remedy}"
    return UserError.at(path, f"cannot be read: {error.strerror}; {remedy}", remedy=remedy)


def unshare(path: pathlib.Path) -> None:
    """Copy a file to bytes of its own, where it is a hard link of another file.

    A run reuses files of another run as hard links. Call this before appending to a file, cutting
    it or writing into it; `replacing` does not need it.
    """
    if path.is_file() and path.stat().st_nlink > 1:
        with replacing(path) as temporary:
            shutil.copy2(path, temporary)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading; never a pipe or a device, which would wait or never end.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it may not be read, or it is not a regular file.
    """
    # Opening a device may have an effect: its kind is read first.
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError("it is not a regular file")
    # Without waiting, if a pipe has come in its place.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("it is not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def file_sha256(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def files_sha256(folder: pathlib.Path) -> str | None:
    """Return the SHA-256 of the names and contents of all files below a folder; None without any.

    Args:
        folder: whose own name does not count.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{path.relative_to(folder).as_posix()} {file_sha256(path)}" for path in files]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def json_sha256(value: Any) -> str:
    """Return the SHA-256 of plain data as JSON with sorted keys, in hexadecimal."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def list_sha256(items: Iterable[Any]) -> str:
    """Return the SHA-256 of plain data as one JSON list, of any length, in hexadecimal."""
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
