"""What is odd in the sets of a recipe without being wrong: images without a label, and copies."""

import dataclasses
from collections.abc import Iterator, Mapping

from must_keras.config.recipe import Recipe
from must_keras.data.sources import Source
from must_keras.errors import listed
from must_keras.inspection.duplicates import num_copies

_SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True, kw_only=True)
class SetCounts:
    """Numbers of images of one source.

    Attributes:
        images: of the source.
        unlabeled: {head: images of a labeled set without a label of it}, such as those without a
            map; heads without any are left out.
        copies: {training set of a teacher: images of a pool that it has too}; sets without any are
            left out.

    Example:
        SetCounts(images=400, unlabeled={"surfaces": 12}, copies={})
    """

    images: int
    unlabeled: Mapping[str, int]
    copies: Mapping[str, int]

    @property
    def is_odd(self) -> bool:
        """Whether anything is counted beside the images."""
        return bool(self.unlabeled or self.copies)


def of_pool(source: Source, recipe: Recipe) -> SetCounts:
    """Count the images of a pool that are also training images of a teacher.

    The student sees such an image twice as often, and its pseudo labels are those of a teacher that
    was trained on it.
    """
    trained = {t.sets.train.name: t.sets.train for t in recipe.trained_teachers}
    found = {name: num_copies(source, other) for name, other in trained.items()}
    copies = {name: number for name, number in found.items() if number}
    return SetCounts(images=len(source), unlabeled={}, copies=copies)


def of_labeled(source: Source, head: str) -> SetCounts:
    """Count the images of a labeled set that have no label of its head; no label is read."""
    number = sum(head not in source.labeled_heads(index) for index in range(len(source)))
    return SetCounts(images=len(source), unlabeled={head: number} if number else {}, copies={})


def of_recipe(recipe: Recipe) -> dict[str, SetCounts]:
    """Return {source: its counts} of the sets and pools of a recipe where anything is odd."""
    found: dict[str, SetCounts] = {}
    for item in (*recipe.teachers, *recipe.transfers):
        for split in _SPLITS if item.sets is not None else ():
            source = getattr(item.sets, split)
            found[source.name] = of_labeled(source, item.task.name)
    for pool in recipe.pools:
        found[pool.source.name] = of_pool(pool.source, recipe)
    return {name: counts for name, counts in found.items() if counts.is_odd}


def sentences(name: str, counts: SetCounts) -> Iterator[str]:
    """Yield a sentence for each number that is odd.

    Example:
        >>> list(sentences("rooms", SetCounts(images=400, unlabeled={"parts": 12}, copies={})))
        ["12 of 400 images of rooms have no label of head 'parts': the head leaves them out"]
    """
    for head, number in counts.unlabeled.items():
        is_one = number == 1
        verb, them = ("has", "it") if is_one else ("have", "them")
        yield (
            f"{number:,} of {counts.images:,} images of {name} {verb} no label of head {head!r}: "
            f"the head leaves {them} out"
        )
    if counts.copies:
        sets = listed([f"{other} ({number:,})" for other, number in counts.copies.items()])
        yield (
            f"images of pool {name}, {counts.images:,} in all, repeat training images of {sets}: "
            "the student sees them more often, with the labels of a teacher that was trained on "
            "them"
        )
