"""Names of files and classes, compared as people read them, and files found by such names."""

import os
import pathlib
import posixpath
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Iterable, Iterator, Sequence

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

    Accents are composed (macOS stores them apart: NFD), each run of spaces becomes one plain space,
    and spaces at the ends and invisible characters are removed. Case counts.

    Example:
        as_read("cafe\u0301\u00a0") == as_read("caf\u00e9")  # True
    """
    text = unicodedata.normalize("NFC", UNSEEN.sub("", name))
    return " ".join(_IDLE_JOINER.sub("", text).split())


def alike(names: Iterable[str]) -> list[list[str]]:
    """Return the names that read the same whatever their case, in groups of two or more.

    Example:
        >>> alike(["cat", "dog", "Cat"])
        [['cat', 'Cat']]
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(as_read(name).casefold(), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def is_text(name: str) -> bool:
    """Return whether a name can be stored as text and shown in a line.

    Python has surrogates for bytes that are not UTF-8. Control characters such as line feeds would
    break lists, messages and terminals.
    """
    return not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def ambiguous(names: Iterable[str]) -> tuple[str, str] | None:
    """Return two different names that read the same, or None."""
    first: dict[str, str] = {}
    for name in names:
        other = first.setdefault(as_read(name), name)
        if other != name:
            return other, name
    return None


class Names:
    r"""An index of names by what people and programs call them.

    Args:
        names: the known names; paths have the form "a/b.jpg".

    Example:
        Names(["a/cafe\u0301.jpg"]).find(".\\a\\caf\u00e9.JPG")  # "a/cafe\u0301.jpg"
    """

    def __init__(self, names: Iterable[str]):
        self._names = set(names)
        self._grouped: dict[Callable[[str], str], dict[str, list[str]]] = {}

    def find(self, name: str) -> str | None:
        """Return the known path that is meant, or None.

        An equal name comes before all others. Otherwise one that reads the same, also with Windows'
        separators, a leading "./", the escapes of a URL, or another case of suffix.

        Raises:
            UserError: several known names read the same and none of them is equal.
        """
        return self._find(name, paths(name), _path_key)

    def index_in(self, name: str, order: Sequence[str]) -> int | None:
        """Return the position in `order` of the known name that is meant (no path), or None.

        Raises:
            UserError: see `find`.
        """
        found = self._find(name, (name,), as_read)
        return None if found is None else order.index(found)

    def _find(self, name: str, readings: Iterable[str], key: Callable[[str], str]) -> str | None:
        """Return the known name that is equal, or of which the key is that of a reading."""
        if name in self._names:
            return name
        # Most names are equal ones: names are grouped for the first that is not.
        if key not in self._grouped:
            groups: dict[str, list[str]] = {}
            for known in sorted(self._names):
                groups.setdefault(key(known), []).append(known)
            self._grouped[key] = groups
        for reading in readings:
            found = self._grouped[key].get(key(reading), [])
            if len(found) > 1:
                raise UserError(
                    f"{name!a} may mean {found[0]!a} or {found[1]!a}, which read the same: rename "
                    "one of them"
                )
            if found:
                return found[0]
        return None


def _path_key(path: str) -> str:
    """Return a path as it is read, with its suffix in lower case."""
    path = "/".join(map(as_read, path.split("/")))
    return _SUFFIX.sub(lambda suffix: suffix[0].lower(), path)


def paths(name: str) -> Iterator[str]:
    """Yield the paths that one in a list or an annotation file may mean, the plainest first."""
    for text in (name, urllib.parse.unquote(name, errors="replace")):
        yield text
        yield posixpath.normpath(text.replace("\\", "/").strip())


def stem(name: str) -> str:
    """Return a relative path without its suffix: what an image and its label file share.

    The end of "IMG_2024.01" is no suffix, because it begins with a digit.
    """
    path = pathlib.PurePosixPath(name)
    return path.with_suffix("").as_posix() if not path.suffix[1:2].isdigit() else name


def by_stem(root: pathlib.Path, files: Iterable[str]) -> dict[str, str]:
    """Return {relative path without its suffix: relative path}.

    Raises:
        UserError: two names differ in their suffix alone.
    """
    found: dict[str, str] = {}
    for name in files:
        other = found.setdefault(stem(name), name)
        if other != name:
            raise UserError.at(root, f"holds both {other} and {name}: which one is meant?")
    return found


def check_inside(names: Iterable[str], where: object) -> None:
    """Raise UserError where a file names a path outside of the folder that it belongs to.

    Args:
        names: relative paths, as an annotation file or a list contains them.
        where: the file that contains them, for the message.
    """
    for name in names:
        # Few names begin with a slash or have two dots in a row: the others cost little.
        if name.startswith("/") or (".." in name and ".." in pathlib.PurePosixPath(name).parts):
            raise UserError(
                f"{where} names {name!r}, which lies outside of the folder of its files; expected "
                "a path below that folder, without '..'"
            )


class ImageFinder:
    """The images of a folder, by the names that label files, lists and annotations give them.

    Args:
        root: the folder.
        files: relative paths.

    Raises:
        UserError: two names differ in their suffix alone.

    Example:
        ImageFinder(root, ["a/1.jpg"]).of_stem("a/1")  # "a/1.jpg"
    """

    def __init__(self, root: pathlib.Path, files: Sequence[str]):
        self._by_stem = by_stem(root, files)
        self._stems, self._files = Names(self._by_stem), Names(files)

    def of_stem(self, wanted: str) -> str | None:
        """Return the image with a path without suffix, as `stem` returns it, or None.

        The label of a.jpg may be called a.png or a.jpg.png.

        Raises:
            UserError: several images read the same.
        """
        found = self._stems.find(wanted)
        return self._files.find(wanted) if found is None else self._by_stem[found]


class FileFinder:
    r"""The files below a folder, by the names that annotations give them.

    Args:
        root: the folder; each folder in it is listed at most once, for the first name that differs
            from that of its file.

    Example:
        FileFinder(pathlib.Path("photos")).find(r"a\1.JPG")  # "a/1.jpg"
    """

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._listed: dict[str, Names] = {}

    def find(self, name: str) -> str | None:
        """Return the path below the folder of the file that is meant, or None.

        The name as it stands if there is such a file; otherwise see `Names.find`.

        Raises:
            UserError: several files read the same.
        """
        try:
            if (self._root / name).is_file():
                return name
        except (OSError, ValueError):
            return None
        for text in dict.fromkeys(paths(name)):
            found = self._find_below(text.split("/"))
            if found is not None:
                return found
        return None

    def _find_below(self, parts: Sequence[str]) -> str | None:
        """Find a path folder by folder."""
        done = ""
        for part in parts:
            if part not in ("", "..") and not (self._root / done / part).exists():
                part = self._names(done).find(part)
                if part is None:
                    return None
            done = f"{done}/{part}" if done else part
        return done if done and (self._root / done).is_file() else None

    def _names(self, folder: str) -> Names:
        if folder not in self._listed:
            try:
                listed = os.listdir(self._root / folder)
            except OSError:
                listed = []
            self._listed[folder] = Names(filter(is_text, listed))
        return self._listed[folder]
