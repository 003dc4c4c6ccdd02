"""Text files that list something, one a line: class names, the images of a split."""

from __future__ import annotations

import pathlib

from must_keras.data import names
from must_keras.data.io.folders import Path
from must_keras.errors import UserError


def read_class_names(path: Path) -> tuple[str, ...]:
    """The lines of a file, in the order of the classes' indices; empty lines are passed over.

    Raises:
        UserError: there is no such file, it is not UTF-8 text, it names nothing, or two of its
            names read the same.
    """
    path = pathlib.Path(path)
    lines = [(number, line.strip()) for number, line in read_lines(path)]
    first: dict[str, int] = {}
    for number, name in lines:
        key = names.as_read(name)
        if key in first:
            raise UserError(f"{path}, line {number}: {name!r} is also on line {first[key]}")
        first[key] = number
    return tuple(name for _, name in lines)


def read_lines(path: pathlib.Path) -> list[tuple[int, str]]:
    """(line number, text without plain spaces around it) of all lines of a file that are not empty.

    Names of files may contain other spaces, and whatever Unicode takes for an end of a line.

    Raises:
        UserError: there is no such file, it is not UTF-8 text, or it is empty.
    """
    try:
        data = path.read_bytes()
        text = data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"{path} is not UTF-8 text: line {line}: {error}") from None
    lines = enumerate(text.split("\n"), 1)
    found = [(number, line.strip(" \t\r\f\v")) for number, line in lines if line.strip()]
    if not found:
        raise UserError(f"{path} is empty")
    return found
