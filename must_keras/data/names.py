"""Names of files and classes, compared as people read them."""

from __future__ import annotations

import functools
import posixpath
import re
import unicodedata
import urllib.parse
from collections.abc import Iterable, Iterator, Sequence

from must_keras.errors import UserError
from must_keras.naming import UNSEEN

# ZWNJ and ZWJ shape letters of Persian or Hindi and make one emoji of several. Beside a space or a
# letter of ASCII they change nothing.
_IDLE_JOINER = re.compile(
    "(?<![^\x00-\x7f\\s\u200c\u200d])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f\\s])"
)
_SUFFIX = re.compile(r"\.[A-Za-z]\w*\Z", re.ASCII)


def as_read(name: str) -> str:
    r"""Return a name as people read it: equal for names that look the same.

    Accents are composed (macOS stores them apart: NFD), all spaces are one plain space and none
    stands at an end, and what nobody can see is left out. Case counts.

    Example:
        as_read("cafe\u0301\u00a0") == as_read("caf\u00e9")  # True
    """
    text = unicodedata.normalize("NFC", UNSEEN.sub("", name))
    return " ".join(_IDLE_JOINER.sub("", text).split())


def is_text(name: str) -> bool:
    """Return whether a name can be stored as text and shown in a line.

    Python has surrogates for bytes that are not UTF-8. Control characters such as line feeds would
    break lists, messages and terminals.
    """
    return not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def shown(name: str) -> str:
    """Return a name in quotes, with escapes for what cannot be told apart by eye."""
    return ascii(name)


def ambiguous(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two different names that read the same; None where there are none."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(as_read(name), name)
        if other != name:
            return other, name
    return None


class Names:
    r"""Known names, to be found by what other people and programs call them.

    Args:
        names: the known ones; paths have the form "a/b.jpg".

    Example:
        Names(["a/cafe\u0301.jpg"]).find(".\\a\\caf\u00e9.JPG")  # "a/cafe\u0301.jpg"
    """

    def __init__(self, names: Iterable[str]):
        self._names = set(names)

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def find(self, name: str, *, is_path: bool = True) -> str | None:
        """Return the known name that is meant; None where there is none.

        An equal name is meant before any other. Otherwise one that reads the same, for paths also
        with Windows' separators, a leading "./", the escapes of a URL, or another case of suffix.

        Raises:
            UserError: several known names read the same and none of them is equal.
        """
        if name in self._names:
            return name
        keys = map(_path_key, dict.fromkeys(paths(name))) if is_path else (as_read(name),)
        for key in keys:
            found = (self._by_path if is_path else self._by_name).get(key, [])
            if len(found) > 1:
                raise UserError(
                    f"{shown(name)} may mean {shown(found[0])} or {shown(found[1])}, which read "
                    "the same: rename one of them"
                )
            if found:
                return found[0]
        return None

    def index_in(self, name: str, order: Sequence[str]) -> int | None:
        """Return the place in `order` of the known name that is meant, no path; None: nowhere.

        Raises:
            UserError: see `find`.
        """
        found = self.find(name, is_path=False)
        return None if found is None else order.index(found)

    # Most names are equal ones: these are built when the first is not.
    @functools.cached_property
    def _by_path(self) -> dict[str, list[str]]:
        return _grouped((_path_key(name), name) for name in sorted(self._names))

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        return _grouped((as_read(name), name) for name in sorted(self._names))


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, name in pairs:
        found.setdefault(key, []).append(name)
    return found


def _path_key(path: str) -> str:
    """A path as it is read, with its suffix in lower case."""
    path = "/".join(map(as_read, path.split("/")))
    return _SUFFIX.sub(lambda suffix: suffix[0].lower(), path)


def paths(name: str) -> Iterator[str]:
    """Return what a path in a list or an annotation file may be meant as, the plainest first."""
    for text in (name, urllib.parse.unquote(name, errors="replace")):
        yield text
        yield posixpath.normpath(text.replace("\\", "/").strip())
