"""How the files of a folder are read as labels of pixels, one class for each kind of file."""

import contextlib
import itertools
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from must_keras.data.io.text_files import read_class_names
from must_keras.data.names import as_read
from must_keras.data.sources import DepthMaps, LabelMaps, NormalMaps
from must_keras.errors import UserError
from must_keras.inspection.answers import Answers, Question
from must_keras.inspection.code import Text
from must_keras.inspection.found import Findings, FoundSet, Part, part
from must_keras.inspection.kinds import Depths, Maps, SurfaceNormals
from must_keras.inspection.pixel_samples import Pixels, Sample

_DEPTH = re.compile(r"depth|(?<![a-z])(dpt|range|distance)(?![a-z])")
_DISPARITY = re.compile(r"disp(arity|arities)?(?![a-z])")
# Rooms and streets: a median within these is likely in meters.
_LIKELY_METERS = (0.3, 40.0)
# As camera makers and benchmarks count: millimeters, TUM, KITTI, centimeters, meters.
_UNITS = {
    "millimeters": 0.001,
    "1/5000": 1 / 5000,
    "1/256": 1 / 256,
    "centimeters": 0.01,
    "meters": 1.0,
}
_CLASS_LISTS = ("classes.txt", "labels.txt", "class_names.txt", "names.txt")
# Of so many labels of a part all values are collected.
MAX_LABELS = 512
_NO_CLASS = re.compile(r"un-?label(l?ed)?|void|ignored?|unknown|unannotated|don'?t.?care")
_MIN_DIRECTIONS = 0.9


class Labels(Protocol):
    """The labels of pixels of one part of a set, wherever they are stored.

    Attributes:
        labels: place of the labels, for messages.

    Example:
        labels = FolderLabels(pathlib.Path("rgb"), pathlib.Path("depth"), files)
        labels.depths(depth_scale=0.001)
    """

    @property
    def labels(self) -> pathlib.Path: ...

    def pixels(self) -> Iterator[Pixels]:
        """Yield the pixels of the labels, or of many of them."""
        ...

    def class_names(self, place: pathlib.Path) -> tuple[str, ...]:
        """Return the names of the classes where they are known, else (); `place` is the set's."""
        ...

    def maps(self, **arguments: Any) -> Part:
        """Return the part of label maps, with these arguments of its source or reading."""
        ...

    def depths(self, **arguments: Any) -> Part:
        """Return the part of depth maps, see `maps`."""
        ...

    def normals(self, **arguments: Any) -> Part:
        """Return the part of normal maps, see `maps`."""
        ...


