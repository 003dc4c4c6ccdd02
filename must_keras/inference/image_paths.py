"""Which pictures are meant, and under what name their predictions are kept."""

from __future__ import annotations

import collections
import glob
import pathlib
import sys
from collections.abc import Iterator, Sequence

from must_keras.data import names
from must_keras.data.io.folders import picture_files
from must_keras.errors import UserError


def find(arguments: Sequence[str]) -> dict[str, pathlib.Path]:
    """{name: file} of files, folders (with all below them) and globs, in their order.

    A name is the path inside its folder, or the file's own name, as it is; where two pictures
    would have one name, with the folder before it, or the whole path.

    Raises:
        UserError: something is not there.
    """
    if not arguments:
        raise UserError("no picture is named: give files, folders or globs")
    pairs: list[tuple[str, pathlib.Path]] = []
    for argument in arguments:
        path = pathlib.Path(argument)
        if path.is_dir():
            pairs += [(name, path / name) for name in picture_files(path)]
        elif path.is_file():
            pairs.append((path.name, path))
        else:
            matches = [pathlib.Path(p) for p in sorted(glob.glob(argument, recursive=True))]
            matches = [match for match in matches if match.is_file()]
            if not matches:
                raise UserError(f"there is no picture {argument}")
            pairs += [(match.name, match) for match in matches]
    odd = [file for name, file in pairs if not names.is_text(name)]
    if odd:
        print(
            f"warning: {len(odd)} files are passed over: their names are not UTF-8 text or hold "
            f"control characters; the first is {names.shown(str(odd[0]))}",
            file=sys.stderr,
        )
        pairs = [(name, file) for name, file in pairs if names.is_text(name)]
        if not pairs:
            raise UserError(f"no picture is left: rename {names.shown(str(odd[0]))}")
    files: dict[pathlib.Path, tuple[str, pathlib.Path]] = {}
    for name, file in pairs:
        files.setdefault(file.resolve(), (name, file))
    return dict(_named(list(files.values())))


def _named(pairs: Sequence[tuple[str, pathlib.Path]]) -> Iterator[tuple[str, pathlib.Path]]:
    """Each file under the shortest of its names that no other file has."""
    readings = [
        (name, f"{file.resolve().parent.name}/{name}", file.resolve().as_posix()[1:])
        for name, file in pairs
    ]
    counts = [collections.Counter(level) for level in zip(*readings, strict=True)]
    for (_, file), reading in zip(pairs, readings, strict=True):
        yield next(n for n, count in zip(reading, counts, strict=True) if count[n] == 1), file
