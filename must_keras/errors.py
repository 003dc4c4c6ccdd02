"""What may go wrong on the user's side."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any

# Keras puts the cause behind these words, at the end of a message with the layer's whole config.
_CAUSE = "Exception encountered:"
# Characters of a library's message.
_LONGEST = 300


class UserError(Exception):
    """A user's mistake: one clear line that says what is wrong, where, and what is allowed.

    `main` prints it without a traceback and exits with status 2.
    """


class DataError(Exception):
    """Data that failed a check, in one clear line; `main` exits with status 3."""


def damaged(path: object, what: str, *, remedy: str) -> DataError:
    """Return the error for a file of ours that does not contain what was written to it.

    Args:
        path: of the file.
        what: is wrong with it.
        remedy: what the user can do, as an imperative sentence without its full stop.
    """
    return DataError(f"{path} is damaged: {what}; {remedy}")


def reason(error: BaseException) -> str:
    """Return one line of at most 300 characters on why a library failed.

    Keras' messages have many lines, with the cause in the last paragraph or below a first line
    that ends with a colon.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if not lines:
        return type(error).__name__
    causes = [line.partition(_CAUSE)[2].strip() for line in lines if _CAUSE in line]
    if any(causes):
        line = next(cause for cause in reversed(causes) if cause)
    else:
        line = " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 4]} ..."


def check_classes(where: str, classes: Any) -> None:
    """Raises UserError where names of classes are not a tuple of words."""
    if isinstance(classes, str) or not isinstance(classes, tuple | list):
        raise UserError(
            f'{where}: classes={classes!r}: expected a tuple of names; with one name: ("cat",)'
        )
    odd = [name for name in classes if not isinstance(name, str) or not name.strip()]
    if odd:
        raise UserError(f"{where}: classes hold {odd[0]!r}: each class needs a name, a text")


_WORDS = {Integral: "whole number", Real: "number", types.NoneType: "None"}


def _word(kind: Any) -> str:
    """A kind of values in an error: "Source", "number or None"."""
    options = typing.get_args(kind)
    if options:
        return " or ".join(map(_word, options))
    return _WORDS.get(kind) or getattr(kind, "__name__", str(kind))


def expect(where: str, value: Any, **kinds: type) -> None:
    """Raises UserError where a field of a value is not of its kind."""
    for field, kind in kinds.items():
        found = getattr(value, field)
        if not isinstance(found, kind):
            name = type(found).__name__
            raise UserError(f"{where}: {field} is a {name}, expected a {_word(kind)}")


def expect_each(where: str, value: Any, **kinds: type) -> None:
    """Raises UserError where a field of a value is not a sequence of its kind."""
    for field, kind in kinds.items():
        found = getattr(value, field)
        name = _word(kind)
        if not isinstance(found, tuple | list):
            raise UserError(f"{where}: {field} is no tuple; with one {name}: (one,)")
        for item in found:
            if not isinstance(item, kind):
                raise UserError(f"{where}: {field} hold a {type(item).__name__}, expected {name}")


def listed(names: Sequence[str], count: int | None = None, *, limit: int = 3) -> str:
    """Return the first of some names, and how many more there are.

    Args:
        names: the first ones, or all.
        count: of all names, where `names` has not all.
        limit: number of names that are listed.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    more = (len(names) if count is None else count) - min(len(names), limit)
    return ", ".join(names[:limit]) + (f" and {more} more" if more else "")
