"""Images and labels of every set are read before anything is made: mistakes show at once."""

from __future__ import annotations

import itertools

from must_keras.data.labelled import Labelled
from must_keras.data.sources import Source, TolerantSource
from must_keras.errors import DataError, UserError
from must_keras.progress import track
from must_keras.recipe import (
    AnyTeacher,
    ForeignLabels,
    ForeignTeacher,
    Recipe,
    Teacher,
    Transfer,
    student_weights,
)
from must_keras.training.foreign import ForeignPredictor
from must_keras.training.pictures import spread
from must_keras.workdir import Workdir

# Of each training, validation and test set: of a user's files, and of what a program wrote.
_FILES, _IMAGES = 512, 8


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Reads images and labels of the sets of all teachers and transfers that are not begun.

    And the true labels that pools bring; and lets foreign teachers see a picture.

    Raises:
        UserError: one cannot be read, or says what it should not; names the file.
    """
    student_weights(recipe)
    for teacher in recipe.teachers:
        if isinstance(teacher, ForeignTeacher) and not _begun(workdir, teacher):
            size = teacher.model.size
            ForeignPredictor(teacher.model, teacher.task, (size, size)).check()
        if isinstance(teacher, ForeignLabels) and not _begun(workdir, teacher):
            _look_at_labels(teacher)
    for pool in recipe.pools:
        if pool.source.label_spaces:
            examples = Labelled(TolerantSource(pool.source), recipe.tasks)
            for index in _some(pool.source):
                examples.load(index)
    items: list[Teacher | Transfer] = [t for t in recipe.trained_teachers if not _begun(workdir, t)]
    items += [t for t in recipe.transfers if not (workdir.root / "transfers" / t.name).exists()]
    pairs = list(itertools.product(items, ("train", "validation", "test")))
    for item, split in track(pairs, "first look at the data", len(pairs)):
        source = getattr(item.sets, split)
        examples = Labelled(source, [item.task])
        looked = [examples.load(i)[1][item.task.name] for i in _some(source)]
        if all(item.task.says_nothing(label) for label in looked):
            raise UserError(
                f"source {source.name!r}: none of {len(looked)} images from all over the set says "
                f"anything of head {item.task.name!r}: every pixel is unknown"
            )


def _look_at_labels(teacher: ForeignLabels) -> None:
    """Some may be unreadable, as images of a pool may be; not the most of them."""
    looked = _some(teacher.labels)
    errors = []
    for index in looked:
        try:
            teacher.record(teacher.labels.image_id(index))
        except (UserError, DataError) as error:
            errors.append(error)
    if len(errors) > len(looked) / 2:
        raise errors[0]


def _begun(workdir: Workdir, teacher: AnyTeacher) -> bool:
    return workdir.teacher(teacher.name).folder.exists()


def _some(source: Source) -> list[int]:
    """Indices from all over a source."""
    is_of_files = len(source) > 0 and source.file(0) is not None
    return spread(_FILES if is_of_files else _IMAGES, len(source))
