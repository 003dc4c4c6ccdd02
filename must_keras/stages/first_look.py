"""A few images of every set are read before anything is made: mistakes in data show at once."""

from __future__ import annotations

from collections.abc import Iterable

from must_keras.data.labelled import Labelled
from must_keras.progress import track
from must_keras.recipe import Recipe, Teacher, Transfer
from must_keras.training.pictures import spread
from must_keras.workdir import Workdir

# Of each training, validation and test set.
_IMAGES = 8


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Reads images and labels of the sets of all teachers and transfers that are not begun.

    Raises:
        UserError: one cannot be read, or says what it should not; names the file.
    """
    items: list[Teacher | Transfer] = [
        t for t in recipe.trained_teachers if not workdir.teacher(t.name).folder.exists()
    ]
    items += [t for t in recipe.transfers if not (workdir.root / "transfers" / t.name).exists()]
    for item, split in track(list(_splits(items)), "first look at the data", 3 * len(items)):
        source = getattr(item.sets, split)
        examples = Labelled(source, [item.task])
        for index in spread(_IMAGES, len(source)):
            examples.load(index)


def _splits(items: Iterable[Teacher | Transfer]) -> Iterable[tuple[Teacher | Transfer, str]]:
    return ((item, split) for item in items for split in ("train", "validation", "test"))
