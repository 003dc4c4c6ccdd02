"""Folders of images, and parallel folders with a label for every pixel."""

import dataclasses
import itertools
import os
import pathlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

from must_keras.data.names import stem
from must_keras.inspection.answers import Answers
from must_keras.inspection.found import WHOLE, Findings
from must_keras.inspection.map_readings import FolderLabels, MapReading, reading_of
from must_keras.inspection.pixel_samples import Sample
from must_keras.inspection.tree import ARRAYS, Folder, Tree, split_of

_LABEL_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".webp", ".gif", *ARRAYS)
# Names of folders of photos, where several folders could be the images.
_PHOTOS = re.compile(r"rgb|image|img|photo|colou?r|picture|jpeg|jpg|left", re.IGNORECASE)
_MIN_OVERLAP = 0.5
# More folders side by side are classes, or scenes that have their images elsewhere.
_MAX_NEAR = 64
_INSIDE = (
    "labels within the folder of their images, where they would be read as images, too: move them "
    "beside that folder"
)
_Shape = tuple[str | None, ...]


@dataclasses.dataclass(frozen=True)
class _Pair:
    """A folder of images, and one with files of the same names."""

    images: pathlib.Path
    labels: pathlib.Path
    files: tuple[pathlib.Path, ...]


class PairedMaps:
    """Labels of pixels beside images, in folders whose paths differ in one name.

    Example:
        PairedMaps().find(Tree.of(pathlib.Path("street")), Answers({})).sets
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found, groups = Findings(), defaultdict[tuple[str, str], list[_Pair]](list)
        for pair in _pairs(tree):
            key = (
                split_of(tree.relative(pair.images)).key,
                split_of(tree.relative(pair.labels)).key,
            )
            groups[key].append(pair)
        merged = _merged(tree, groups.values())
        readings = [(parts, _reading(tree, parts, answers)) for parts in merged]
        labels = {pair.labels for parts, r in readings if r is not None for pair in parts.values()}
        # Labels beside labels are no images: normals beside depths, drawings in folders of classes.
        kept = {
            id(parts): (parts, reading)
            for parts, reading in readings
            if reading is not None and labels.isdisjoint(one.images for one in parts.values())
        }
        _drop_doubles(kept, found, answers)
        for parts, reading in kept.values():
            inside = [p.labels for p in parts.values() if p.images in p.labels.parents]
            if inside:
                found.unused |= dict.fromkeys(inside, _INSIDE)
                found.explained |= set(inside)
                continue
            num_unused = len(found.unused)
            reading.add_to(found, {split: _labels(pair) for split, pair in parts.items()})
            found.explained |= {pair.labels for pair in parts.values()}
            # Images without usable labels are for a pool.
            if len(found.unused) == num_unused:
                found.explained |= {pair.images for pair in parts.values()}
        return found


def _labels(pair: _Pair) -> FolderLabels:
    return FolderLabels(pair.images, pair.labels, pair.files)


class _Candidates:
    """The folders that may hold the images of a folder of labels.

    Args:
        tree: the folders; also those that are explained, whose images may have further labels.
    """

    def __init__(self, tree: Tree):
        self._tree = tree
        self._stems: dict[pathlib.Path, set[str]] = {}
        self._are_photos: dict[pathlib.Path, bool] = {}
        self._by_shape = defaultdict[_Shape, list[Folder]](list)
        for folder in tree.everything:
            for shape in self._shapes(folder) if folder.pictures else ():
                self._by_shape[shape].append(folder)

    def _shapes(self, folder: Folder) -> set[_Shape]:
        """Return the folder's path with each of its names left open, or left out."""
        parts = pathlib.PurePath(self._tree.relative(folder.path)).parts
        found: set[_Shape] = {parts}
        for i in range(len(parts)):
            found |= {(*parts[:i], None, *parts[i + 1 :]), (*parts[:i], *parts[i + 1 :])}
        return found

    def images_of(self, folder: Folder, names: Collection[str]) -> pathlib.Path | None:
        """Return the folder with images of these names without suffix, or None."""
        shapes = [self._by_shape[shape] for shape in self._shapes(folder)]
        near = {one.path: one for group in shapes if len(group) <= _MAX_NEAR for one in group}
        near.pop(folder.path, None)
        fitting = [one for one in near.values() if self._shared(one, names)]
        if len(fitting) > 1:
            split = split_of(self._tree.relative(folder.path)).split
            fitting.sort(key=lambda one: self._rank(one, names, split))
        return fitting[-1].path if fitting else None

    def _shared(self, folder: Folder, names: Collection[str]) -> int:
        """Return how many names are those of images; 0 where most are not."""
        if folder.path not in self._stems:
            self._stems[folder.path] = set(map(stem, folder.pictures))
        known = self._stems[folder.path]
        # a.png or a.jpg.png belongs to a.jpg.
        shared = sum(name in known or stem(name) in known for name in names)
        return shared if shared >= _MIN_OVERLAP * len(names) else 0

    def _rank(
        self, folder: Folder, names: Collection[str], split: str
    ) -> tuple[bool, bool, bool, int, str]:
        """Return what is larger for likelier images: photos of the split, so named."""
        if folder.path not in self._are_photos:
            sample = Sample.of("", [folder.path / one for one in folder.pictures])
            reading = reading_of(sample, folder.path, Answers({}))
            self._are_photos[folder.path] = reading is None
        name = self._tree.relative(folder.path)
        is_same, is_named = split_of(name).split == split, bool(_PHOTOS.search(name))
        shared = self._shared(folder, names)
        return self._are_photos[folder.path], is_same, is_named, shared, name


