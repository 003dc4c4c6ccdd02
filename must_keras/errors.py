"""What may go wrong on the user's side."""

from __future__ import annotations

from typing import Any


class UserError(Exception):
    """A user's mistake: one clear line that says what is wrong, where, and what is allowed.

    `main` prints it without a traceback and exits with status 2.
    """


class DataError(Exception):
    """Data that failed a check, in one clear line; `main` exits with status 3."""


def expect(where: str, value: Any, **kinds: type) -> None:
    """Raises UserError where a field of a value is not of its kind."""
    for field, kind in kinds.items():
        found = getattr(value, field)
        if not isinstance(found, kind):
            name = getattr(kind, "__name__", str(kind))
            raise UserError(f"{where}: {field} is a {type(found).__name__}, expected a {name}")


def expect_each(where: str, value: Any, **kinds: type) -> None:
    """Raises UserError where a field of a value is not a sequence of its kind."""
    for field, kind in kinds.items():
        found = getattr(value, field)
        name = getattr(kind, "__name__", str(kind))
        if not isinstance(found, tuple | list):
            raise UserError(f"{where}: {field} is no tuple; with one {name}: (one,)")
        for item in found:
            if not isinstance(item, kind):
                raise UserError(f"{where}: {field} hold a {type(item).__name__}, expected {name}")
