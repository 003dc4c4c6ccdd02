"""Errors of the user's side, with the facts of their messages as fields; and warnings."""

import difflib
import functools
import json
import os
import pathlib
import types
import typing
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any, Self

from must_keras.log import LOG

# Keras puts the cause behind these words, at the end of a message with the layer's whole config.
_CAUSE = "Exception encountered:"
# Characters of a library's message.
_MAX_CHARACTERS = 300
_WORDS = {Integral: "whole number", Real: "number", types.NoneType: "None"}

Path = str | os.PathLike[str]


class _LocatedError(Exception):
    """An error with the facts of its message.

    Args:
        message: one clear line: what failed, where, the value received, what is allowed, what to
            do next. It names arguments as Python has them, stage="label" (see `argument`) or
            `workdir`; a command line prints the flags of these names: see `command.as_flags`.

    Attributes:
        path: of the file that the error is about, or None.
        key: the argument, field, key of a file or name that is wrong, or None.
        value: the value received, or None.
        allowed: the allowed values where they can be listed, else ().
        remedy: what to do next, or None.
    """

    def __init__(
        self,
        message: str = "",
        *,
        path: Path | None = None,
        key: str | None = None,
        value: Any = None,
        allowed: Iterable[Any] = (),
        remedy: str | None = None,
    ):
        super().__init__(message)
        self.path = None if path is None else pathlib.Path(path)
        self.key, self.value, self.allowed, self.remedy = key, value, tuple(allowed), remedy

    @classmethod
    def at(cls, path: Path, problem: str, **fields: Any) -> Self:
        """Return the error for a file: its path, then the problem.

        Args:
            path: of the file.
            problem: "is empty", or, beginning with a comma or a colon, ": line 3 is empty".
            fields: further ones of the error: key, value, remedy, ...

        Example:
            >>> str(UserError.at("a.csv", "is empty"))
            'a.csv is empty'
        """
        space = "" if problem[0] in ",:;" else " "
        return cls(f"{path}{space}{problem}", path=path, **fields)

    @classmethod
    def of(cls, where: str, key: str, value: Any, problem: str, **fields: Any) -> Self:
        """Return the error for an argument: what has it, its name and value, then the problem.

        Args:
            where: what has the argument, "the network"; "" for nothing.
            key: name of the argument.
            value: the value received.
            problem: "expected at least 1".
            fields: further ones of the error: path, allowed, remedy.

        Example:
            >>> str(UserError.of("the network", "size", 0, "expected at least 1"))
            'the network: size=0: expected at least 1'
        """
        shown = str(value) if isinstance(value, os.PathLike) else repr(value)
        start = f"{where}: " if where else ""
        return cls(f"{start}{key}={shown}: {problem}", key=key, value=value, **fields)


class UserError(_LocatedError):
    """A user's mistake; `command` prints its message alone and exits with status 2.

    Example:
        error = mk.UserError.of("the network", "size", 0, "expected at least 1")
        str(error), error.key  # ("the network: size=0: expected at least 1", "size")
    """


class DataError(_LocatedError):
    """Data that failed a check; `command` prints its message alone and exits with status 3.

    Example:
        mk.DataError.at("a.csv", ": line 3 is empty").path.name  # "a.csv"
    """


def damaged(
    path: Path, what: str, *, remedy: str, key: str | None = None, value: Any = None
) -> DataError:
    """Return the error for a file of must_keras that does not contain what was written to it.

    Args:
        path: of the file.
        what: is wrong with it.
        remedy: what the user can do, as an imperative sentence without its full stop.
        key: place of the wrong value in the file.
        value: the wrong value.
    """
    problem = f"is damaged: {what}; {remedy}"
    return DataError.at(path, problem, key=key, value=value, remedy=remedy)


