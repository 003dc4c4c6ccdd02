"""JSON files that are larger than what fits into memory as Python objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from must_keras.data.folders import Path
from must_keras.errors import UserError

# Characters that are read at once; an element may be longer.
_CHUNK = 2**20
_SPACE = " \t\r\n"
_ENDS = (*_SPACE, ",", "]", "}")


def array_items(path: Path) -> Iterator[tuple[str, Any]]:
    """The elements of all arrays of a JSON object, one by one, in the order of the file.

    Args:
        path: a file {"images": [...], "annotations": [...], "info": ...}.

    Yields:
        (key, element); (key, value) of what is no array.

    Raises:
        UserError: there is no such file, or it is no JSON object.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            yield from _Reader(file).items()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as a JSON object: {error}") from error


class _Reader:
    """A text of which a part is in memory.

    Raises:
        ValueError: it is not JSON, with the place in the file.
    """

    def __init__(self, file: TextIO):
        self._file, self._decode = file, json.JSONDecoder().raw_decode
        self._text, self._place, self._before = "", 0, 0

    def items(self) -> Iterator[tuple[str, Any]]:
        self._take("{")
        more = not self._takes("}")
        while more:
            key = self._value()
            if not isinstance(key, str):
                raise self._error("expected a key")
            self._take(":")
            if self._takes("["):
                yield from self._elements(key)
            else:
                yield key, self._value()
            more = self._takes(",")
            if not more:
                self._take("}")
        if self._next():
            raise self._error("expected the end")

    def _elements(self, key: str) -> Iterator[tuple[str, Any]]:
        more = not self._takes("]")
        while more:
            yield key, self._value()
            more = self._takes(",")
            if not more:
                self._take("]")

    def _value(self) -> Any:
        self._next()
        while True:
            try:
                value, end = self._decode(self._text, self._place)
            except ValueError:
                if not self._read():
                    raise self._error("expected a value") from None
                continue
            length = end - self._place
            # A number may go on behind what was read: "-2." is -2 and more.
            is_whole = not isinstance(value, int | float) or self._text[end : end + 1] in _ENDS
            if is_whole or not self._read():
                self._place += length
                return value

    def _take(self, character: str) -> None:
        if not self._takes(character):
            raise self._error(f"expected {character}")

    def _takes(self, character: str) -> bool:
        found = self._next() == character
        self._place += found
        return found

    def _next(self) -> str:
        """The next character that is no space; "" at the end."""
        while True:
            while self._place < len(self._text):
                if self._text[self._place] not in _SPACE:
                    return self._text[self._place]
                self._place += 1
            if not self._read():
                return ""

    def _read(self) -> bool:
        """Reads on, as much again as is waiting; whether there was anything."""
        self._before += self._place
        waiting = self._text[self._place :]
        more = self._file.read(max(_CHUNK, len(waiting)))
        self._text, self._place = waiting + more, 0
        return bool(more)

    def _error(self, what: str) -> ValueError:
        return ValueError(f"{what} at character {self._before + self._place}")
