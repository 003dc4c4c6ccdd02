"""Folders of pictures: which files there are, and what they contain."""

from __future__ import annotations

import collections
import os
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator, Sequence

from must_keras.data import names
from must_keras.errors import UserError
from must_keras.files import file_sha256, list_sha256

Path = str | os.PathLike[str]

# Of a digest of a folder's content.
_DIGITS = 16
# Of pictures that Pillow decodes; of JPEG, PNG, BMP, TIFF and netpbm all that people write.
SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jpe", ".jfif", ".pjpeg",
    ".pjp", ".apng", ".dib", ".avif", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm",
    ".tga",
)  # fmt: skip
# What lies beside pictures and is none: labels, texts, tables, arrays, archives, programs.
_NO_PICTURES = (
    ".json", ".jsonl", ".ndjson", ".geojson", ".csv", ".tsv", ".xml", ".txt", ".yaml", ".yml",
    ".toml", ".ini", ".cfg", ".conf", ".names", ".data", ".md", ".rst", ".html", ".htm", ".css",
    ".js", ".log", ".npy", ".npz", ".exr", ".pfm", ".flo", ".mat", ".h5", ".hdf5", ".pkl",
    ".pickle", ".pt", ".pth", ".parquet", ".arrow", ".feather", ".tfrecord", ".record", ".db",
    ".sqlite", ".xls", ".xlsx", ".ods", ".doc", ".docx", ".odt", ".pdf", ".rtf", ".bib", ".py",
    ".ipynb", ".sh", ".bat", ".m", ".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar",
    ".md5", ".sha1", ".sha256", ".sha512", ".sfv", ".xmp", ".aae", ".url", ".lnk", ".ply", ".obj",
    ".pcd", ".tmp", ".bak", ".lock", ".wav", ".mp3", ".cache",
)  # fmt: skip
_NO_PICTURE_NAMES = re.compile(
    r"(thumbs\.db|ehthumbs(_vista)?\.db|desktop\.ini|icon\r?|readme|licen[cs]e|copying|notice|"
    r"authors|changelog|manifest|checksums?|md5sums?|sha\d+sums?|makefile|dockerfile)\Z",
    re.IGNORECASE,
)
# Never used, whatever they contain: downloads that are not finished, copies that editors keep, and
# raw files of cameras, of which a reader of TIFF gets the thumbnail.
_UNUSED = {
    **dict.fromkeys(
        (".part", ".partial", ".crdownload", ".download", ".opdownload", ".filepart"),
        "unfinished downloads",
    ),
    **dict.fromkeys((".orig", ".old"), "copies of an editor"),
    **dict.fromkeys(
        (
            ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef",
            ".mos", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw",
            ".x3f",
        ),
        "raw files of cameras",
    ),
}  # fmt: skip
# Pictures of formats that Pillow decodes begin like this; a JPEG's third byte begins a segment.
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|(II\*\0|MM\0\*|II\+\0|MM\0\+)|"
    rb"BM....\0\0\0\0|....ftypavi[fs]|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51|P[1-6]\s+[\d#]",
    re.DOTALL,
)
# Bytes of a file of unknown suffix that are looked at.
_HEAD = 64
# Kinds of files that a message names.
_NAMED = 6


def existing_folder(path: Path) -> pathlib.Path:
    """The folder as a path.

    Raises:
        UserError: it is not there, or not a folder.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"received {path!r}: expected the path of a folder")
    path = pathlib.Path(path)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}" if not path.exists() else f"{path}: no folder")
    return path


def picture_files(folder: Path, suffixes: Sequence[str] | None = None) -> list[str]:
    """The pictures in a folder and below, as sorted relative paths ("a/b.jpg").

    Hidden files and folders (".x") are passed over; links are followed, but not to a folder that
    is above them. Files with another suffix than SUFFIXES, or none, are pictures where their first
    bytes are those of one. What may be a person's picture and cannot be used is counted on stderr
    by its kind; label files, texts, archives and what systems leave are not.

    Args:
        folder: where they are.
        suffixes: of the files that are wanted, whatever they contain, and no others; None: all
            pictures.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    root = existing_folder(folder)
    found, passed = [], _PassedOver()
    for below, entry in _entries(root, "", passed):
        name = below + entry.name
        if not names.is_text(name):
            passed.add("names that are not UTF-8 text or hold control characters", name)
        elif not _is_regular(entry):
            passed.add("pipes, devices and others that are not regular files", name)
        elif suffixes is not None:
            if name.lower().endswith(tuple(suffixes)):
                found.append(name)
        elif name.lower().endswith(SUFFIXES) or (kind := _unusable(entry)) == "":
            found.append(name)
        elif kind is not None:
            passed.add(kind, name)
    if not found:
        expected = ", ".join(SUFFIXES if suffixes is None else suffixes)
        raise UserError(f"{root} holds no picture ({expected}){passed.told('; passed over: ')}")
    if passed.first:
        print(f"warning: {root}: {passed.told('passed over as pictures: ')}", file=sys.stderr)
    return sorted(found)


