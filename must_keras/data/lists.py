"""Text files that list something, one a line: class names, the images of a split."""

from __future__ import annotations

import pathlib

from must_keras.data.folders import Path
from must_keras.errors import UserError


def read_class_names(path: Path) -> tuple[str, ...]:
    """The lines of a file, in the order of the classes' indices; empty lines are passed over.

    Raises:
        UserError: there is no such file, it is not UTF-8 text, it names nothing, or a name twice.
    """
    path = pathlib.Path(path)
    lines = read_lines(path)
    first: dict[str, int] = {}
    for number, name in lines:
        if name in first:
            raise UserError(f"{path}, line {number}: {name!r} is also on line {first[name]}")
        first[name] = number
    return tuple(first)


def read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
    """(line number, text without space around it) of all lines of a file that are not empty.

    Raises:
        UserError: there is no such file, it is not UTF-8 text, or it is empty.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text: {error}") from None
    found = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not found:
        raise UserError(f"{path} is empty")
    return found
