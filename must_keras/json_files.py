"""JSON files: written whole, and read as the types that their values must have."""

import dataclasses
import functools
import json
import math
import os
import pathlib
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

from must_keras.errors import DataError, damaged, warn_once
from must_keras.files import is_regular, replacing, unreadable

# The largest JSON file, or line of one, that is read: 20,000 shards need 4 MB.
MAX_JSON_BYTES = 2**30
# The types of decoded JSON, as a message names them.
_NAMES = {
    dict: "an object", list: "a list", str: "a text", int: "a whole number", float: "a number",
    bool: "true or false", types.NoneType: "null",
}  # fmt: skip
# Characters of a value in a message.
_MAX_CHARACTERS = 60

Path = str | os.PathLike[str]
_Convert = Callable[[Any], Any]


class InvalidValueError(ValueError):
    """A JSON value that does not have the expected type.

    Attributes:
        key: place of the value in the file, "transfers[3].value"; "" for the whole file.
        value: the received one; None where the key is missing.

    Example:
        >>> str(InvalidValueError("is 'x', expected a number", value="x").at("step"))
        "its step is 'x', expected a number"
    """

    def __init__(self, problem: str, *, value: Any = None, missing: str = ""):
        super().__init__(problem)
        self.value, self._place, self._missing = value, "", missing

    @property
    def key(self) -> str:
        """Return the place of the value, with the key that is missing there."""
        return ".".join(filter(None, (self._place, self._missing)))

    def at(self, key: str | int) -> Self:
        """Return the same error, of a value that is at this key or index of another value."""
        own = f"[{key}]" if isinstance(key, int) else key
        dot = "." if self._place and not self._place.startswith("[") else ""
        self._place = f"{own}{dot}{self._place}"
        return self

    def __str__(self) -> str:
        """Return what is wrong, to follow the name of a file: "its step is 'x', expected ..."."""
        what = "value " if self._place.startswith("[") else ""
        return f"its {what}{self._place} {self.args[0]}" if self._place else f"it {self.args[0]}"


def from_json(value: Any, kind: Any) -> Any:
    """Return a decoded JSON value as an instance of a type.

    Numbers, texts, lists and objects are returned as they are; float accepts whole numbers, and
    only bool accepts true and false. Unknown keys of an object are ignored for a dataclass, and
    kept for a dictionary.

    Args:
        value: as `json` decodes it.
        kind: Any, bool, int, float, str, None, list, list[item], tuple[item, ...], tuple[a, b],
            dict, dict[str, item], a dataclass (a field with a default may be missing), a
            TypedDict, or a union of these, of which at most one may be an object and one a list.

    Raises:
        InvalidValueError: the value, or one inside, has another type, or a key is missing.

    Example:
        >>> from_json({"step": 3, "loss": None}, dict[str, int | None])
        {'step': 3, 'loss': None}
    """
    options = _options(kind)
    for accepted, convert in options:
        if type(value) in accepted:
            return value if convert is None else convert(value)
    names = " or ".join(_NAMES[accepted[0]] for accepted, _ in options)
    raise InvalidValueError(f"is {short(value)}, expected {names}", value=value)


def read_json(path: Path, kind: Any, *, remedy: str) -> Any:
    """Return the content of a JSON file that must_keras wrote, as an instance of a type.

    Args:
        path: of the file.
        kind: see `from_json`.
        remedy: what the user can do where the file is damaged, an imperative without full stop.

    Raises:
        DataError: the file is missing or damaged; has `path`, `key` and `value`.
        UserError: the file cannot be opened.

    Example:
        @dataclasses.dataclass(frozen=True)
        class Position:
            step: int
            loss: float | None = None

        read_json("position.json", Position, remedy="train it again").step
    """
    value = find_json(path, kind, remedy=remedy)
    if value is None:
        raise damaged(path, "it is missing", remedy=remedy)
    return value


def find_json(path: Path, kind: Any, *, remedy: str) -> Any | None:
    """Return the same as `read_json`; None where there is no such file.

    Raises:
        DataError, UserError: see `read_json`.
    """
    if not is_regular(path, remedy=remedy):
        return None
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_JSON_BYTES:
                raise ValueError(f"it has {size} bytes, expected at most {MAX_JSON_BYTES}")
            return _decode(file.read(), kind, whole=True)
    except OSError as error:
        raise unreadable(path, error, remedy=remedy) from None
    except ValueError as error:
        raise _damaged(path, error, remedy) from None


def json_lines(path: Path, kind: Any, *, remedy: str) -> Iterator[Any]:
    """Yield the values of a file of JSON lines that was written as a whole.

    Args:
        path: of the file; a missing file has no lines.
        kind: of each line, see `from_json`.
        remedy: see `read_json`.

    Raises:
        DataError: a line is damaged; the message contains its number.
        UserError: the file cannot be opened.
    """
    for number, value in _lines(path, kind, remedy):
        if isinstance(value, ValueError):
            raise _damaged(path, value, remedy, line=number)
        yield value


def appended_lines(path: Path, kind: Any, *, remedy: str) -> Iterator[Any]:
    """Yield the values of a file to which JSON lines are appended one by one.

    A last line that a loss of power cut off is skipped with a warning.

    Raises:
        DataError: another line than the last is damaged.
        UserError: the file cannot be opened.
    """
    torn: tuple[int, ValueError] | None = None
    for number, value in _lines(path, kind, remedy):
        if torn is not None:
            raise _damaged(path, torn[1], f"delete that line, or {remedy}", line=torn[0])
        if isinstance(value, ValueError):
            torn = (number, value)
        else:
            yield value
    if torn is not None:
        warn_once(f"{path}: the last line, {torn[0]}, is damaged and skipped: {torn[1]}")


