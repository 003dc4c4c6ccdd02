"""Folders of pictures: their files, and digests of what they contain."""

import os
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from must_keras.data import names
from must_keras.data.io.notices import Notes
from must_keras.errors import Path, UserError, warn
from must_keras.files import file_sha256, list_sha256

# Hexadecimal digits of a digest of a folder's content.
_DIGITS = 16
# Suffixes of pictures that Pillow decodes; of JPEG, PNG, BMP, TIFF and netpbm all in use.
SUFFIXES = (
    ".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".jpe", ".jfif", ".pjpeg",
    ".pjp", ".apng", ".dib", ".avif", ".jp2", ".j2k", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm",
    ".tga",
)  # fmt: skip
# Suffixes of other files beside pictures: labels, texts, tables, arrays, archives, programs.
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
# Never used, whatever they contain: unfinished downloads, copies that editors keep, and raw files
# of cameras, of which a reader of TIFF returns the thumbnail.
_UNFINISHED = (".part", ".partial", ".crdownload", ".download", ".opdownload", ".filepart")
_RAW = (
    ".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos",
    ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".sr2", ".srf", ".srw", ".x3f",
)  # fmt: skip
_UNUSED = {
    **dict.fromkeys(_UNFINISHED, "unfinished downloads"),
    **dict.fromkeys((".orig", ".old"), "copies of an editor"),
    **dict.fromkeys(_RAW, "raw files of cameras"),
}
# Pictures of formats that Pillow decodes begin like this; a JPEG's third byte begins a segment.
_MAGIC = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|(II\*\0|MM\0\*|II\+\0|MM\0\+)|"
    rb"BM....\0\0\0\0|....ftypavi[fs]|\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51|P[1-6]\s+[\d#]",
    re.DOTALL,
)
# Characters that are in no text.
_CONTROL = re.compile(r"[^\t\n\r\f\x20-\U0010ffff]")
# Bytes that are read of a file of unknown suffix.
_HEAD_BYTES = 64
# Kinds of files that a message names.
_MAX_NAMED = 6


def existing_folder(path: Path) -> pathlib.Path:
    """Return a folder as a path.

    Raises:
        UserError: there is none, or it is a file.
    """
    if not isinstance(path, str | os.PathLike):
        raise UserError(f"received {path!r}: expected the path of a folder")
    path = pathlib.Path(path)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}" if not path.exists() else f"{path}: no folder")
    return path


def files_of(
    given: Path | Sequence[Path], *, suffix: str, noun: str, key: str
) -> list[pathlib.Path]:
    """Return the files that an argument names: those of a folder or a pattern, sorted, or given.

    Args:
        given: a file, several, a folder, or a pattern of the names in one: "shards/train-*.tar".
        suffix: of the files: ".tar".
        noun: what they are: "archive".
        key: the argument.

    Raises:
        UserError: there is no such folder, or no file in it.
    """
    if isinstance(given, list | tuple):
        if not given:
            raise UserError.of("", key, given, f"expected at least one {noun}")
        return [pathlib.Path(path) for path in given]
    path = pathlib.Path(given)
    if path.suffix == suffix and not path.is_dir() and "*" not in path.name:
        return [path]
    is_pattern = "*" in path.name and not path.exists()
    folder, pattern = (path.parent, path.name) if is_pattern else (path, f"*{suffix}")
    found = sorted(existing_folder(folder).glob(pattern))
    if not found:
        raise UserError.at(folder, f"holds no {noun} ({pattern})")
    return found


def picture_files(folder: Path, suffixes: Sequence[str] | None = None) -> list[str]:
    """Return the pictures in a folder and below, as sorted relative paths ("a/b.jpg").

    Hidden files and folders (".x") are skipped; links are followed, except to a folder above them.
    Files with a suffix that is not in SUFFIXES, or without one, are pictures where their first
    bytes are those of one. Files that may be a person's pictures and cannot be used are counted on
    stderr by their kind; label files, texts, archives and files of the system are not.

    Args:
        folder: the folder.
        suffixes: of the files to return, whatever they contain, and no others; None for all
            pictures.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    root = existing_folder(folder)
    found, passed = [], Notes()
    for below, entry in _entries(root, passed):
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
        raise UserError(
            f"{root} holds no picture ({expected}){_listing(passed, '; passed over: ')}"
        )
    if passed.counts:
        warn(f"{root}: {_listing(passed, 'passed over as pictures: ')}")
    return sorted(found)


def _listing(passed: Notes, before: str) -> str:
    """Return the counts of files that are passed over and an example of each; "" for none."""
    if not passed.counts:
        return ""
    total, named = passed.counts.total(), passed.counts.most_common(_MAX_NAMED)
    parts = [f"{count} {kind} (for example {passed.first[kind]!a})" for kind, count in named]
    more = total - sum(count for _, count in named)
    parts += [f"{more} others"] if more else []
    return f"{before}{total} files: {', '.join(parts)}"


def _entries(root: pathlib.Path, passed: Notes) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Yield all files in a folder and below it, each with the path before its name."""
    waiting = [(root, "")]
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
    """Return the kind of an unusable file of no usual suffix; "" for a picture, None for noise."""
    name = entry.name.rstrip()
    stem, suffix = os.path.splitext(name)
    suffix = suffix.lower()
    if suffix in _NO_PICTURES or any(map(_NO_PICTURE_NAMES.match, (stem, name))):
        return None
    if suffix in _UNUSED or name.endswith("~"):
        return f"{suffix} ({_UNUSED.get(suffix, 'copies of an editor')})"
    kind = suffix or "without a suffix"
    try:
        with open(entry.path, "rb", buffering=0) as file:
            head = file.read(_HEAD_BYTES)
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
    return len(text.encode()) >= len(head) - 3 and not _CONTROL.search(text)


def _is_loop(base: str, name: str) -> bool:
    """Return whether a link leads to a folder in which it lies itself."""
    path = pathlib.Path(base, name)
    return path.is_symlink() and pathlib.Path(base).resolve().is_relative_to(path.resolve())


def content_digest(folder: Path, files: Iterable[str]) -> str:
    """Return 16 hexadecimal digits of files' names and sizes, in order, wherever they lie.

    For images, which are many and large and never corrected; see `label_digest`.

    Raises:
        UserError: a file is absent: a link that leads nowhere.
    """
    return _digest(folder, files, lambda path: path.stat().st_size)


def label_digest(folder: Path, files: Iterable[str]) -> str:
    """Return 16 hexadecimal digits of files' names and bytes, in order, wherever they lie.

    A corrected label is often as large as before: a class's value in a map, a digit in XML.

    Raises:
        UserError: a file cannot be read.
    """
    return _digest(folder, files, file_sha256)


def _digest(folder: Path, files: Iterable[str], content: Callable[[pathlib.Path], Any]) -> str:
    root = pathlib.Path(folder)
    try:
        return list_sha256([name, content(root / name)] for name in files)[:_DIGITS]
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error
