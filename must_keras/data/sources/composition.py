"""Sources made of other sources."""

from __future__ import annotations

import bisect
import functools
import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras import naming
from must_keras.data import names
from must_keras.data.sources.source import LabelSpace, Source, Stored, check_sources
from must_keras.errors import UserError
from must_keras.files import list_sha256

# Longer lists of images are described by their digest: a run writes them down several times.
_MANY = 500_000


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
        self.label_spaces, self.has_scores = source.label_spaces, source.has_scores
        self._source, self._indices = source, np.array(indices, np.int64)
        outside = (self._indices < 0) | (self._indices >= len(source))
        if outside.any():
            index = self._indices[outside][0]
            raise IndexError(f"image {index} of {len(source)} in source {source.name!r}")

    def __len__(self) -> int:
        return len(self._indices)

    def image_id(self, index: int) -> str:
        return self._source.image_id(int(self._indices[index]))

    def file(self, index: int) -> pathlib.Path | None:
        return self._source.file(int(self._indices[index]))

    def is_gone(self, index: int) -> bool:
        return self._source.is_gone(int(self._indices[index]))

    def folders(self) -> frozenset[pathlib.Path]:
        return self._source.folders()

    def image(self, index: int) -> np.ndarray:
        return self._source.image(int(self._indices[index]))

    def labels(self, index: int) -> dict[str, Stored]:
        return self._source.labels(int(self._indices[index]))

    def describe(self) -> dict[str, Any]:
        chosen = self._digest if len(self) > _MANY else self._indices.tolist()
        return {"name": self.name, "of": self._source.describe(), "indices": chosen}

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        return self._source.describe_reading(ids)

    @functools.cached_property
    def _digest(self) -> str:
        return list_sha256(self._indices.tolist())


class Concatenated(Source):
    """The images of several sources, one source after the other.

    An image's id is "<name of its source>/<its id there>". A head may be labeled by some of the
    sources only.

    Args:
        sources: at least one, with different names.
        name: of the whole.

    Raises:
        UserError: two sources share a name, or mean different things by the labels of a head.
    """

    def __init__(self, sources: Sequence[Source], *, name: str):
        check_sources(f"Concatenated {name!r}", sources)
        self.name = name
        self._sources = tuple(sources)
        self._ends = list(itertools.accumulate(len(source) for source in self._sources))
        names = [source.name for source in self._sources]
        if len(set(names)) != len(names):
            raise UserError(f"{name!r} needs sources with different names, received {names}")
        for part in names:
            # An id would be that of another source's image: "a/b" with "c", "a" with "b/c".
            naming.check_name(part, f"{name!r}: source")
        self.label_spaces = _common_spaces(self._sources)
        self.has_scores = any(source.has_scores for source in self._sources)

    def __len__(self) -> int:
        return self._ends[-1]

    def image_id(self, index: int) -> str:
        source, local = self._locate(index)
        return f"{source.name}/{source.image_id(local)}"

    def file(self, index: int) -> pathlib.Path | None:
        source, local = self._locate(index)
        return source.file(local)

    def folders(self) -> frozenset[pathlib.Path]:
        return frozenset().union(*(source.folders() for source in self._sources))

    def image(self, index: int) -> np.ndarray:
        source, local = self._locate(index)
        return source.image(local)

    def labels(self, index: int) -> dict[str, Stored]:
        source, local = self._locate(index)
        return source.labels(local)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "of": [source.describe() for source in self._sources]}

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        found = {}
        for source in self._sources:
            start = f"{source.name}/"
            own = None if ids is None else [i[len(start) :] for i in ids if i.startswith(start)]
            found[source.name] = source.describe_reading(own)
        found = {name: reading for name, reading in found.items() if reading}
        return {"reading": found} if found else {}

    def _locate(self, index: int) -> tuple[Source, int]:
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)} in source {self.name!r}")
        part = bisect.bisect_right(self._ends, index)
        return self._sources[part], index - (self._ends[part - 1] if part else 0)


class Joined(Source):
    """One source's images with the labels of several: some images are labeled for some heads.

    A label belongs to the image with the same id; ids are compared as people read them. So a pool
    brings the true labels that it has:

        Joined([ImagesOnly(name="photos", root="photos"),
                CsvClasses(name="tags", images="photos", csv="tags.csv", ...),
                LabelMaps(name="maps", images="photos", maps="maps", ...)], name="photos")

    Args:
        sources: the first gives the images; the others give labels of some of them.
        name: of the whole.

    Raises:
        UserError: two sources label the same head, or one has an image that the first has not.
    """

    def __init__(self, sources: Sequence[Source], *, name: str):
        check_sources(f"Joined {name!r}", sources)
        self.name = name
        self._sources = tuple(sources)
        images = self._sources[0]
        self.label_spaces = {}
        self.has_scores = any(source.has_scores for source in self._sources)
        for source in self._sources:
            for head, space in source.label_spaces.items():
                if head in self.label_spaces:
                    raise UserError(f"two sources of {name!r} label the head {head!r}")
                self.label_spaces[head] = space
        known = names.Names(images.image_id(i) for i in range(len(images)))
        self._places = []
        for source in self._sources:
            places: dict[str, int] = {}
            for i in range(len(source)):
                image_id = known.find(source.image_id(i))
                if image_id is None or image_id in places:
                    problem = "which is no image of" if image_id is None else "twice, an image of"
                    raise UserError(
                        f"source {source.name!r} of {name!r} labels {source.image_id(i)!r}, "
                        f"{problem} {images.name!r}"
                    )
                places[image_id] = i
            self._places.append(places)

    def __len__(self) -> int:
        return len(self._sources[0])

    def image_id(self, index: int) -> str:
        return self._sources[0].image_id(index)

    def file(self, index: int) -> pathlib.Path | None:
        return self._sources[0].file(index)

    def folders(self) -> frozenset[pathlib.Path]:
        return frozenset().union(*(source.folders() for source in self._sources))

    def image(self, index: int) -> np.ndarray:
        return self._sources[0].image(index)

    def labels(self, index: int) -> dict[str, Stored]:
        image_id = self.image_id(index)
        found = {}
        for source, places in zip(self._sources, self._places, strict=True):
            if image_id in places:
                found |= source.labels(places[image_id])
        return found

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "joined": [source.describe() for source in self._sources]}

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        return self._sources[0].describe_reading(ids)


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