def write_json(path: Path, value: Any) -> None:
    """Write plain data as JSON, in the order of its keys; the file has its name only when whole.

    Raises:
        ValueError: a number is not finite. The previous file stays.
    """
    path = pathlib.Path(path)
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        # Piece by piece: lists of files are long.
        json.dump(value, file, indent=2, allow_nan=False, ensure_ascii=False)
        file.write("\n")


def write_json_lines(path: Path, values: Iterable[Any]) -> None:
    """Write plain data as JSON, a value a line; the file has its name only when whole."""
    with replacing(pathlib.Path(path)) as temporary, open(temporary, "w", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(value)}\n" for value in values)


def short(value: Any) -> str:
    """Return a value for a message, at most 60 characters."""
    text = repr(value)
    return text if len(text) <= _MAX_CHARACTERS else f"{text[: _MAX_CHARACTERS - 4]} ..."


@functools.cache
def _options(kind: Any) -> list[tuple[tuple[type, ...], _Convert | None]]:
    """Return (types of JSON values, how one is converted) of each option of a type."""
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return [option for one in inner for option in _options(one)]
    if kind in (Any, object):
        return [(tuple(_NAMES), None)]
    if kind is float:
        return [((float, int), None)]
    if dataclasses.is_dataclass(kind):
        fields = dataclasses.fields(kind)
        nothing = dataclasses.MISSING
        needed = [f.name for f in fields if f.default is f.default_factory is nothing]
        return [((dict,), functools.partial(_object, _hints(kind), needed, kind))]
    if typing.is_typeddict(kind):
        hints = _hints(kind)
        needed = [key for key in hints if key in kind.__required_keys__]
        return [((dict,), functools.partial(_object, hints, needed, None))]
    if origin in (dict, Mapping) and inner:
        return [((dict,), functools.partial(_values, inner[1]))]
    if origin in (list, tuple) and inner:
        if origin is tuple and inner[-1] is not Ellipsis:
            return [((list,), functools.partial(_tuple, inner))]
        return [((list,), functools.partial(_items, origin, inner[0]))]
    return [((types.NoneType if kind is None else kind,), None)]


def _hints(kind: type) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    if dataclasses.is_dataclass(kind):
        return {field.name: hints[field.name] for field in dataclasses.fields(kind)}
    return hints


def _object(
    hints: Mapping[str, Any], needed: list[str], build: type | None, value: dict[str, Any]
) -> Any:
    missing = next((key for key in needed if key not in value), None)
    if missing is not None:
        problem = f"has no {missing!r}; expected are {', '.join(hints)}"
        raise InvalidValueError(problem, missing=missing)
    found = {key: _at(key, value[key], kind) for key, kind in hints.items() if key in value}
    return value | found if build is None else build(**found)


def _values(kind: Any, value: dict[str, Any]) -> dict[str, Any]:
    return {key: _at(key, item, kind) for key, item in value.items()}


def _items(build: type, kind: Any, value: list[Any]) -> Any:
    return build(_at(i, item, kind) for i, item in enumerate(value))


def _tuple(kinds: tuple[Any, ...], value: list[Any]) -> tuple[Any, ...]:
    if len(value) != len(kinds):
        problem = f"is {short(value)}, expected a list of {len(kinds)} values"
        raise InvalidValueError(problem, value=value)
    return tuple(_at(i, value[i], kind) for i, kind in enumerate(kinds))


def _at(key: str | int, value: Any, kind: Any) -> Any:
    try:
        return from_json(value, kind)
    except InvalidValueError as error:
        raise error.at(key) from None


def _damaged(path: Path, error: ValueError, remedy: str, line: int | None = None) -> DataError:
    """Return the error for a file, or a line of it, that cannot be decoded."""
    what = str(error) if line is None else f"line {line}: {error}"
    if isinstance(error, InvalidValueError):
        return damaged(path, what, key=error.key, value=error.value, remedy=remedy)
    return damaged(path, what, remedy=remedy)


def _lines(path: Path, kind: Any, remedy: str) -> Iterator[tuple[int, Any]]:
    """Yield (number, value) of each line that is not blank; the value is an error where damaged."""
    if not is_regular(path, remedy=remedy):
        return
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    try:
                        value = _decode(line, kind, whole=False)
                    except ValueError as error:
                        value = error
                    yield number, value
    except OSError as error:
        raise unreadable(path, error, remedy=remedy) from None


def _decode(data: bytes, kind: Any, *, whole: bool) -> Any:
    """Return the value of JSON text.

    Raises:
        ValueError: what is wrong with it, in one line.
    """
    if not data.strip():
        raise ValueError("it is empty")
    try:
        value = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"it is no UTF-8 text (byte {error.start})") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}" if whole else f"column {error.colno}"
        raise ValueError(f"it is no JSON at {place}: {error.msg}") from None
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None
    return from_json(value, kind)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"it has the number {text}, which is not finite")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"it has the key {short(twice)} twice")
    return found


# One for all lines: making a decoder takes longer than decoding a line.
_DECODER = json.JSONDecoder(parse_constant=_finite, parse_float=_finite, object_pairs_hook=_unique)
