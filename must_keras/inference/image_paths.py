"""Which images are predicted, and the paths of their predictions."""

import collections
import glob
import hashlib
import itertools
import pathlib
import posixpath
from collections.abc import Iterator, Sequence

from must_keras.data import names
from must_keras.data.io.folders import picture_files
from must_keras.errors import UserError, warn
from must_keras.naming import as_stored

# Of an image's path below a folder of predictions: file systems allow 255 bytes for each part, and
# 4096 for all; a head's folder and suffixes are added.
_MAX_PART_BYTES, _MAX_PATH_BYTES = 230, 1024
# Hexadecimal digits of a digest in a shortened name.
_DIGITS = 8


def find(arguments: Sequence[str]) -> dict[str, pathlib.Path]:
    """Return {name: file} of files, folders (with all below them) and globs, in their order.

    A name is the path inside its folder, or the file's own name, unchanged; where two images would
    have one name, with the folder before it, or the whole path.

    Raises:
        UserError: there is no image of an argument; has it as `value`.

    Example:
        find(["photos", "*.jpg"])  # {"cats/1.png": Path("photos/cats/1.png"), ...}
    """
    if not arguments:
        raise UserError("no image is given: give files, folders or globs")
    pairs: list[tuple[str, pathlib.Path]] = []
    for argument in arguments:
        path = pathlib.Path(argument)
        if path.is_dir():
            pairs += [(name, path / name) for name in picture_files(path)]
            continue
        matches = [path]
        if not path.is_file():
            matches = [pathlib.Path(p) for p in sorted(glob.glob(argument, recursive=True))]
        found = [(match.name, match) for match in matches if match.is_file()]
        if not found:
            raise UserError(f"there is no image {argument}", path=argument, value=argument)
        pairs += found
    odd = [file for name, file in pairs if not names.is_text(name)]
    if odd:
        first = ascii(str(odd[0]))
        warn(
            f"{len(odd)} files are skipped: their names are not UTF-8 text or contain "
            f"control characters; the first is {first}"
        )
        pairs = [(name, file) for name, file in pairs if names.is_text(name)]
        if not pairs:
            raise UserError(f"no image is left: rename {first}", path=odd[0])
    files: dict[pathlib.Path, tuple[str, pathlib.Path]] = {}
    for name, file in pairs:
        files.setdefault(file.resolve(), (name, file))
    return dict(_named(list(files.values())))


def _named(pairs: Sequence[tuple[str, pathlib.Path]]) -> Iterator[tuple[str, pathlib.Path]]:
    """Yield each file under the shortest of its names that no other file has."""
    readings = [
        (name, f"{file.resolve().parent.name}/{name}", file.resolve().as_posix()[1:])
        for name, file in pairs
    ]
    counts = [collections.Counter(level) for level in zip(*readings, strict=True)]
    for (_, file), reading in zip(pairs, readings, strict=True):
        yield next(n for n, count in zip(reading, counts, strict=True) if count[n] == 1), file


class OutputPaths:
    """One path for each name, which no file system takes for that of another name.

    A name that is free is its own path. Otherwise a number is added: cat~2.jpg. Parts that are too
    long are cut, and end with a digest of the whole.

    Args:
        suffix: added to each path by the caller: a folder can have the name of a file.

    Example:
        paths = OutputPaths(suffix=".png")
        paths.take("cat.jpg"), paths.take("Cat.jpg")  # "cat.jpg", "Cat~2.jpg"
    """

    def __init__(self, suffix: str = ""):
        self._suffix = suffix
        self._files: set[str] = set()
        self._folders: set[str] = set()
        # {a name that was not free: the last number added to it}, of files and of folders.
        self._numbers: tuple[dict[str, int], dict[str, int]] = ({}, {})

    def take(self, name: str) -> str:
        """Return a new path for a name, "a/b.jpg", without the suffix."""
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
        for number in itertools.count(numbers.get(key, 1)):
            found = path if number == 1 else f"{start}~{number}{end}"
            if not any(_path_key(found + suffix) in keys for keys in taken):
                numbers[key] = number
                return found


def _path_key(path: str) -> str:
    return "/".join(map(as_stored, path.split("/")))


def _short(name: str) -> str:
    """Return a path whose parts can all be stored."""
    parts = name.split("/")
    if len(name.encode("utf-8", "replace")) > _MAX_PATH_BYTES:
        parts = [_digest("/".join(parts[:-1])), parts[-1]]
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
