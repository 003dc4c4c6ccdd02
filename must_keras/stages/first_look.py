"""A few images of every set are read before anything is made: mistakes in data show at once."""

from __future__ import annotations

import itertools

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
    pairs = list(itertools.product(items, ("train", "validation", "test")))
    for item, split in track(pairs, "first look at the data", len(pairs)):
        source = getattr(item.sets, split)
        examples = Labelled(source, [item.task])
        for index in spread(_IMAGES, len(source)):
            examples.load(index)