def _pairs(tree: Tree) -> Iterator[_Pair]:
    """Yield for every folder that may hold labels the folder of its images."""
    candidates = _Candidates(tree)
    for folder in tree:
        own = (*folder.pictures, *(path.name for path in folder.files(*ARRAYS)))
        files = {stem(n): folder.path / n for n in own if n.lower().endswith(_LABEL_SUFFIXES)}
        images = candidates.images_of(folder, files) if files else None
        if images is not None:
            yield _Pair(images, folder.path, tuple(files.values()))


def _merged(tree: Tree, groups: Iterable[list[_Pair]]) -> list[dict[str, _Pair]]:
    """Return {split: pair} of each set; scenes below one pair of folders become one."""
    found, scenes = [], defaultdict[tuple, list[_Pair]](list)
    for pairs in groups:
        by_split = {split_of(tree.relative(pair.images)).split: pair for pair in pairs}
        if [*by_split] != [WHOLE]:
            found.append(by_split)
            continue
        (pair,) = by_split.values()
        images, labels = (
            pathlib.PurePath(tree.relative(path)).parts for path in (pair.images, pair.labels)
        )
        if len(images) != len(labels):
            found.append(by_split)
            continue
        same = [a == b for a, b in zip(images, labels, strict=True)]
        place = same.index(False)
        scenes[(images[: place + 1], labels[: place + 1])].append(pair)
    for (images, labels), pairs in scenes.items():
        files = tuple(itertools.chain.from_iterable(pair.files for pair in pairs))
        roots = (tree.root.joinpath(*parts) for parts in (images, labels))
        found.append({WHOLE: _Pair(*roots, files) if len(pairs) > 1 else pairs[0]})
    return found


def _reading(tree: Tree, parts: dict[str, _Pair], answers: Answers) -> MapReading | None:
    files = [file for pair in parts.values() for file in pair.files]
    # Answers about all parts are about the folder above them.
    place = pathlib.Path(os.path.commonpath([pair.labels for pair in parts.values()]))
    name = f"{tree.root.name}/{tree.relative(next(iter(parts.values())).labels)}"
    sample = Sample.of(name, files)
    return reading_of(sample, place, answers)


def _drop_doubles(kept: dict, found: Findings, answers: Answers) -> None:
    """Of several folders with labels of one kind for the same images, keep the largest."""
    by_images = defaultdict[tuple, list](list)
    for key, (parts, reading) in kept.items():
        images = frozenset(pair.images for pair in parts.values())
        by_images[images, reading.noun].append((key, parts))
    for same in by_images.values():
        same.sort(key=lambda one: -sum(len(pair.files) for pair in one[1].values()))
        for key, parts in same[1:]:
            first = next(iter(same[0][1].values()))
            for pair in parts.values():
                if answers.at(pair.labels, "kind") is None:
                    found.unused[pair.labels] = (
                        f"{first.labels} has more labels of the same kind for the same images; "
                        f"{first.labels}:kind=skip uses this folder instead"
                    )
                    found.explained.add(pair.labels)
                    kept.pop(key, None)
