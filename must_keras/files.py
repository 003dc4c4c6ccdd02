"""Files that are either whole or not there."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import json
import math
import os
import pathlib
import platform
import shutil
import stat
import sys
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from must_keras.errors import UserError, damaged

# What an interrupted write leaves behind ends in this; nobody reads such a file.
TEMPORARY = ".tmp"
LOCK = "lock"
# The largest JSON file, or line of one, that is read: 20,000 shards need 4 MB.
MAX_JSON_BYTES = 2**30

Kind = type | tuple[type, ...]
# What a value needs: keys with their types, or the types of a list's items.
Form = Mapping[str, Kind] | tuple[Kind, ...]

_KINDS = {
    dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number",
    bool: "true or false", type(None): "null",
}  # fmt: skip
# Characters of a value in a message.
_LONGEST = 60


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
    with open(folder / LOCK, "a+", encoding="utf-8", errors="replace") as file:
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


def read_json(path: str | os.PathLike[str], *, form: Form | None = None, remedy: str) -> Any:
    """Return the value of a JSON file that must_keras wrote.

    Args:
        path: of the file.
        form: {key: type} that an object needs, or the types of a list's items; float takes whole
            numbers too, and object anything. None: any value.
        remedy: what the user can do where the file is damaged, for the message.

    Raises:
        DataError: the file is missing or damaged.
        UserError: the file cannot be opened.
    """
    value = find_json(path, form=form, remedy=remedy)
    if value is None:
        raise damaged(path, "it is missing", remedy=remedy)
    return value


def find_json(path: str | os.PathLike[str], *, form: Form | None = None, remedy: str) -> Any | None:
    """Return as `read_json` does; None where there is no such file.

    Raises:
        DataError, UserError: see `read_json`.
    """
    if not is_regular(path, remedy=remedy):
        return None
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_JSON_BYTES:
                raise ValueError(f"it has {size} bytes, expected at most {MAX_JSON_BYTES}")
            return _decode(file.read(), form, whole=True)
    except OSError as error:
        raise unreadable(path, error, remedy=remedy) from None
    except ValueError as error:
        raise damaged(path, str(error), remedy=remedy) from None


def json_lines(
    path: str | os.PathLike[str], *, form: Form | None = None, remedy: str
) -> Iterator[Any]:
    """Yield the values of a file of JSON lines that was written as a whole.

    Args:
        path: of the file; where it is missing there are no lines.
        form: see `read_json`.
        remedy: see `read_json`.

    Raises:
        DataError: a line is damaged; the message has its number.
        UserError: the file cannot be opened.
    """
    for number, value in _lines(path, form, remedy):
        if isinstance(value, ValueError):
            raise damaged(path, f"line {number}: {value}", remedy=remedy)
        yield value


def appended_lines(
    path: str | os.PathLike[str], *, form: Form | None = None, remedy: str
) -> Iterator[Any]:
    """Yield as `json_lines` does, of a file to which lines are appended one by one.

    A last line that a loss of power cut off is left out, with a warning.

    Raises:
        DataError: another line than the last is damaged.
        UserError: the file cannot be opened.
    """
    torn: tuple[int, ValueError] | None = None
    for number, value in _lines(path, form, remedy):
        if torn is not None:
            what = f"line {torn[0]}: {torn[1]}"
            raise damaged(path, what, remedy=f"delete that line, or {remedy}")
        if isinstance(value, ValueError):
            torn = (number, value)
        else:
            yield value
    if torn is not None:
        warn_once(f"{path}: the last line, {torn[0]}, is damaged and left out: {torn[1]}")


def check_form(value: Any, form: Form) -> None:
    """Raise ValueError, with one line on what is wrong, where a value is not of its form."""
    if isinstance(form, tuple):
        if not isinstance(value, list) or len(value) != len(form):
            raise ValueError(f"it is {short(value)}, expected a list of {len(form)} values")
        places = {
            f"value {i}": (item, kind)
            for i, (item, kind) in enumerate(zip(value, form, strict=True))
        }
    elif isinstance(value, dict):
        absent = [key for key in form if key not in value]
        if absent:
            raise ValueError(f"it has no {absent[0]!r}; expected are {', '.join(form)}")
        places = {repr(key): (value[key], kind) for key, kind in form.items()}
    else:
        raise ValueError(f"it is {short(value)}, expected an object: {{{', '.join(form)}}}")
    for place, (item, kind) in places.items():
        kinds = kind if isinstance(kind, tuple) else (kind,)
        if not any(is_a(item, one) for one in kinds):
            raise ValueError(f"{place} is {short(item)}, expected {kind_names(kinds)}")


def is_regular(path: str | os.PathLike[str], *, remedy: str) -> bool:
    """Return whether there is a regular file; False where nothing is there.

    Raises:
        DataError: something else is there.
        UserError: the folder cannot be looked into.
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
    return UserError(
        f"{path} cannot be read: {error.strerror}; make it readable for this user, or {remedy}"
    )


@functools.lru_cache(maxsize=1024)
def warn_once(message: str) -> None:
    """Print a warning to stderr, however often it is asked for."""
    print(f"warning: {message}", file=sys.stderr)


def unshare(path: pathlib.Path) -> None:
    """Give a file bytes of its own, where other names stand for the same file.

    A run takes finished files of another by hard links. Who appends to a file, cuts it or writes
    into it, calls this first; who replaces a file by another (`replacing`) need not.
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


def _lines(
    path: str | os.PathLike[str], form: Form | None, remedy: str
) -> Iterator[tuple[int, Any]]:
    """(number, value) of every line that is not blank; the value is a ValueError where damaged."""
    if not is_regular(path, remedy=remedy):
        return
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        value = _decode(line, form, whole=False)
                    except ValueError as error:
                        value = error
                    yield number, value
    except OSError as error:
        raise unreadable(path, error, remedy=remedy) from None


def _decode(data: bytes, form: Form | None, *, whole: bool) -> Any:
    """The value of JSON text.

    Raises:
        ValueError: what is wrong with it, in one line.
    """
    if not data.strip():
        raise ValueError("it is empty")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if whole else f"column {error.colno}"
        raise ValueError(f"it is no JSON at {place}: {error.msg}") from None
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    if form is not None:
        check_form(value, form)
    return value


def kind_names(kinds: Iterable[type]) -> str:
    """Return types of JSON as a person reads them: "a number or null"."""
    return " or ".join(_KINDS[kind] for kind in kinds)


def is_a(value: Any, kind: type) -> bool:
    """Return whether a JSON value is of a type; float takes whole numbers, but not true."""
    if isinstance(value, bool):
        return kind in (bool, object)
    return isinstance(value, (int, float) if kind is float else kind)


def short(value: Any) -> str:
    """Return a value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {text}, which is not finite")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it has the key {short(twice)} twice")
    return found


# One for all lines: making a decoder takes longer than decoding a line.
_DECODER = json.JSONDecoder(parse_constant=_finite, parse_float=_finite, object_pairs_hook=_object)
