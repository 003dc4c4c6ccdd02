"""Sources made of other sources."""

from __future__ import annotations

import bisect
import itertools
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.data.sources.source import LabelSpace, Source, Stored
from must_keras.errors import DataError, UserError


class Subset(Source):
    """Some images of a source.

    Args:
        source: the whole.
        indices: which images, in the order of the subset.
        name: of the subset.

    Raises:
        IndexError: the source has no such image.
    """

    def __init__(self, source: Source, indices: Sequence[int], *, name: str):
        self.name = name
        self.label_spaces = source.label_spaces
        self._source, self._indices = source, [int(i) for i in indices]
        for index in self._indices:
            if not 0 <= index < len(source):
                raise IndexError(f"image {index} of {len(source)} in source {source.name!r}")

    def __len__(self) -> int:
        return len(self._indices)

    def image_id(self, index: int) -> str:
        return self._source.image_id(self._indices[index])

    def image(self, index: int) -> np.ndarray:
        return self._source.image(self._indices[index])

    def labels(self, index: int) -> dict[str, Stored]:
        return self._source.labels(self._indices[index])

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "of": self._source.describe(), "indices": self._indices}


class Concatenation(Source):
    """The images of several sources, one source after the other.

    An image's id is "<name of its source>/<its id there>". A head may be labelled by some of the
    sources only.

    Args:
        sources: at least one, with different names.
        name: of the whole.

    Raises:
        UserError: two sources share a name, or mean different things by the labels of a head.
    """

    def __init__(self, sources: Sequence[Source], *, name: str):
        self.name = name
        self._sources = tuple(sources)
        self._ends = list(itertools.accumulate(len(source) for source in self._sources))
        names = [source.name for source in self._sources]
        if not names or len(set(names)) != len(names):
            raise UserError(f"{name!r} needs sources with different names, received {names}")
        self.label_spaces = _common_spaces(self._sources)

    def __len__(self) -> int:
        return self._ends[-1]

    def image_id(self, index: int) -> str:
        source, local = self._locate(index)
        return f"{source.name}/{source.image_id(local)}"

    def image(self, index: int) -> np.ndarray:
        source, local = self._locate(index)
        return source.image(local)

    def labels(self, index: int) -> dict[str, Stored]:
        source, local = self._locate(index)
        return source.labels(local)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "of": [source.describe() for source in self._sources]}

    def _locate(self, index: int) -> tuple[Source, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in source {self.name!r}")
        part = bisect.bisect_right(self._ends, index)
        return self._sources[part], index - (self._ends[part - 1] if part else 0)


class _Wrapped(Source):
    """The images of another source under its name."""

    def __init__(self, source: Source):
        self.name = source.name
        self.label_spaces = source.label_spaces
        self._source = source

    def __len__(self) -> int:
        return len(self._source)

    def image_id(self, index: int) -> str:
        return self._source.image_id(index)

    def image(self, index: int) -> np.ndarray:
        return self._source.image(index)

    def labels(self, index: int) -> dict[str, Stored]:
        return self._source.labels(index)

    def describe(self) -> dict[str, Any]:
        return self._source.describe()


class TolerantSource(_Wrapped):
    """A source in which an image that cannot be read is one black pixel without any label.

    A large pool always has some. Each is told once, on stderr; an image counts as unreadable from
    the first time that it is asked for.

    Attributes:
        unreadable: indices of such images.
    """

    def __init__(self, source: Source):
        super().__init__(source)
        self.unreadable: set[int] = set()

    def image(self, index: int) -> np.ndarray:
        try:
            return self._source.image(index)
        except (UserError, DataError) as error:
            if index not in self.unreadable:
                self.unreadable.add(index)
                print(f"skipped: {error}", file=sys.stderr)
            return np.zeros((1, 1, 3), np.uint8)

    def labels(self, index: int) -> dict[str, Stored]:
        return {} if index in self.unreadable else self._source.labels(index)


class _WithoutLabels(_Wrapped):
    """A source's images alone."""

    def __init__(self, source: Source):
        super().__init__(source)
        self.label_spaces = {}

    def labels(self, index: int) -> dict[str, Stored]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "images_of": self._source.describe()}


def without_labels(source: Source) -> Source:
    """The same images under the same name, with no label of any head."""
    return _WithoutLabels(source)


def _common_spaces(sources: Sequence[Source]) -> dict[str, LabelSpace]:
    found: dict[str, tuple[str, LabelSpace]] = {}
    for source in sources:
        for head, space in source.label_spaces.items():
            first, expected = found.setdefault(head, (source.name, space))
            difference = space.difference(expected)
            if difference:
                raise UserError(
                    f"source {source.name!r} does not fit source {first!r} (the other) "
                    f"for head {head!r}: {difference}"
                )
    return {head: space for head, (_, space) in found.items()}
