"""The rule for every name that becomes a path, a key of an output, a layer or a tag.

Teachers, transfers, sources, heads and self-supervised methods name folders, files, layers and
curves. A run's folder is copied to other disks, and archives of it to other systems: a name is
allowed where every usual file system can store it, and two names are different where all of them
tell the two apart.

What a person takes for one name is another question: see `data.names`.
"""

import itertools
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
_RESERVED = (
    "image", "area", "backbone", "neck", "name", "file", "height", "width", "picture", "pictures",
)  # fmt: skip


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
        message = f"{where} {name!r} names a folder: {problem}; choose another name"
        raise UserError(message, key="name", value=name)


def _problem(name: str) -> str | None:
    """Return what is wrong with a name; None where nothing is."""
    if not isinstance(name, str):
        return f"a text is needed, not {type(name).__name__}"
    if not name.isprintable() or set(name) & set(_FORBIDDEN) or name.startswith("."):
        # Spaces other than the plain one and characters of no width are not printable either.
        return (
            f"not allowed are the characters {' '.join(_FORBIDDEN)}, characters that are not "
            "printed, spaces other than the plain one, and a dot at the start"
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
    problem = None
    if not isinstance(name, str) or not _HEAD.fullmatch(name):
        problem = "only a-z, A-Z, 0-9, _ and - are allowed, and a letter comes first"
    elif name.casefold() in _RESERVED:
        problem = (
            f"not allowed are {', '.join(_RESERVED)}, which are layers of the network or keys of a "
            "prediction"
        )
    if problem is not None:
        message = f"{where}: {what} cannot be named {name!r}: {problem}"
        raise UserError(message, key="name", value=name)
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
            continue
        message = f"{where}: two {what} are named {name!r}"
        if first[key] != name:
            message = (
                f"{where}: the {what} {_exactly(first[key])} and {_exactly(name)} have one name on "
                "disks that ignore case or the form of accents"
            )
        raise UserError(f"{message}; rename one of them", key="name", value=name)


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
                message = (
                    f"{where}: source {other!r} has the name of a block of pool {pool!r}: images "
                    "that are added to a pool become <pool>_block2, _block3, ...; rename one of "
                    "them"
                )
                raise UserError(message, key="name", value=other)


def check_pairs(heads: Sequence[str], where: str) -> None:
    """Raise UserError where two pairs of heads name one curve, as "a_b" with "c", "a" with "b_c".

    Args:
        heads: names of the heads of one network.
        where: what has them, for the message.
    """
    first: dict[str, tuple[str, str]] = {}
    for one, other in itertools.combinations(heads, 2):
        name = f"{one}_{other}"
        pair = first.setdefault(name, (one, other))
        if pair != (one, other):
            message = (
                f"{where}: heads {pair[0]!r} with {pair[1]!r}, and {one!r} with {other!r}, would "
                f"name one curve, {name}; rename one of them"
            )
            raise UserError(message, key="name", value=name)


def _exactly(name: str) -> str:
    """Return a name in quotes, with escapes beside it where they are what differs."""
    return repr(name) if name.isascii() else f"{name!r} ({name!a})"