class _PassedOver:
    """Files that may be a person's pictures and are not used, by kind."""

    def __init__(self) -> None:
        self._counts: collections.Counter[str] = collections.Counter()
        self.first: dict[str, str] = {}

    def add(self, kind: str, name: str) -> None:
        self._counts[kind] += 1
        self.first.setdefault(kind, name)

    def told(self, before: str) -> str:
        """The counts and an example of each, for a message; empty where there are none."""
        if not self.first:
            return ""
        parts = [
            f"{count} {kind} (for example {names.shown(self.first[kind])})"
            for kind, count in self._counts.most_common(_NAMED)
        ]
        more = self._counts.total() - sum(n for _, n in self._counts.most_common(_NAMED))
        parts += [f"{more} others"] if more else []
        return f"{before}{self._counts.total()} files: {', '.join(parts)}"


def _entries(
    folder: pathlib.Path, below: str, passed: _PassedOver
) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """All that is no folder, in a folder and below it, each with the path before its name."""
    waiting = [(folder, below)]
    while waiting:
        folder, below = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            passed.add(f"folders that cannot be opened ({error.strerror})", below or str(folder))
            continue
        for entry in listed:
            if entry.name.startswith("."):
                continue
            try:
                is_folder = entry.is_dir()
            except OSError:
                is_folder = False
            if not is_folder:
                yield below, entry
            elif not _is_loop(str(folder), entry.name):
                waiting.append((folder / entry.name, f"{below}{entry.name}/"))


def _is_regular(entry: os.DirEntry[str]) -> bool:
    try:
        # A link that leads nowhere is left for `content_digest` to report: the picture is missing.
        return entry.is_file() or (entry.is_symlink() and not os.path.exists(entry.path))
    except OSError:
        return False


def _unusable(entry: os.DirEntry[str]) -> str | None:
    """The kind of a file of no usual suffix that is not used; "" for a picture, None for noise."""
    name = entry.name.rstrip()
    suffix = os.path.splitext(name)[1].lower()
    if suffix in _NO_PICTURES or _NO_PICTURE_NAMES.match(os.path.splitext(name)[0]):
        return None
    if _NO_PICTURE_NAMES.match(name):
        return None
    if suffix in _UNUSED or name.endswith("~"):
        return f"{suffix} ({_UNUSED.get(suffix, 'copies of an editor')})"
    kind = suffix or "without a suffix"
    try:
        with open(entry.path, "rb", buffering=0) as file:
            head = file.read(_HEAD)
    except OSError as error:
        return f"{kind} ({error.strerror})"
    if _MAGIC.match(head):
        return ""
    if suffix not in (".svg", ".eps") and (not head or _is_plain_text(head)):
        return None
    return kind


def _is_plain_text(head: bytes) -> bool:
    # The last character may be cut.
    text = head.decode("utf-8", errors="ignore")
    return len(text.encode()) >= len(head) - 3 and not re.search(
        r"[^\t\n\r\f\x20-\U0010ffff]", text
    )


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
    """A relative path without its suffix: what an image and its label file have in common.

    The end of "IMG_2024.01" is no suffix: it begins with a digit.
    """
    path = pathlib.PurePosixPath(name)
    return path.with_suffix("").as_posix() if not path.suffix[1:2].isdigit() else name


def by_stem(root: pathlib.Path, files: Iterable[str]) -> dict[str, str]:
    """{relative path without its suffix: relative path}.

    Raises:
        UserError: two names differ in their suffix alone.
    """
    found: dict[str, str] = {}
    for name in files:
        other = found.setdefault(stem(name), name)
        if other != name:
            raise UserError(f"{root} holds both {other} and {name}: which one is meant?")
    return found


class Images:
    """The images of a folder, by the names that label files, lists and annotations give them.

    Args:
        root: the folder.
        files: relative paths.

    Raises:
        UserError: two names differ in their suffix alone.
    """

    def __init__(self, root: pathlib.Path, files: Sequence[str]):
        self._by_stem = by_stem(root, files)
        self._stems, self._files = names.Names(self._by_stem), names.Names(files)

    def of_stem(self, wanted: str) -> str | None:
        """Return the image with a path without suffix, as `stem` makes it; None: there is none.

        The label of a.jpg may be called a.png or a.jpg.png.

        Raises:
            UserError: several images read the same.
        """
        found = self._stems.find(wanted)
        return self._files.find(wanted) if found is None else self._by_stem[found]


class FileFinder:
    """The files below a folder, by the names that annotations give them.

    Args:
        root: the folder; each folder in it is listed at most once, when a name is not a file's own.
    """

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._listed: dict[str, names.Names] = {}

    def find(self, name: str) -> str | None:
        """Return the path below the folder of the file that is meant; None: there is none.

        As it stands if there is such a file; otherwise see `names.Names.find`.

        Raises:
            UserError: several files read the same.
        """
        try:
            if (self._root / name).is_file():
                return name
        except (OSError, ValueError):
            return None
        for text in dict.fromkeys(names.paths(name)):
            found = self._find_below(text.split("/"))
            if found is not None:
                return found
        return None

    def _find_below(self, parts: Sequence[str]) -> str | None:
        """A path that is found folder by folder."""
        done = ""
        for part in parts:
            if part not in ("", "..") and not (self._root / done / part).exists():
                part = self._names(done).find(part)
                if part is None:
                    return None
            done = f"{done}/{part}" if done else part
        return done if done and (self._root / done).is_file() else None

    def _names(self, folder: str) -> names.Names:
        if folder not in self._listed:
            try:
                listed = os.listdir(self._root / folder)
            except OSError:
                listed = []
            self._listed[folder] = names.Names(filter(names.is_text, listed))
        return self._listed[folder]
