"""Sources made of other sources: some of their images, several as one, or with other labels."""

import abc
import functools
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from must_keras import naming
from must_keras.data import names
from must_keras.data.sources.source import LabelSpace, Source, Stored, check_sources, common_spaces
from must_keras.errors import DataError, UserError, check_classes, nearest
from must_keras.files import list_sha256
from must_keras.log import LOG

# Longer lists of images are described by their digest: a run writes them down several times.
_MAX_DESCRIBED_INDICES = 500_000


class _Composed(Source):
    """Images of other sources, each read where `_locate` finds it.

    Args:
        sources: at least one; label spaces are those of the first.
        name: of the whole.
    """

    def __init__(self, sources: Sequence[Source], *, name: str):
        self.name, self._sources = name, tuple(sources)
        self.label_spaces = sources[0].label_spaces
        self.has_scores = any(source.has_scores for source in sources)

    @abc.abstractmethod
    def _locate(self, index: int) -> tuple[Source, int]:
        """Return the source of an image, and its index there."""

    def image_id(self, index: int) -> str:
        source, local = self._locate(index)
        return source.image_id(local)

    def file(self, index: int) -> pathlib.Path | None:
        source, local = self._locate(index)
        return source.file(local)

    def folders(self) -> frozenset[pathlib.Path]:
        return frozenset().union(*(source.folders() for source in self._sources))

    def is_gone(self, index: int) -> bool:
        source, local = self._locate(index)
        return source.is_gone(local)

    def image(self, index: int) -> np.ndarray:
        source, local = self._locate(index)
        return source.image(local)

    def labels(self, index: int) -> dict[str, Stored]:
        source, local = self._locate(index)
        return source.labels(local)

    def labeled_heads(self, index: int) -> Collection[str]:
        source, local = self._locate(index)
        return self.label_spaces.keys() & source.labeled_heads(local)

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        return self._sources[0].describe_reading(ids)


class Subset(_Composed):
    """Some images of a source.

    Args:
        source: the whole.
        indices: which images, in the order of the subset.
        name: of the subset.

    Raises:
        IndexError: the source has no such image.

    Example:
        Subset(source, range(0, len(source), 10), name="every_tenth")
    """

    def __init__(self, source: Source, indices: Sequence[int], *, name: str):
        super().__init__([source], name=name)
        self._indices = np.array(indices, np.int64)
        outside = (self._indices < 0) | (self._indices >= len(source))
        if outside.any():
            index = self._indices[outside][0]
            raise IndexError(f"image {index} of {len(source)} in source {source.name!r}")

    def __len__(self) -> int:
        return len(self._indices)

    def _locate(self, index: int) -> tuple[Source, int]:
        return self._sources[0], int(self._indices[index])

    def describe(self) -> dict[str, Any]:
        chosen = self._digest if len(self) > _MAX_DESCRIBED_INDICES else self._indices.tolist()
        return {"name": self.name, "of": self._sources[0].describe(), "indices": chosen}

    @functools.cached_property
    def _digest(self) -> str:
        return list_sha256(self._indices.tolist())


class Concatenated(_Composed):
    """The images of several sources, one source after the other.

    An image's id is "<name of its source>/<its id there>". Some of the sources may label a head
    that others do not.

    Args:
        sources: at least one, with different names.
        name: of the whole.

    Raises:
        UserError: two sources share a name, or their label spaces of a head differ.

    Example:
        mk.Concatenated([spring, autumn], name="species")
    """

    def __init__(self, sources: Sequence[Source], *, name: str):
        check_sources(f"Concatenated {name!r}", sources)
        super().__init__(sources, name=name)
        self._firsts = np.cumsum([0, *map(len, self._sources)])
        names = [source.name for source in self._sources]
        if len(set(names)) != len(names):
            raise UserError(f"{name!r} needs sources with different names, received {names}")
        for part in names:
            # An id would be that of another source's image: "a/b" with "c", "a" with "b/c".
            naming.check_name(part, f"{name!r}: source")
        self.label_spaces = common_spaces(self._sources)

    def __len__(self) -> int:
        return int(self._firsts[-1])

    def image_id(self, index: int) -> str:
        return f"{self._locate(index)[0].name}/{super().image_id(index)}"

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
        part = self._firsts.searchsorted(index, side="right") - 1
        return self._sources[part], index - int(self._firsts[part])


