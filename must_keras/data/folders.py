"""Folders of pictures: which files there are, and what they contain."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable, Sequence

from must_keras.errors import UserError
from must_keras.files import file_sha256, list_sha256

Path = str | os.PathLike[str]

# Of a digest of a folder's content.
_DIGITS = 16
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def existing_folder(path: Path) -> pathlib.Path:
    """The folder as a path.

    Raises:
        UserError: it is not there, or not a folder.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}" if not path.exists() else f"{path}: no folder")
    return path


def picture_files(folder: Path, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
    """The pictures in a folder and below, as sorted relative paths ("a/b.jpg").

    Hidden files and folders (".x") are passed over; links are followed, but not to a folder that
    is above them.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    root = existing_folder(folder)
    found = []
    for base, folders, files in os.walk(root, followlinks=True):
        folders[:] = [n for n in folders if not n.startswith(".") and not _is_loop(base, n)]
        below = pathlib.PurePath(os.path.relpath(base, root))
        found += [
            (below / name).as_posix()
            for name in files
            if name.lower().endswith(tuple(suffixes)) and not name.startswith(".")
        ]
    for name in found:
        if not name.isprintable():
            raise UserError(f"{root} holds a picture whose name is not UTF-8 text: {name!r}")
    if not found:
        raise UserError(f"{root} holds no picture ({', '.join(suffixes)})")
    return sorted(found)


def _is_loop(base: str, name: str) -> bool:
    """Whether a link leads to a folder in which it lies itself."""
    path = pathlib.Path(base, name)
    return path.is_symlink() and pathlib.Path(base).resolve().is_relative_to(path.resolve())


def content_digest(folder: Path, files: Iterable[str]) -> str:
    """16 hexadecimal digits of the files' names and sizes, in order; not of where they lie.

    For images, which are many and large, and which nobody corrects; see `label_digest`.

    Raises:
        UserError: a file is not there: a link that leads nowhere.
    """
    root = pathlib.Path(folder)
    try:
        return list_sha256([name, (root / name).stat().st_size] for name in files)[:_DIGITS]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def label_digest(folder: Path, files: Iterable[str]) -> str:
    """16 hexadecimal digits of the files' names and bytes, in order; not of where they lie.

    A corrected label is often as large as the old one: a class's value in a map, a digit in XML.

    Raises:
        UserError: a file cannot be read.
    """
    root = pathlib.Path(folder)
    try:
        return list_sha256([name, file_sha256(root / name)] for name in files)[:_DIGITS]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def leads_out(name: str) -> bool:
    """Return whether a relative path leads out of the folder that it begins in."""
    # Few names begin with a slash or have two dots in a row: the others cost little.
    if not name.startswith("/") and ".." not in name:
        return False
    path = pathlib.PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts


def check_inside(names: Iterable[str], where: object) -> None:
    """Raise UserError where a file names a path outside of the folder that it belongs to.

    Args:
        names: relative paths, as an annotation file or a list has them.
        where: what names them, for the message.
    """
    name = next(filter(leads_out, names), None)
    if name is not None:
        raise UserError(
            f"{where} names {name!r}, which lies outside of the folder of its files; expected a "
            "path below that folder, without '..'"
        )


def stem(name: str) -> str:
    """A relative path without its suffix: what an image and its label file have in common."""
    return pathlib.PurePosixPath(name).with_suffix("").as_posix()


def by_stem(root: pathlib.Path, names: Iterable[str]) -> dict[str, str]:
    """{relative path without its suffix: relative path}.

    Raises:
        UserError: two names differ in their suffix alone.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(stem(name), name)
        if other != name:
            raise UserError(f"{root} holds both {other} and {name}: which one is meant?")
    return found