class FolderLabels(NamedTuple):
    """Label files in a folder, beside a folder of their images.

    Example:
        FolderLabels(pathlib.Path("rgb"), pathlib.Path("depth"), files)
    """

    images: pathlib.Path
    labels: pathlib.Path
    files: tuple[pathlib.Path, ...]

    def pixels(self) -> Iterator[Pixels]:
        for file in self.files[:: max(len(self.files) // MAX_LABELS, 1)]:
            with contextlib.suppress(UserError):
                yield Pixels.of(file)

    def class_names(self, place: pathlib.Path) -> tuple[str, ...]:
        """Return the names in a text file beside the labels."""
        for folder, name in itertools.product((place, place.parent), _CLASS_LISTS):
            with contextlib.suppress(UserError):
                return read_class_names(folder / name)
        return ()

    def maps(self, **arguments: Any) -> Part:
        return part(LabelMaps, images=self.images, maps=self.labels, **arguments)

    def depths(self, **arguments: Any) -> Part:
        return part(DepthMaps, images=self.images, depths=self.labels, **arguments)

    def normals(self, **arguments: Any) -> Part:
        return part(NormalMaps, images=self.images, normals=self.labels, **arguments)


class MapReading(Protocol):
    """The meaning of label files.

    Attributes:
        noun: of the kind of labels.

    Example:
        reading = reading_of(sample, pathlib.Path("garden/depth"), answers)
    """

    noun: str

    def add_to(self, found: Findings, parts: Mapping[str, Labels]) -> None:
        """Add the set, or a question about it, or why it is not used."""
        ...


def reading_of(sample: Sample, place: pathlib.Path, answers: Answers) -> MapReading | None:
    """Return how files are read; None where they are photos.

    Args:
        sample: some of the files.
        place: their folder.
        answers: of the user; a stated kind counts.
    """
    stated = answers.of(place, "kind")
    for kind in (_Normals, _Depth, _Numbers, _Disparity, _ColorMap, _ValueMap):
        if stated in kind.kinds or (stated is None and kind.fits(sample)):
            return kind(sample, place, answers)
    return None


class _Reading:
    """Base of the readings: a sample, and what a user states about it."""

    noun = ""
    kinds: tuple[str, ...] = ()
    """Kinds that a user may state, for which this is the reading."""

    def __init__(self, sample: Sample, place: pathlib.Path, answers: Answers):
        self._sample, self._place, self._answers = sample, place, answers


class _Depth(_Reading):
    """Numbers that are depths, of a unit that a person has to state."""

    noun = "depth"
    kinds = ("depth",)

    @staticmethod
    def fits(sample: Sample) -> bool:
        if sample.is_all("floats"):
            return not _DISPARITY.search(sample.name)
        return sample.is_all("numbers") and bool(_DEPTH.search(sample.name))

    def add_to(self, found: Findings, parts: Mapping[str, Labels]) -> None:
        scale = self._answers.depth_scale(self._place)
        if scale is None:
            found.questions.append(self._question())
            return
        # What a person states is written, a default too.
        stated = Text(repr(scale), scale)
        sources = {split: one.depths(depth_scale=stated) for split, one in parts.items()}
        found.sets.append(
            FoundSet(kind=Depths(), form="depth maps", place=self._place, parts=sources)
        )

    def _question(self) -> Question:
        median = self._sample.median
        near, far = _LIKELY_METERS
        likely = {u: scale for u, scale in _UNITS.items() if near <= median * scale <= far}
        units = likely or _UNITS
        shown = ", ".join(f"{median * scale:.3g} m in {unit}" for unit, scale in units.items())
        text = f"the unit of its depths is not in the files (their median is {median:.6g}: {shown})"
        return Question(self._place, text, "unit", tuple(units))


class _Numbers(_Reading):
    """Numbers of 16 bits or more whose folder has no name that tells their meaning."""

    noun = "numbers"

    @staticmethod
    def fits(sample: Sample) -> bool:
        if not sample.is_all("numbers") or _DISPARITY.search(sample.name):
            return False
        return sample.has_instances or not sample.has_few_values

    def add_to(self, found: Findings, parts: Mapping[str, Labels]) -> None:
        if not self._sample.has_instances:
            text = "16-bit numbers: are they depths, or not to be used?"
            found.questions.append(Question(self._place, text, "kind", ("depth", "skip")))
        elif self._sample.has_few_values:
            text = "16-bit numbers: do they number objects, which no source reads, or classes?"
            found.questions.append(Question(self._place, text, "kind", ("skip", "map")))
        else:
            why = "numbers of objects (instances), which no source reads"
            found.unused |= {one.labels: why for one in parts.values()}


class _Disparity(_Reading):
    """Disparities, which are depths only together with a camera."""

    noun = "disparity"

    @staticmethod
    def fits(sample: Sample) -> bool:
        return sample.is_all("numbers", "floats") and bool(_DISPARITY.search(sample.name))

    def add_to(self, found: Findings, parts: Mapping[str, Labels]) -> None:
        why = "disparities: depth = focal length x baseline / disparity; store depths to use them"
        found.unused |= {one.labels: why for one in parts.values()}


class _Normals(_Reading):
    """Colors that are unit vectors."""

    noun = "normals"
    kinds = ("normals",)

    @staticmethod
    def fits(sample: Sample) -> bool:
        if not sample.is_all("colors"):
            return False
        are_unit = sample.share_of_directions > _MIN_DIRECTIONS
        return are_unit and ("normal" in sample.name or not sample.has_few_values)

    def add_to(self, found: Findings, parts: Mapping[str, Labels]) -> None:
        axes = self._answers.of(self._place, "axes")
        if axes is None and self._sample.mean_blue > 127.5:
            text = "its normals point towards a camera whose Z does, too; does Y (green) point up?"
            found.questions.append(Question(self._place, text, "axes", ("opengl", "directx")))
            return
        more = {} if axes in (None, "camera") else {"axes": axes}
        sources = {split: one.normals(**more) for split, one in parts.items()}
        found.sets.append(
            FoundSet(kind=SurfaceNormals(), form="normal maps", place=self._place, parts=sources)
        )


class _ValueMap(_Reading):
    """Values, or the indices of a palette, that are classes."""

    noun = "map"
    kinds = ("map",)

    @staticmethod
    def fits(sample: Sample) -> bool:
        if _DEPTH.search(sample.name) and not sample.is_all("indices"):
            return False
        return sample.is_all("gray", "indices", "numbers") and sample.has_few_values

    def add_to(self, found: Findings, parts: Mapping[str, Labels]) -> None:
        values = _distinct(parts)
        names = next(iter(parts.values())).class_names(self._place)
        more, remarks = _code_of_values(values, names)
        sources = {split: one.maps(**more) for split, one in parts.items()}
        found.sets.append(
            FoundSet(
                kind=Maps(), form="label maps", place=self._place, parts=sources, remarks=remarks
            )
        )


class _ColorMap(_Reading):
    """Colors that are classes."""

    noun = "map"
    kinds = ("map",)

    @staticmethod
    def fits(sample: Sample) -> bool:
        return sample.is_all("colors") and sample.has_few_values

    def add_to(self, found: Findings, parts: Mapping[str, Labels]) -> None:
        if not self._sample.is_all("colors"):
            _ValueMap(self._sample, self._place, self._answers).add_to(found, parts)
            return
        codes = _distinct(parts)
        colors = tuple((code >> 16, code >> 8 & 255, code & 255) for code in codes)
        names = tuple(f"color_{red}_{green}_{blue}" for red, green, blue in colors)
        remarks = (f"names of its {len(colors)} colors are not known: name them in the recipe",)
        sources = {split: one.maps(classes=names, colors=colors) for split, one in parts.items()}
        found.sets.append(
            FoundSet(
                kind=Maps(),
                form="color-coded label maps",
                place=self._place,
                parts=sources,
                remarks=remarks,
            )
        )


def _code_of_values(
    values: list[int], names: tuple[str, ...]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return arguments of LabelMaps for the values of maps, and remarks."""
    if set(values) == {0, 255}:
        remark = "its only values are 0 and 255, read as background and an object"
        names = names if len(names) == 2 else ("background", "object")
        return {"classes": names, "values": (0, 255)}, (remark,)
    known = [value for value in values if value != 255]
    if len(names) > max(known, default=0):
        kept = [i for i, name in enumerate(names) if not _NO_CLASS.fullmatch(as_read(name).lower())]
        dropped = tuple(i for i in range(len(names)) if i not in kept)
        more: dict[str, Any] = {"classes": tuple(names[i] for i in kept)}
        if kept != [*range(len(kept))]:
            more["values"] = tuple(kept)
        ignored = tuple(i for i in dropped if i in known)
        remark = f"{', '.join(names[i] for i in dropped)} is ignored" if dropped else ""
        return more | ({"ignore": ignored} if ignored else {}), (remark,) if remark else ()
    remark = f"names of its {len(known)} classes are not known: name them in the recipe"
    if known == [*range(len(known))]:
        return {"classes": tuple(f"class_{value}" for value in known)}, (remark,)
    return {"classes": tuple(f"class_{v}" for v in known), "values": tuple(known)}, (remark,)


def _distinct(parts: Mapping[str, Labels]) -> list[int]:
    """Return all values or colors of the labels, or of many of them."""
    found: set[int] = set()
    for one in parts.values():
        for pixels in one.pixels():
            found |= set(np.unique(pixels.values).astype(np.int64).tolist())
    return sorted(found)
