"""What a user states about folders: `garden/depth:unit=millimeters`."""

import fractions
import os
import pathlib
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from must_keras.errors import Path, UserError, nearest, not_allowed

# Meters per count.
UNITS = {"millimeters": 0.001, "centimeters": 0.01, "meters": 1.0}
_KINDS = ("classes", "map", "depth", "normals", "images", "skip")
_ALLOWED: Mapping[str, tuple[str, ...]] = {
    "kind": _KINDS,
    "axes": ("camera", "opengl", "directx"),
    "use": ("teacher", "transfer"),
}
_KEYS = (*_ALLOWED, "unit", "class", "split")
_ANSWER = re.compile(r"(?P<path>.+):(?P<pairs>\w+=[^:]*)\Z", re.DOTALL)
# A name that TFDS may know.
TFDS = "tfds:"


class Question(NamedTuple):
    """What files alone do not tell, and the arguments that answer it.

    Attributes:
        path: of the folder or file.
        text: what is not clear, a sentence without its full stop.
        key: what is to be stated: "unit"; "" where only other files help.
        values: that it may have, the likeliest first.

    Example:
        Question(pathlib.Path("depth"), "the unit is not known", "unit", ("millimeters",))
    """

    path: pathlib.Path
    text: str
    key: str = ""
    values: tuple[str, ...] = ()

    @property
    def answers(self) -> tuple[str, ...]:
        """The arguments that answer it."""
        return tuple(f"{self.path}:{self.key}={value}" for value in self.values)

    def __str__(self) -> str:
        if not self.values:
            return f"{self.path}: {self.text}"
        others = f" (or {', '.join(self.values[1:])})" if self.values[1:] else ""
        return f"{self.path}: {self.text}; add the argument {self.answers[0]!r}{others}"


class Answers:
    """Statements of a user about folders and files; each holds for all that lies below.

    Args:
        given: {path: {key: value}}.

    Example:
        answers = Answers({pathlib.Path("garden"): {"unit": "millimeters"}})
        answers.of(pathlib.Path("garden/depth"), "unit")  # "millimeters"
    """

    def __init__(self, given: Mapping[pathlib.Path, Mapping[str, str]]):
        # Links are folders of their own: as a person names them.
        self._given = {_absolute(path): dict(pairs) for path, pairs in given.items()}
        self._unused = {(path, key) for path, pairs in self._given.items() for key in pairs}

    def of(self, path: pathlib.Path, key: str) -> str | None:
        """Return the statement about a path, or about the nearest folder above it, or None."""
        path = _absolute(path)
        for place in (path, *path.parents):
            found = self.at(place, key)
            if found is not None:
                return found
        return None

    def at(self, path: pathlib.Path, key: str) -> str | None:
        """Return the statement about exactly this path, or None."""
        place = _absolute(path)
        found = self._given.get(place, {}).get(key)
        if found is not None:
            self._unused.discard((place, key))
        return found

    def depth_scale(self, path: pathlib.Path) -> float | None:
        """Return the stated unit of depths in meters per count, or None."""
        unit = self.of(path, "unit")
        return None if unit is None else UNITS.get(unit) or float(fractions.Fraction(unit))

    def check_used(self) -> None:
        """Raise UserError where a statement is about nothing that was found."""
        for path, key in sorted(self._unused):
            raise UserError(
                f"{path}:{key}={self._given[path][key]} answers no question: nothing there has its "
                f"{key} to be stated; name the folder or file that is meant, or leave it out"
            )


class Request(NamedTuple):
    """The arguments of an inspection.

    Attributes:
        roots: folders to inspect, none within another.
        tfds: names of TensorFlow datasets.
        answers: what is stated about them.

    Example:
        Request.of(["garden", "garden/depth:unit=millimeters", "tfds:eurosat"])
    """

    roots: tuple[pathlib.Path, ...]
    tfds: tuple[str, ...]
    answers: Answers

    @classmethod
    def of(cls, data: Iterable[Path]) -> "Request":
        """Return the request of arguments: folders, `tfds:<name>`, and `<path>:<key>=<value>,...`.

        Raises:
            UserError: there is no such folder, or a key or a value is not one of the allowed.
        """
        roots: list[pathlib.Path] = []
        names: list[str] = []
        given: dict[pathlib.Path, dict[str, str]] = {}
        for argument in data:
            text = os.fspath(argument)
            answer = None if pathlib.Path(text).exists() else _ANSWER.fullmatch(text)
            place = text if answer is None else answer["path"]
            if place.startswith(TFDS):
                names.append(place.removeprefix(TFDS))
            path = pathlib.Path(place)
            if answer is not None:
                given.setdefault(path, {}).update(_pairs(text, answer["pairs"]))
            if not place.startswith(TFDS):
                _check_exists(path, is_answer=answer is not None)
                roots.append(path)
        folders = [path for path in dict.fromkeys(roots) if path.is_dir()]
        outer = [path for path in folders if not _is_within(path, folders)]
        for path in roots:
            if not path.is_dir() and not _is_within(path, outer):
                raise UserError.at(path, "is a file, expected a folder, which holds images too")
        if not outer and not names:
            raise UserError("expected at least one folder of images, or tfds:<name>")
        return cls(tuple(outer), tuple(dict.fromkeys(names)), Answers(given))


def _is_within(path: pathlib.Path, folders: Iterable[pathlib.Path]) -> bool:
    above = _absolute(path).parents
    return any(_absolute(folder) in above for folder in folders)


def _absolute(path: pathlib.Path) -> pathlib.Path:
    return pathlib.Path(os.path.abspath(path))


def _check_exists(path: pathlib.Path, *, is_answer: bool) -> None:
    if path.exists():
        return
    known = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
    hint = f"; {nearest(path.name, known)}" if 0 < len(known) <= 20 else ""
    what = "folder or file" if is_answer else "folder"
    raise UserError(f"there is no {what} {path}{hint}", path=path)


def _pairs(argument: str, text: str) -> dict[str, str]:
    found = {}
    for pair in text.split(","):
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or key not in _KEYS:
            raise not_allowed(f"{argument}: unknown key {key!r}", key, _KEYS)
        if value not in _ALLOWED.get(key, (value,)):
            raise not_allowed(f"{argument}: {key}={value}", value, _ALLOWED[key])
        if key == "unit":
            _check_unit(argument, value)
        found[key] = value
    return found


def _check_unit(argument: str, value: str) -> None:
    try:
        is_scale = value in UNITS or fractions.Fraction(value) > 0
    except (ValueError, ZeroDivisionError):
        is_scale = False
    if not is_scale:
        allowed = (*UNITS, "meters per count, such as 1/5000 or 0.001")
        raise not_allowed(f"{argument}: unit={value}", value, allowed)
