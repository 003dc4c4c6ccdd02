"""What a source is: images by number, and the true labels of some heads."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.data import names
from must_keras.data.stored import Stored
from must_keras.errors import UserError, listed
from must_keras.experiment import nearest
from must_keras.tasks.base import Task


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """What the labels of a head mean.

    Attributes:
        kind: as `Task.kind`: "classes", "boxes", "map", "metric", "relative_inverse", "normals".
        classes: names in the order of the indices; empty where there are none.
    """

    kind: str
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: Task) -> LabelSpace:
        """The label space that a task is bound to."""
        return cls(task.kind, tuple(getattr(task, "classes", ())))

    def difference(self, other: LabelSpace) -> str | None:
        """What differs, for the end of a sentence about "this" and "the other"; None if nothing."""
        if self.kind != other.kind:
            return f"its labels are {self.kind!r}, the other's {other.kind!r}"
        if tuple(map(names.as_read, self.classes)) == tuple(map(names.as_read, other.classes)):
            return None
        counts = f"it has {len(self.classes)} classes, the other {len(other.classes)}"
        odd = sorted(set(self.classes) ^ set(other.classes))
        if not odd:
            return f"{counts}; their order differs"
        return f"{counts}; not in both: {listed(odd, limit=5)}"


class LabelSpaces(dict[str, LabelSpace]):
    """{head: label space} of one source, in which an unknown head is a user's error.

    Args:
        name: of the source.
        found: the label spaces.
    """

    def __init__(self, name: str, found: Mapping[str, LabelSpace]):
        super().__init__(found)
        self._name = name

    def __missing__(self, head: str) -> LabelSpace:
        raise UserError(self.unknown(head))

    def unknown(self, head: str) -> str:
        """Return what is wrong where a head is asked for that the source does not label."""
        heads = ", ".join(self) or "no head"
        text = f"source {self._name!r} labels {heads}, not {head!r}"
        return f"{text}; {nearest(head, tuple(self))}" if self else text


def spaces(head: str | None, space: LabelSpace) -> dict[str, LabelSpace]:
    """The label spaces of a source whose labels serve one head, or (None) no head."""
    if head is not None and not isinstance(head, str):
        raise UserError(f"head={head!r}: expected the name of a head, or None")
    return {} if head is None else {head: space}


def without_keys(description: Any, keys: Sequence[str]) -> Any:
    """A source's description without some of its entries, at any depth."""
    if isinstance(description, dict):
        return {k: without_keys(v, keys) for k, v in description.items() if k not in keys}
    if isinstance(description, list):
        return [without_keys(value, keys) for value in description]
    return description


def check_not_empty(source: Source) -> None:
    """Raises UserError where a source has no image."""
    if not len(source):
        raise UserError(f"source {source.name!r} has no image")


def check_sources(where: str, sources: Any) -> None:
    """Raises UserError unless there is a source, and all are sources."""
    if not isinstance(sources, tuple | list) or not sources:
        raise UserError(f"{where}: received {sources!r}: expected a list of sources")
    for source in sources:
        if not isinstance(source, Source):
            raise UserError(f"{where}: received {source!r}: expected a source")


class _Named:
    """The label spaces of a source, in which an unknown head is an error that names the source.

    The class itself has no such attribute: a subclass may be a dataclass with this field.
    """

    def __get__(self, source: Source | None, owner: type) -> LabelSpaces:
        if source is None or "_label_spaces" not in vars(source):
            raise AttributeError(f"{owner.__name__} has no label_spaces, or not yet")
        return vars(source)["_label_spaces"]

    def __set__(self, source: Source, found: Mapping[str, LabelSpace]) -> None:
        name = getattr(source, "name", type(source).__name__)
        # A frozen dataclass takes no attribute by assignment.
        vars(source)["_label_spaces"] = LabelSpaces(name, found)


class Source(abc.ABC):
    """Images with true labels, in a fixed order; safe to read from several threads.

    Attributes:
        name: names its label columns; unlike that of any other source of a run.
        label_spaces: {head: what its labels mean}; heads that are absent have no true label here.
        has_scores: whether objects come with scores: a model found them, and not all are sure.
    """

    name: str
    label_spaces = _Named()
    has_scores: bool = False

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def image_id(self, index: int) -> str:
        """A name of the image that stays the same: a relative path in folders."""

    def file(self, index: int) -> pathlib.Path | None:
        """The image's file; None where it has none of its own."""
        del index
        return None

    def folders(self) -> frozenset[pathlib.Path]:
        """Return the folders in which its images lie, and those that are searched for images."""
        files = (self.file(index) for index in range(len(self)))
        return frozenset(file.parent for file in files if file is not None)

    def is_gone(self, index: int) -> bool:
        """Whether the image is no longer what it was: then no label is its label."""
        del index
        return False

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """[h, w, 3] uint8 RGB, upright."""

    @abc.abstractmethod
    def labels(self, index: int) -> dict[str, Stored]:
        """{head: stored label} of the heads that are labeled on this image."""

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """What its content depends on, not where its files lie: plain data and dataclasses."""

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        """How pixels are made of the bytes of the files, where it is not the usual way.

        Args:
            ids: of the images that are meant, some of which may be gone; None: all of the source.
        """
        del ids
        return {}

    def describe_images(self) -> dict[str, Any]:
        """The same of the images alone, where a source can tell them from their labels."""
        return self.describe()
