"""A source's images under its name, with other labels."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.data import names
from must_keras.data.sources.source import LabelSpace, Source, Stored, check_sources
from must_keras.data.stored import relabeled
from must_keras.errors import DataError, UserError, check_classes
from must_keras.experiment import nearest


class _Wrapped(Source):
    """The images of another source under its name."""

    def __init__(self, source: Source):
        self.name = source.name
        self.label_spaces = source.label_spaces
        self.has_scores = source.has_scores
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def image_id(self, index: int) -> str:
        return self._source.image_id(index)

    def file(self, index: int) -> pathlib.Path | None:
        return self._source.file(index)

    def folders(self) -> frozenset[pathlib.Path]:
        return self._source.folders()

    def is_gone(self, index: int) -> bool:
        return self._source.is_gone(index)

    def image(self, index: int) -> np.ndarray:
        return self._source.image(index)

    def labels(self, index: int) -> dict[str, Stored]:
        return self._source.labels(index)

    def describe(self) -> dict[str, Any]:
        return self._source.describe()

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        return self._source.describe_reading(ids)

    def describe_images(self) -> dict[str, Any]:
        return self._source.describe_images()


class TolerantSource(_Wrapped):
    """A source in which an image that cannot be read is one black pixel without any label.

    A large pool always has some. Each is told once, on stderr; an image counts as unreadable from
    the first time that it is asked for.

    Args:
        source: the images.
        labels: whether labels that cannot be read are skipped like images: such an image is not
            labeled, and stays an image.
        most: share of the images that may be skipped, at least one of them; None: all.

    Attributes:
        unreadable: {index of such an image: why}.

    Raises:
        DataError: more are skipped; raised by `image` and `labels`.
    """

    def __init__(self, source: Source, *, labels: bool = False, most: float | None = None):
        super().__init__(source)
        self.unreadable: dict[int, str] = {}
        self._unlabeled: dict[int, str] = {}
        self._skips_labels, self._most = labels, most

    def image(self, index: int) -> np.ndarray:
        try:
            return self._source.image(index)
        except (UserError, DataError) as error:
            self._skip(index, error, self.unreadable)
            return np.zeros((1, 1, 3), np.uint8)

    def _skip(self, index: int, error: Exception, reasons: dict[int, str]) -> None:
        if index not in reasons:
            reasons[index] = str(error)
            print(f"skipped: {error}", file=sys.stderr)
        skipped = len(self.unreadable.keys() | self._unlabeled.keys())
        if self._most is not None and skipped > max(1, self._most * len(self)):
            raise DataError(
                f"source {self.name!r}: {skipped} of {len(self)} images or their labels cannot be "
                f"read so far, more than max_unreadable={self._most:g} of them; the last: {error}"
            ) from error

    def is_gone(self, index: int) -> bool:
        return index in self.unreadable or self._source.is_gone(index)

    def labels(self, index: int) -> dict[str, Stored]:
        if index in self.unreadable:
            return {}
        try:
            return self._source.labels(index)
        except (UserError, DataError) as error:
            if not self._skips_labels:
                raise
            self._skip(index, error, self._unlabeled)
            return {}


class _WithoutLabels(_Wrapped):
    """A source's images alone."""

    def __init__(self, source: Source):
        super().__init__(source)
        self.label_spaces, self.has_scores = {}, False

    def labels(self, index: int) -> dict[str, Stored]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "images_of": self._source.describe_images()}


class Relabeled(_Wrapped):
    """A source whose classes of one head are given other names, or put together, or left out.

    Objects of a class that is left out become background, its pixels are ignored, its images are
    not labeled.

    Args:
        source: classes, boxes or maps.
        head: whose labels are renamed.
        classes: the head's whole list, in the order of its indices.
        mapping: {class there: one of `classes`}; classes that are absent are left out.

    Raises:
        UserError: the source does not label the head with classes, a name is unknown, or one of
            `classes` has no class there: the set cannot be labeled for such a head.

    Example:
        Relabeled(coco, head="animals", classes=("pet", "horse"),
                   mapping={"cat": "pet", "dog": "pet", "horse": "horse"})

    """

    def __init__(
        self,
        source: Source,
        *,
        head: str,
        classes: Sequence[str],
        mapping: Mapping[str, str],
    ):
        check_sources("Relabeled", [source])
        super().__init__(source)
        where = f"source {source.name!r}"
        check_classes(where, classes)
        if not isinstance(mapping, Mapping):
            raise UserError(f"{where}: mapping={mapping!r}: expected {{class there: class here}}")
        space = source.label_spaces.get(head)
        if space is None or not space.classes:
            known = [name for name, space in source.label_spaces.items() if space.classes]
            hint = f"; {nearest(head, known)}" if known else ""
            raise UserError(f"source {source.name!r} has no classes for head {head!r}{hint}")
        self._head, self._mapping = head, dict(mapping)
        table = np.full(len(space.classes), -1, np.int64)
        sides = ((space.classes, "there"), (tuple(classes), "here"))
        for pair in mapping.items():
            places = []
            for name, (known, what) in zip(pair, sides, strict=True):
                place = names.Names(known).index_in(str(name), known)
                if place is None:
                    raise UserError(
                        f"source {source.name!r}: the mapping names the class {name!r}, which is "
                        f"not one of those {what}; {nearest(name, known)}"
                    )
                places.append(place)
            table[places[0]] = places[1]
        absent = [name for index, name in enumerate(classes) if index not in table]
        if absent:
            raise UserError(
                f"source {source.name!r}: no class there becomes {', '.join(absent)}, so its "
                f"labels would call such things background: it cannot label head {head!r}"
            )
        self._table = table
        self.label_spaces = {**source.label_spaces, head: LabelSpace(space.kind, tuple(classes))}

    def labels(self, index: int) -> dict[str, Stored]:
        found = dict(self._source.labels(index))
        if self._head in found:
            space = self.label_spaces[self._head]
            label = relabeled(found.pop(self._head), self._table, len(space.classes))
            if label is not None:
                found[self._head] = label
        return found

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "of": self._source.describe(),
            "label_spaces": self.label_spaces,
            "mapping": self._mapping,
        }


def without_labels(source: Source) -> Source:
    """The same images under the same name, with no label of any head."""
    return _WithoutLabels(source)