class _Wrapped(_Composed):
    """All images of another source."""

    def __len__(self) -> int:
        return len(self._sources[0])

    def _locate(self, index: int) -> tuple[Source, int]:
        return self._sources[0], index

    def describe(self) -> dict[str, Any]:
        return self._sources[0].describe()

    def describe_images(self) -> dict[str, Any]:
        return self._sources[0].describe_images()


class Joined(_Wrapped):
    """One source's images with the labels of several: some images are labeled for some heads.

    A label belongs to the image with the same id; ids are compared as people read them. So a pool
    brings the ground truth that it has. Where several sources label a head of an image, the label
    of the last of them counts: corrections come behind what they correct.

    Args:
        sources: the first provides the images; the others provide labels of some of them.
        name: of the whole.

    Raises:
        UserError: two sources have different label spaces for one head, or one has an image that
            the first has not.

    Example:
        mk.Joined([mk.ImagesOnly(name="photos", root="photos"),
                   mk.CsvClasses(name="tags", images="photos", csv_file="tags.csv", head="tags"),
                   mk.LabelMaps(name="maps", images="photos", maps="maps", head="street",
                                classes=CLASSES)], name="photos")
    """

    def __init__(self, sources: Sequence[Source], *, name: str):
        check_sources(f"Joined {name!r}", sources)
        super().__init__(sources, name=name)
        self.label_spaces = common_spaces(self._sources)
        images = self._sources[0]
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

    def labels(self, index: int) -> dict[str, Stored]:
        image_id = self.image_id(index)
        found = {}
        for source, places in zip(self._sources, self._places, strict=True):
            if image_id in places:
                found |= source.labels(places[image_id])
        return found

    def labeled_heads(self, index: int) -> Collection[str]:
        image_id, pairs = self.image_id(index), zip(self._sources, self._places, strict=True)
        found = [source.labeled_heads(p[image_id]) for source, p in pairs if image_id in p]
        return set().union(*found)

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "joined": [source.describe() for source in self._sources]}

    def describe_images(self) -> dict[str, Any]:
        return self.describe()


class TolerantSource(_Wrapped):
    """A source in which an image that cannot be read is one black pixel without any label.

    Each is reported once, on stderr; an image counts as unreadable from the first time that it is
    asked for.

    Args:
        source: the images.
        labels: whether labels that cannot be read are skipped like images: such an image is not
            labeled, and stays an image.
        max_skipped: share of the images that may be skipped, at least one of them; None: all.

    Attributes:
        unreadable: {index of such an image: reason}.

    Raises:
        DataError: more are skipped; raised by `image` and `labels`.

    Example:
        images = TolerantSource(ImagesOnly(name="photos", root="photos"))
    """

    def __init__(self, source: Source, *, labels: bool = False, max_skipped: float | None = None):
        super().__init__([source], name=source.name)
        self.unreadable: dict[int, str] = {}
        self._unlabeled: dict[int, str] = {}
        self._skips_labels, self._max_skipped = labels, max_skipped

    def image(self, index: int) -> np.ndarray:
        try:
            return super().image(index)
        except (UserError, DataError) as error:
            self._skip(index, error, self.unreadable)
            return np.zeros((1, 1, 3), np.uint8)

    def _skip(self, index: int, error: Exception, reasons: dict[int, str]) -> None:
        if index not in reasons:
            reasons[index] = str(error)
            LOG.warning(f"skipped: {error}")
        skipped, limit = len(self.unreadable.keys() | self._unlabeled.keys()), self._max_skipped
        if limit is not None and skipped > max(1, limit * len(self)):
            raise DataError(
                f"source {self.name!r}: {skipped} of {len(self)} images or their labels cannot be "
                f"read so far, more than max_unreadable={limit:g} of them; the last: {error}"
            ) from error

    def is_gone(self, index: int) -> bool:
        return index in self.unreadable or super().is_gone(index)

    def labels(self, index: int) -> dict[str, Stored]:
        if index in self.unreadable:
            return {}
        try:
            return super().labels(index)
        except (UserError, DataError) as error:
            if not self._skips_labels:
                raise
            self._skip(index, error, self._unlabeled)
            return {}