def not_allowed(what: str, value: object, allowed: Iterable[object], **fields: Any) -> UserError:
    """Return the error for a value that is not one of the allowed ones.

    Args:
        what: the start of the message.
        value: the value received.
        allowed: the allowed ones.
        fields: further ones of the error: path, key.

    Example:
        >>> str(not_allowed("unknown stage 'al'", "al", ["all", "report"], key="stage"))
        "unknown stage 'al'; did you mean 'all'? allowed are all, report"
    """
    allowed = list(allowed)
    message = f"{what}; {nearest(value, list(map(str, allowed)))}"
    return UserError(message, value=value, allowed=allowed, **fields)


def argument(name: str, value: Path) -> str:
    """Return an argument of a run as messages state it, which a command line prints as a flag.

    Args:
        name: of the argument.
        value: a text or a path.

    Example:
        >>> argument("stage", "label")
        'stage="label"'
    """
    return f"{name}={json.dumps(os.fspath(value), ensure_ascii=False)}"


def nearest(word: object, allowed: Sequence[str]) -> str:
    """Return the end of a message: the nearest allowed word, if one is near, and all of them."""
    close = difflib.get_close_matches(str(word), allowed, n=1)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}allowed are {', '.join(allowed)}"


def warn(message: str) -> None:
    """Print a warning to stderr."""
    LOG.warning(f"warning: {message}")


@functools.lru_cache(maxsize=1024)
def warn_once(message: str) -> None:
    """Print a warning to stderr, only once in a process."""
    warn(message)


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
    return line if len(line) <= _MAX_CHARACTERS else f"{line[: _MAX_CHARACTERS - 4]} ..."


def check_classes(where: str, classes: Any) -> None:
    """Raise UserError where names of classes are not a tuple of texts."""
    if isinstance(classes, str) or not isinstance(classes, tuple | list):
        problem = 'expected a tuple of names; with one name: ("cat",)'
        raise UserError.of(where, "classes", classes, problem)
    for name in classes:
        if not isinstance(name, str) or not name.strip():
            message = f"{where}: classes contain {name!r}: each class needs a name, a text"
            raise UserError(message, key="classes", value=name)


def _word(kind: Any) -> str:
    """Return a type as a message names it: "Source", "number or None"."""
    options = typing.get_args(kind)
    if options:
        return " or ".join(map(_word, options))
    return _WORDS.get(kind) or getattr(kind, "__name__", str(kind))


def _with_article(word: str) -> str:
    return f"{'an' if word[0] in 'AEIOUaeiou' else 'a'} {word}"


def expect(where: str, value: Any, **kinds: Any) -> None:
    """Raise UserError where a field of an object does not have its type."""
    for field, kind in kinds.items():
        found = getattr(value, field)
        if not isinstance(found, kind):
            given, expected = _with_article(type(found).__name__), _with_article(_word(kind))
            message = f"{where}: {field} is {given}, expected {expected}"
            raise UserError(message, key=field, value=found)


def expect_each(where: str, value: Any, **kinds: Any) -> None:
    """Raise UserError where a field of an object is not a sequence of its type."""
    for field, kind in kinds.items():
        found, name = getattr(value, field), _word(kind)
        if not isinstance(found, tuple | list):
            message = f"{where}: {field} is no tuple; with one {name}: (one,)"
            raise UserError(message, key=field, value=found)
        for item in found:
            if not isinstance(item, kind):
                given = _with_article(type(item).__name__)
                message = f"{where}: {field} contain {given}, expected {_with_article(name)}"
                raise UserError(message, key=field, value=item)


def listed(names: Sequence[str], count: int | None = None, *, limit: int = 3) -> str:
    """Return the first names of a list, and how many more there are.

    Args:
        names: the first ones, or all.
        count: of all names, where `names` does not contain all.
        limit: number of names that are listed.

    Example:
        >>> listed(["a", "b", "c", "d", "e"])
        'a, b, c and 2 more'
    """
    more = (len(names) if count is None else count) - min(len(names), limit)
    return ", ".join(names[:limit]) + (f" and {more} more" if more else "")
