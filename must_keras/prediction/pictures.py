"""Which pictures are meant, and under what name their predictions are kept."""

from __future__ import annotations

import glob
import pathlib
from collections.abc import Sequence

from must_keras.data.folders import picture_files, stem
from must_keras.errors import UserError


def find(arguments: Sequence[str]) -> dict[str, pathlib.Path]:
    """{name: file} of files, folders (with all below them) and globs, in their order.

    A name is the path inside its folder, or the file's own name, without the suffix.

    Raises:
        UserError: something is not there, or two pictures would have one name.
    """
    if not arguments:
        raise UserError("no picture is named: give files, folders or globs")
    found: dict[str, pathlib.Path] = {}
    for argument in arguments:
        path = pathlib.Path(argument)
        if path.is_dir():
            pairs = [(name, path / name) for name in picture_files(path)]
        elif path.is_file():
            pairs = [(path.name, path)]
        else:
            matches = sorted(
                p for p in glob.glob(argument, recursive=True) if pathlib.Path(p).is_file()
            )
            if not matches:
                raise UserError(f"there is no picture {argument}")
            pairs = [(pathlib.Path(p).name, pathlib.Path(p)) for p in matches]
        for relative, file in pairs:
            name = stem(relative)
            other = found.setdefault(name, file)
            if other.resolve() != file.resolve():
                raise UserError(
                    f"{other} and {file} would both be called {name!r}: predict them into "
                    "different folders"
                )
    return found
