"""Splits into training, validation and test images: by lists, a seed, groups, or a sequence."""

import collections
import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

from must_keras.data import names
from must_keras.data.io.folders import SUFFIXES, Path
from must_keras.data.io.text_files import read_lines
from must_keras.data.names import stem
from must_keras.data.sources import Source, Subset, check_not_empty
from must_keras.data.sources.source import check_sources
from must_keras.errors import UserError, expect, nearest

# Image id to the name of its group: images of one group stay together.
Group = Callable[[str], str]
# Ends of the names of the three parts.
_ENDS = ("", "_validation", "_test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Splits:
    """A labeled set; sweeps, thresholds and stopping use validation alone.

    Raises:
        UserError: one of them has no image.

    Example:
        mk.Splits(train=photos, validation=more_photos, test=other_photos)
    """

    train: Source
    validation: Source
    test: Source

    def __post_init__(self) -> None:
        expect("Splits", self, train=Source, validation=Source, test=Source)
        for source in (self.train, self.validation, self.test):
            check_not_empty(source)

    @classmethod
    def with_test(
        cls,
        train: Source,
        test: Source,
        *,
        validation: int,
        seed: int = 0,
        group: Group | None = None,
    ) -> Self:
        """Return a set whose test images are given: validation is carved out of training.

        Args:
            train: the training set; the rest of it keeps its name.
            test: the test set.
            validation: number of validation images; see `carve_validation`.
            seed: the same.
            group: the same.

        Example:
            mk.Splits.with_test(photos, other_photos, validation=50)
        """
        parts = carve_validation(train, count=validation, seed=seed, group=group)
        return cls(train=parts.train, validation=parts.validation, test=test)


class Carved(NamedTuple):
    """A source in two parts that share no image.

    Example:
        train, validation = carve_validation(source, count=100, seed=0)
    """

    train: Source
    validation: Source


def permutation(source: Source, *, seed: int) -> list[int]:
    """Return all indices in an order that depends on the images' ids and the seed.

    A prefix of it is a smaller pool; images that are added later keep the order of the others.
    """
    return sorted(range(len(source)), key=lambda i: _rank(seed, source.image_id(i)))


def carve_validation(
    source: Source, *, count: int, seed: int, group: Group | None = None, end: str = "_validation"
) -> Carved:
    """Carve a validation set out of a training set; both keep the source's order.

    Args:
        source: the training set; the rest of it keeps its name.
        count: of validation images; with groups, the first whole groups that make so many.
        seed: of the choice.
        group: image id to the name of its group, for near-duplicates: photos of one table, frames
            of one film. A group stays together.
        end: of the validation set's name.

    Raises:
        UserError: one of the parts would be empty.

    Example:
        train, validation = mk.carve_validation(source, count=100, seed=0)
    """
    groups: dict[str, list[int]] = {}
    for index in range(len(source)):
        image_id = source.image_id(index)
        groups.setdefault(image_id if group is None else group(image_id), []).append(index)
    taken: set[int] = set()
    for name in sorted(groups, key=lambda name: _rank(seed, name)):
        if len(taken) >= count:
            break
        taken.update(groups[name])
    if not 0 < len(taken) < len(source):
        raise UserError(
            f"source {source.name!r}: {count} validation images of {len(source)} in "
            f"{len(groups)} groups leave {len(source) - len(taken)} for training"
        )
    kept = [i for i in range(len(source)) if i not in taken]
    return Carved(
        train=Subset(source, kept, name=source.name),
        validation=Subset(source, sorted(taken), name=f"{source.name}{end}"),
    )


def split_by_lists(source: Source, *, train: Path, validation: Path, test: Path) -> Splits:
    """Split a set in three by text files of image ids; see `listed`.

    Raises:
        UserError: see `listed`; or an image is in two lists.

    Example:
        mk.split_by_lists(source, train="train.txt", validation="val.txt", test="test.txt")
    """
    paths = zip((train, validation, test), _ENDS, strict=True)
    parts = {path: listed(source, path, name=f"{source.name}{end}") for path, end in paths}
    owner: dict[str, Path] = {}
    for path, part in parts.items():
        for index in range(len(part)):
            other = owner.setdefault(part.image_id(index), path)
            if other != path:
                raise UserError.at(path, f"and {other} both list {part.image_id(index)}")
    if len(parts) < 3:
        raise UserError(f"three different lists are needed, received {train}, {validation}, {test}")
    return Splits(train=parts[train], validation=parts[validation], test=parts[test])


def listed(source: Source, path: Path, *, name: str) -> Subset:
    """Return the images that a text file names, one a line, in its order.

    A line is an image's id (a path relative to the images' folder), with its suffix, or without
    where no other image differs from it in that alone, or with that of another kind of picture.
    Further words, such as a label's path or a class's number, are not read. Names are compared as
    people read them: see `names.Names`.

    Raises:
        UserError: the file cannot be read, or names an absent image, or one twice.
    """
    path = pathlib.Path(path)
    ids = [source.image_id(i) for i in range(len(source))]
    places = {image_id: index for index, image_id in enumerate(ids)}
    counts = collections.Counter(stem(image_id) for image_id in ids)
    stems = {stem(image_id): image_id for image_id in ids if counts[stem(image_id)] == 1}
    known, bare = names.Names(ids), names.Names(stems)
    found: dict[int, int] = {}
    for number, line in read_lines(path):
        where = f"{path}, line {number}"
        try:
            image_id = _meant(line, known, bare, stems)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        index = None if image_id is None else places[image_id]
        if index is None:
            hint = nearest(line, ids) if len(ids) <= 20 else f"for example {ids[0]}"
            raise UserError(f"{where}: {line!r} is no image of source {source.name!r}; {hint}")
        if index in found:
            raise UserError(f"{where}: {line!r} is also on line {found[index]}")
        found[index] = number
    return Subset(source, list(found), name=name)


def _meant(line: str, known: names.Names, bare: names.Names, stems: dict[str, str]) -> str | None:
    """Return the image's id that a line names, or None.

    Raises:
        UserError: several ids read the same.
    """
    for text in _readings(line):
        image_id = known.find(text)
        if image_id is None:
            image_id = stems.get(bare.find(_bare(text)) or "")
        if image_id is not None:
            return image_id
    return None


def _readings(line: str) -> list[str]:
    """Return what may be an image's id in a line: all of it, a picture's name, or its first word.

    The first word of a picture's name with spaces is left out: that would be another picture. Only
    plain spaces and tabs separate words.
    """
    first, *others = re.split(r"[ \t]+", line)
    longer = [line[: gap.start()] for gap in re.finditer(r"[ \t]+", line)][:0:-1]
    longer = [text for text in longer if _bare(text) != text]
    ends = {_bare(pathlib.PurePosixPath(word).name) for word in others if _bare(word) != word}
    is_id = first != _bare(first) or ends <= {pathlib.PurePosixPath(first).name}
    return [line, *longer, first] if is_id else [line, *longer]


def _bare(name: str) -> str:
    """Return a name without the suffix of a picture; "v1.5" has none."""
    return stem(name) if name.lower().endswith(SUFFIXES) else name


def split_by_name(
    make: Callable[[str], Source],
    *,
    train: str,
    validation: str | int,
    test: str,
    seed: int = 0,
    group: Group | None = None,
) -> Splits:
    """Return a set that is stored in parts, each with a name: of a folder, a file, or a split.

    Args:
        make: called with the name of a part, returns its source. All have the name of the set,
            and so its head; the validation and test images are renamed, "street_validation".
        train: name of the training part.
        validation: name of the validation part; or a number of images that are carved out of
            training, where no part is for validation (see `carve_validation`).
        test: name of the test part.
        seed: see `carve_validation`.
        group: see `carve_validation`.

    Raises:
        UserError: two parts have one name, what is made is no source, parts label other heads, or
            a part is empty.

    Example:
        mk.split_by_name(
            lambda split: mk.FolderPerClass(name="species", root=f"species/{split}"),
            train="train", validation="val", test="test",
        )
    """
    named = [name for name in (train, validation, test) if isinstance(name, str)]
    if len(set(named)) < len(named):
        raise UserError(f"split_by_name: two of the parts {', '.join(named)} have one name")
    parts = {name: make(name) for name in named}
    check_sources("split_by_name", list(parts.values()))
    heads = {name: ", ".join(source.label_spaces) for name, source in parts.items()}
    if len(set(heads.values())) > 1:
        found = "; ".join(f"{name}: {text or 'none'}" for name, text in heads.items())
        raise UserError(f"split_by_name: its parts label other heads ({found}): name them alike")
    tests = _renamed(parts[test], _ENDS[2])
    if not isinstance(validation, str):
        return Splits.with_test(parts[train], tests, validation=validation, seed=seed, group=group)
    return Splits(train=parts[train], validation=_renamed(parts[validation], _ENDS[1]), test=tests)


def _renamed(source: Source, end: str) -> Subset:
    return Subset(source, range(len(source)), name=f"{source.name}{end}")


def split_by_fraction(
    source: Source,
    *,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 0,
    group: Group | None = None,
) -> Splits:
    """Split a set in three at random, where images do not resemble their neighbors.

    Args:
        source: the whole set; the training part keeps its name.
        validation: share of the images.
        test: share of the images.
        seed: of the choice.
        group: see `carve_validation`.

    Raises:
        UserError: one of the parts would be empty.

    Example:
        mk.split_by_fraction(source, test=0.2, group=lambda image: image.rpartition("/")[0])
    """
    rest = carve_validation(
        source, count=_count(source, test, "test"), seed=seed, group=group, end="_test"
    )
    count = _count(source, validation, "validation")
    parts = carve_validation(rest.train, count=count, seed=seed, group=group)
    return Splits(train=parts.train, validation=parts.validation, test=rest.validation)


def split_sequence(
    source: Source, *, validation: float = 0.1, test: float = 0.15, gap: int = 4
) -> Splits:
    """Split a film in three: training images first, then validation, then test.

    Args:
        source: the frames in order; the training part keeps its name.
        validation: share of the images.
        test: share of the images.
        gap: frames that are dropped between two parts.

    Raises:
        UserError: one of the parts would be empty.

    Example:
        mk.split_sequence(frames, test=0.2, gap=8)
    """
    counts = [_count(source, test, "test"), _count(source, validation, "validation")]
    train = len(source) - sum(counts) - 2 * gap
    if train < 1 or gap < 0:
        raise UserError(
            f"source {source.name!r}: {counts[1]} validation images, {counts[0]} test images and "
            f"two gaps of {gap} leave {train} of {len(source)} for training"
        )
    blocks = contiguous_blocks(len(source), counts=(train, counts[1], counts[0]), gap=gap)
    first, second, third = (
        Subset(source, block, name=f"{source.name}{end}")
        for block, end in zip(blocks, _ENDS, strict=True)
    )
    return Splits(train=first, validation=second, test=third)


def contiguous_blocks(num_images: int, *, counts: Sequence[int], gap: int) -> list[range]:
    """Cut a sequence into blocks, in order, with dropped images between them.

    Neighboring frames of a film are near-duplicates, so blocks are whole and apart.

    Args:
        num_images: of the sequence.
        counts: images of each block, for example (train, validation, test).
        gap: images dropped between two blocks.

    Raises:
        UserError: the blocks and gaps are longer than the sequence, or a block is empty.
    """
    needed = sum(counts) + gap * (len(counts) - 1)
    if needed > num_images or min(counts) < 1 or gap < 0:
        raise UserError(
            f"blocks of {', '.join(map(str, counts))} images with gaps of {gap} need {needed} "
            f"images, at least one a block; the sequence has {num_images}"
        )
    blocks, first = [], 0
    for count in counts:
        blocks.append(range(first, first + count))
        first += count + gap
    return blocks


def _count(source: Source, share: float, what: str) -> int:
    if not 0.0 < share < 1.0:
        raise UserError(f"source {source.name!r}: {what}={share}: expected a share within (0, 1)")
    return max(1, round(share * len(source)))


def _rank(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}/{name}".encode()).digest()
