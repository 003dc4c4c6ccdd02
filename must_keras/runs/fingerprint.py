"""Fingerprints: the inputs of an artifact as plain data, and where two of them differ, in words."""

import dataclasses
import enum
import math
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from must_keras.errors import listed

# Characters of a value in a message.
_LONGEST = 80
# Digests of contents as sources, models and checkpoints describe themselves.
_DIGEST = re.compile(r"\b(?:[0-9a-f]{64}|[0-9a-f]{16})\b")
# What a digest is taken of, by its key.
_CONTENT = {
    "files": "the list of image files",
    "images": "the image files",
    "annotations": "the annotations",
    "csv": "the labels",
    "labels": "the labels",
    "maps": "the label maps",
    "results": "the results file",
    "indices": "the choice of images",
    "model": "the model",
    "path": "the checkpoint file",
    "sha256": "the file",
    "teacher_sha256": "the weights of the teacher",
    "model_sha256": "the weights that it starts from",
}

# Whole numbers under these keys say how this code, or that of a source, reads and computes.
_VERSIONS = ("version", "bits_version", "tiff")


def describe(value: Any, *, whole: bool = False) -> Any:
    """Return a value as plain JSON data.

    Dataclasses become dictionaries with their type; an object with a method `describe()` becomes
    what that returns, which is what results depend on.

    Args:
        value: None, numbers, text, paths, enums, arrays of one number, functions, dataclasses,
            objects with `describe()`, and mappings and sequences of these.
        whole: whether dataclasses keep the fields that their `describe()` leaves out.

    Raises:
        TypeError: a value is none of these.

    Example:
        >>> describe({"steps": 3, "shots": (1, None)})
        {'steps': 3, 'shots': [1, None]}
    """

    def inner(one: Any) -> Any:
        return describe(one, whole=whole)

    described = hasattr(value, "describe")
    if described and not (whole and dataclasses.is_dataclass(value)):
        return inner(value.describe())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: inner(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return (
            {"type": type(value).__name__} | fields | inner(value.describe() if described else {})
        )
    if isinstance(value, Mapping):
        return {str(k): inner(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [inner(v) for v in value]
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if callable(value):
        return getattr(value, "__qualname__", type(value).__name__)
    if hasattr(value, "item"):
        return inner(value.item())
    if isinstance(value, pathlib.Path):
        return str(value)
    raise TypeError(f"cannot describe {type(value).__name__}")


class _Place(NamedTuple):
    """Where two values differ: the path to it, the innermost name on the path, and both values."""

    path: str
    name: str | None
    was: Any
    now: Any

    @property
    def key(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]


def first_difference(was: Any, now: Any) -> tuple[str, Any, Any] | None:
    """Return (field, what it was, what it is) of plain data; None where both are the same."""
    found = _first(was, now, "", None)
    return None if found is None else (found.path, found.was, found.now)


def in_words(was: Any, now: Any) -> str | None:
    """Return what changed, to follow "<artifact> was made "; None where nothing did.

    A digest of contents is nothing that a person can compare: the source and its part that changed
    are named instead.

    Args:
        was: the inputs of an artifact as plain data.
        now: the inputs that are asked for.

    Example:
        >>> in_words({"steps": 3}, {"steps": 4})
        'with steps = 3, the recipe now has 4'
        >>> was, now = ({"pool": {"name": "photos", "files": n * 16}} for n in ("0", "1"))
        >>> in_words(was, now)
        "before the list of image files of 'photos' changed"
    """
    found = _first(was, now, "", None)
    if found is None:
        return None
    if found.path.startswith("left_out"):
        return _copies(was.get("left_out") or {}, now.get("left_out") or {})
    if _is_digest(found.was) and _is_digest(found.now):
        return f"before {_content(found)} changed"
    if found.was is None and _is_digest(found.now):
        return f"without {found.path}"
    if found.now is None and _is_digest(found.was):
        return f"with {found.path}, which the recipe no longer has"
    if found.key in _VERSIONS and isinstance(found.was if found.now is None else found.now, int):
        return f"by another version of the code ({found.path} = {found.was}, now {found.now})"
    names = _names(found.was), _names(found.now)
    if None not in names and set(names[0]) != set(names[1]):
        return _members(found.path, *names)
    return f"with {found.path} = {_short(found.was)}, the recipe now has {_short(found.now)}"


def _first(was: Any, now: Any, path: str, name: str | None) -> _Place | None:
    if isinstance(was, dict) and isinstance(now, dict):
        own = now.get("name")
        name = own if isinstance(own, str) else name
        # Two things of different names are not one thing that changed.
        for key in sorted(was.keys() | now.keys(), key=lambda key: (key != "name", key)):
            below = f"{path}.{key}" if path else key
            found = _first(was.get(key), now.get(key), below, name)
            if found:
                return found
        return None
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for index, (a, b) in enumerate(zip(was, now, strict=True)):
            found = _first(a, b, f"{path}[{index}]", name)
            if found:
                return found
        return None
    return None if was == now else _Place(path, name, was, now)


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and _DIGEST.fullmatch(value) is not None


def _content(place: _Place) -> str:
    if place.path.startswith("columns."):
        return f"the teacher's weights of the labels {place.path.removeprefix('columns.')}"
    what = _CONTENT.get(place.key)
    if what is None:
        return f"the content of {place.path}"
    return f"{what} ({place.path})" if place.name is None else f"{what} of {place.name!r}"


def _names(value: Any) -> list[str] | None:
    """Return the names of a list of things that have one; None of anything else."""
    if not isinstance(value, list):
        return None
    found = [item.get("name") if isinstance(item, dict) else None for item in value]
    return found if all(isinstance(name, str) for name in found) else None


def _members(path: str, was: list[str], now: list[str]) -> str:
    added = [name for name in now if name not in was]
    gone = [name for name in was if name not in now]
    told = [f"without {', '.join(added)}"] if added else []
    told += [f"with {', '.join(gone)}, which the recipe no longer has"] if gone else []
    return f"{' and '.join(told)} (in {path})"


def _copies(was: Mapping[str, list[str]], now: Mapping[str, list[str]]) -> str:
    """Name images that a comparison with the test splits has found, or no longer finds."""
    for verb, some, others in (("with", now, was), ("without", was, now)):
        for source, ids in some.items():
            known = set(others.get(source, ()))
            odd = [image_id for image_id in ids if image_id not in known]
            if odd:
                images, are = ("image", "is") if len(odd) == 1 else ("images", "are")
                now_found = f"{are} {'now' if verb == 'with' else 'no longer'} found"
                found = f"{len(odd)} {images} of {source} ({listed(odd)})"
                return f"{verb} {found} that {now_found} in a test split"
    return "with another order of the images that are left out"


def _short(value: Any) -> str:
    text = _DIGEST.sub("...", str(value))
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 4]} ..."
