"""Arguments of a recipe that are given as Python values: their types, and how they are written."""

import contextlib
import inspect
import os
import pathlib
import types
import typing
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from must_keras.errors import UserError

# {type of an argument: Python values that it is made of}.
_ACCEPTED = {
    bool: bool,
    int: Integral,
    float: Real,
    str: (str, os.PathLike),
    pathlib.Path: (str, os.PathLike),
    types.NoneType: types.NoneType,
}


def as_text(values: Mapping[str, Any]) -> dict[str, str]:
    """Return Python values as the command line writes them, which is what names a default workdir.

    Raises:
        UserError: a value is an object that cannot be written there.

    Example:
        >>> as_text({"seed": 1, "starts": ("random", "student"), "limit": None, "big": True})
        {'seed': '1', 'starts': 'random+student', 'limit': 'none', 'big': 'true'}
    """
    return {key: _text(key, value) for key, value in values.items()}


def _text(key: str, value: Any) -> str:
    if isinstance(value, list | tuple):
        return "+".join(_text(key, item) for item in value)
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Real | str | os.PathLike):
        return str(value)
    problem = "it cannot be part of a folder's name: give the workdir"
    raise UserError.of("", key, value, problem)


def checked(recipe: str, key: str, value: Any, parameter: inspect.Parameter) -> Any:
    """Return the value of an argument as its annotated type: a list as a tuple, a path as text.

    Args:
        recipe: its name, for the message.
        key: name of the argument.
        value: the value received.
        parameter: of the recipe's function; a type that is not a plain one is not compared.

    Raises:
        UserError: the value is of another type; has the argument as `key`.
    """
    if parameter.annotation is parameter.empty:
        return value
    try:
        return _any_of(parameter.annotation, value)
    except TypeError:
        expected = " or ".join(map(_word, _options(parameter.annotation)))
        raise UserError.of(f"recipe {recipe}", key, value, f"expected {expected}") from None


def _options(annotation: Any) -> tuple[Any, ...]:
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _as(kind: Any, value: Any) -> Any:
    """Return a value as a plain type; as it is, where the type is not one of these.

    Raises:
        TypeError: it is of another type.
    """
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    fits = True
    if origin is typing.Literal:
        fits = value in inner
    elif origin in (tuple, list, Sequence):
        fits = isinstance(value, list | tuple)
        if fits:
            items = [_any_of(inner[0], item) if inner else item for item in value]
            return items if origin is list else tuple(items)
    elif kind in _ACCEPTED:
        fits = isinstance(value, _ACCEPTED[kind]) and (kind is bool or not isinstance(value, bool))
        if fits and value is not None:
            return kind(value)
    if not fits:
        raise TypeError
    return value


def _any_of(annotation: Any, value: Any) -> Any:
    for option in _options(annotation):
        with contextlib.suppress(TypeError):
            return _as(option, value)
    raise TypeError


def _word(kind: Any) -> str:
    """Return a type as a message names it."""
    if typing.get_origin(kind) is typing.Literal:
        return " or ".join(map(repr, typing.get_args(kind)))
    if kind is types.NoneType:
        return "None"
    return kind.__name__ if typing.get_origin(kind) is None else str(kind)