class _WithoutLabels(_Wrapped):
    def __init__(self, source: Source):
        super().__init__([source], name=source.name)
        self.label_spaces, self.has_scores = {}, False

    def labels(self, index: int) -> dict[str, Stored]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "images_of": self.describe_images()}


def without_labels(source: Source) -> Source:
    """Return the same images under the same name, with no label of any head."""
    return _WithoutLabels(source)


class Relabeled(_Wrapped):
    """A source whose classes of one head are renamed, joined, or left out.

    Objects of a class that is left out become background, its pixels are ignored, its images are
    not labeled.

    Args:
        source: classes, boxes or maps.
        head: the head whose classes are renamed.
        classes: the head's whole list, in the order of its indices.
        mapping: {class there: one of `classes`}; classes that are absent are left out.

    Raises:
        UserError: the source does not label the head with classes, a name is unknown, or one of
            `classes` has no class there: the set cannot be labeled for such a head.

    Example:
        mk.Relabeled(coco, head="animals", classes=("pet", "horse"),
                     mapping={"cat": "pet", "dog": "pet", "horse": "horse"})
    """

    def __init__(
        self, source: Source, *, head: str, classes: Sequence[str], mapping: Mapping[str, str]
    ):
        check_sources("Relabeled", [source])
        super().__init__([source], name=source.name)
        where = f"source {source.name!r}"
        check_classes(where, classes)
        if not isinstance(mapping, Mapping):
            raise UserError.of(where, "mapping", mapping, "expected {class there: class here}")
        space = source.label_spaces.get(head)
        if space is None or not space.classes:
            known = [name for name, space in source.label_spaces.items() if space.classes]
            hint = f"; {nearest(head, known)}" if known else ""
            raise UserError(f"{where} has no classes for head {head!r}{hint}")
        self._head, self._mapping = head, dict(mapping)

        def index_of(name: Any, known: Sequence[str], what: str) -> int:
            found = names.Names(known).index_in(str(name), known)
            if found is None:
                raise UserError(
                    f"{where}: the mapping names the class {name!r}, which is not one of those "
                    f"{what}; {nearest(name, known)}"
                )
            return found

        table = np.full(len(space.classes), -1, np.int64)
        for there, here in mapping.items():
            table[index_of(there, space.classes, "there")] = index_of(here, classes, "here")
        absent = [name for index, name in enumerate(classes) if index not in table]
        if absent:
            raise UserError(
                f"{where}: no class there becomes {', '.join(absent)}, so its labels would call "
                f"such things background: it cannot label head {head!r}"
            )
        self._table, own = table, LabelSpace(space.kind, tuple(classes))
        self._labels = own.labels(head)
        if self._labels is None:
            raise UserError(f"{where}: no task has labels of kind {space.kind!r}")
        self.label_spaces = {**source.label_spaces, head: own}

    def labels(self, index: int) -> dict[str, Stored]:
        found = dict(super().labels(index))
        if self._head in found:
            label = self._labels.relabel(found.pop(self._head), self._table)
            found |= {} if label is None else {self._head: label}
        return found

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "of": self._sources[0].describe(),
            "label_spaces": self.label_spaces,
            "mapping": self._mapping,
        }
