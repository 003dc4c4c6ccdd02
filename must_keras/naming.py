"""The rule for every name that becomes a path, a key of an output, a layer or a tag.

Teachers, transfers, sources, heads and self-supervised methods name folders, files, columns, layers
and curves. A run's folder is copied to other disks, and archives of it to other systems: a name is
allowed where every usual file system can store it, and two names are different where all of them
tell the two apart. Pictures keep the names that people gave them, and `OutputNames` makes room.

What a person takes for one name is another question: see `data.names`.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence

from must_keras.errors import UserError
from must_keras.files import TEMPORARY

# What only computers tell apart: soft hyphens, marks of direction and of order, variation
# selectors, spaces and joiners of no width. Some file systems leave them out of comparisons.
UNSEEN = re.compile(
    "[\u00ad\u034f\u061c\u180b-\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069"
    "\ufe00-\ufe0f\ufeff]"
)
# What file systems allow is 255; a block of a pool and a temporary name add to it.
MAX_NAME_BYTES = 100
# Characters with a meaning for paths, flags or Windows.
_FORBIDDEN = '/\\,:*?"<>|'
# Windows opens a device where a name is one of these, whatever suffix follows.
_DEVICE = re.compile("(con|prn|aux|nul|conin[$]|conout[$]|(com|lpt)[0-9\u00b9\u00b2\u00b3])")
_HEAD = re.compile("[a-zA-Z][a-zA-Z0-9_-]*")
# Layers of the network, keys of a prediction (predictions.jsonl) and its folder.
_NO_HEADS = (
    "image", "area", "backbone", "neck", "name", "file", "height", "width", "picture", "pictures",
)  # fmt: skip
# Of a picture's path below a folder of outputs: file systems allow 255 bytes for each part, and
# 4096 for all; a head's folder and suffixes come on top.
_MAX_PART_BYTES, _MAX_PATH_BYTES = 230, 1024
_DIGITS = 8


def as_stored(name: str) -> str:
    r"""Return what file systems compare: equal for names that may be one file somewhere.

    macOS and Windows ignore case, macOS also whether an accent is part of its letter (NFC) or
    follows it (NFD), Windows spaces and dots at the end. (Unicode's canonical caseless matching.)

    Example:
        as_stored("Caf\u00e9") == as_stored("cafe\u0301")  # True
    """
    text = unicodedata.normalize("NFD", UNSEEN.sub("", name)).casefold()
    return unicodedata.normalize("NFD", text).rstrip(" .")


def check_name(name: str, where: str) -> None:
    """Raise UserError where a name cannot be that of a folder on every usual file system.

    Args:
        name: of a teacher, a transfer, a source, ...
        where: what has the name, for the message: "recipe scenes: teacher".
    """
    problem = _problem(name)
    if problem is not None:
        raise UserError(f"{where} {name!r} names a folder: {problem}; choose another name")


def _problem(name: str) -> str | None:
    """What is wrong with a name; None where nothing is."""
    if not isinstance(name, str):
        return f"a text is needed, not {type(name).__name__}"
    if not name.isprintable() or set(name) & set(_FORBIDDEN) or name.startswith("."):
        # Spaces other than the plain one and characters of no width are not printable either.
        listed = " ".join(_FORBIDDEN)
        return (
            f"not allowed are the characters {listed}, characters that are not printed, spaces "
            "other than the plain one, and a dot at the start"
        )
    num_bytes = len(name.encode("utf-8", "replace"))
    if not name or name != name.strip().rstrip(".") or num_bytes > MAX_NAME_BYTES:
        return (
            f"it must have 1 to {MAX_NAME_BYTES} bytes of UTF-8 (it has {num_bytes}), no space at "
            "either end and no dot at the end"
        )
    if _DEVICE.fullmatch(name.partition(".")[0].strip().casefold()):
        return "Windows opens a device of this name"
    if name.endswith(TEMPORARY):
        return f"{TEMPORARY} at the end marks what an interrupted process left"
    return None


def check_head(name: str, where: str, what: str = "a head") -> None:
    """Raise UserError where a name cannot be that of a head, or of a self-supervised method.

    It is a layer, a key of predictions, the beginning of curves' names, a file and a folder.

    Args:
        name: of the head.
        where: what has the head, for the message: "recipe scenes".
        what: has the name.
    """
    if not isinstance(name, str) or not _HEAD.fullmatch(name):
        raise UserError(
            f"{where}: {what} cannot be named {name!r}: only a-z, A-Z, 0-9, _ and - are allowed, "
            "and a letter comes first"
        )
    if name.casefold() in _NO_HEADS:
        raise UserError(
            f"{where}: {what} cannot be named {name!r}: not allowed are {', '.join(_NO_HEADS)}, "
            "which are layers of the network or keys of a prediction"
        )
    check_name(name, f"{where}: {what}")


def check_distinct(names: Iterable[str], where: str, what: str) -> None:
    """Raise UserError where two names are equal, or one file on some file systems.

    Args:
        names: of things of one kind.
        where: what has them, for the message: "recipe scenes".
        what: has the names: "teachers".
    """
    first: dict[str, str] = {}
    for name in names:
        key = as_stored(name)
        if key not in first:
            first[key] = name
        elif first[key] == name:
            raise UserError(f"{where}: two {what} are named {name!r}")
        else:
            raise UserError(
                f"{where}: the {what} {_exactly(first[key])} and {_exactly(name)} have one name on "
                "disks that ignore case or the form of accents; rename one of them"
            )


def check_blocks(pools: Sequence[str], others: Iterable[str], where: str) -> None:
    """Raise UserError where a source has the name of a block of a pool (see runs.pools).

    Args:
        pools: names of the pools of files, which may grow.
        others: names of all sources of the student.
        where: what has them, for the message: "recipe scenes".
    """
    for other in others:
        for pool in pools:
            if re.fullmatch(re.escape(as_stored(pool)) + "_block[0-9]+", as_stored(other)):
                raise UserError(
                    f"{where}: source {other!r} has the name of a block of pool {pool!r}: images "
                    "that are added to a pool become <pool>_block2, _block3, ...; rename one of "
                    "them"
                )


def check_pairs(heads: Sequence[str], where: str) -> None:
    """Raise UserError where two pairs of heads name one curve, as "a_b" with "c", "a" with "b_c".

    Args:
        heads: names of the heads of one network.
        where: what has them, for the message.
    """
    first: dict[str, tuple[str, str]] = {}
    for place, one in enumerate(heads):
        for other in heads[place + 1 :]:
            pair = first.setdefault(f"{one}_{other}", (one, other))
            if pair != (one, other):
                raise UserError(
                    f"{where}: heads {pair[0]!r} with {pair[1]!r}, and {one!r} with {other!r}, "
                    f"would name one curve, {one}_{other}; rename one of them"
                )


def _exactly(name: str) -> str:
    """A name in quotes, with escapes beside it where they are what differs."""
    return repr(name) if name.isascii() else f"{name!r} ({name!a})"


class OutputNames:
    """Paths for outputs, one for each name, which no file system takes for that of another.

    A name that is free is its own path. Otherwise a number comes behind it: cat~2.jpg. Parts that
    are too long are cut, with a digest of the whole.

    Args:
        suffix: what is put behind a path, a folder being able to have the name of a file.

    Example:
        names = OutputNames(suffix=".png")
        names.take("cat.jpg"), names.take("Cat.jpg")  # "cat.jpg", "Cat~2.jpg"
    """

    def __init__(self, suffix: str = ""):
        self._suffix = suffix
        self._files: set[str] = set()
        self._folders: set[str] = set()
        # {a name that was not free: the last number behind it}, of files and of folders.
        self._numbers: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def take(self, name: str) -> str:
        """Return the path for a name, "a/b.jpg", without the suffix; each call takes another."""
        *folders, file = _short(name).split("/")
        path, (of_files, of_folders) = "", self._numbers
        for folder in folders:
            path = self._free(posixpath.join(path, folder), "", of_folders, self._files)
            self._folders.add(_path_key(path))
        path = posixpath.join(path, file)
        path = self._free(path, self._suffix, of_files, self._files, self._folders)
        self._files.add(_path_key(path + self._suffix))
        return path

    def _free(self, path: str, suffix: str, numbers: dict[str, int], *taken: set[str]) -> str:
        key, (start, end) = _path_key(path), posixpath.splitext(path)
        number = numbers.get(key, 1)
        found = path if number == 1 else f"{start}~{number}{end}"
        while any(_path_key(found + suffix) in keys for keys in taken):
            number += 1
            found = f"{start}~{number}{end}"
        if number > 1:
            numbers[key] = number
        return found


def _path_key(path: str) -> str:
    return "/".join(map(as_stored, path.split("/")))


def _short(name: str) -> str:
    """A path whose parts can all be stored; itself where they can."""
    parts = name.split("/")
    if len(name.encode("utf-8", "replace")) > _MAX_PATH_BYTES:
        parts = [f"{_digest('/'.join(parts[:-1]))}", parts[-1]]
    return "/".join(map(_short_part, parts))


def _short_part(part: str) -> str:
    data = part.encode("utf-8", "replace")
    if len(data) <= _MAX_PART_BYTES:
        return part
    start, end = posixpath.splitext(part)
    end = end if len(end.encode("utf-8", "replace")) <= _MAX_PART_BYTES // 4 else ""
    room = _MAX_PART_BYTES - len(f"~{_digest(part)}{end}".encode("utf-8", "replace"))
    kept = start.encode("utf-8", "replace")[:room].decode("utf-8", "ignore")
    return f"{kept}~{_digest(part)}{end}"


def _digest(text: str) -> str:
    data = text.encode("utf-8", "surrogateescape")
    return hashlib.sha256(data).hexdigest()[:_DIGITS]
