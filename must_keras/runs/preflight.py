"""Images and labels of every set are read before anything is made: mistakes show at once."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections.abc import Mapping

from must_keras.data.io import notices
from must_keras.data.examples import LabeledExamples
from must_keras.data.sources import Source, TolerantSource
from must_keras.errors import DataError, UserError
from must_keras.experiment import nearest
from must_keras.progress import track
from must_keras.config.recipe import AnyTeacher, ImportedLabels, ExternalTeacher, Pool, Recipe, Teacher, Transfer, student_weights
from must_keras.runs.label_contents import LabelContents, search
from must_keras.tasks.base import Task
from must_keras.inference.external import ExternalPredictor
from must_keras.inference.visualization import spread
from must_keras.runs.workdir import Workdir

# Of each training, validation and test set: of a user's files, and of what a program wrote.
_FILES, _IMAGES = 512, 8
_SPLITS = ("train", "validation", "test")


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Reads images and labels of the sets of all teachers and transfers that are not begun.

    And, before the student is begun, the ground-truth labels of pools; and lets foreign teachers
    see a picture. What the labels leave to learn is counted for each class at the recipe's size,
    and what is noticed in the files is reported on stderr, once for each source.

    Raises:
        UserError: one cannot be read, or says what it should not; names the file. Or nothing can
            be learned from a set; names the reasons.
    """
    student_weights(recipe)
    with notices.gathered():
        for teacher in recipe.teachers:
            if isinstance(teacher, ExternalTeacher) and not _begun(workdir, teacher):
                size = teacher.model.size
                ExternalPredictor(teacher.model, teacher.task, (size, size)).check()
            if isinstance(teacher, ImportedLabels) and not _begun(workdir, teacher):
                _look_at_labels(teacher)
        for pool in recipe.pools:
            _warn_of_unused_heads(pool, recipe)
            if workdir.student.folder.exists():
                continue
            if pool.source.label_spaces:
                _look_at_pool(pool, recipe)
            else:
                _look_at_images(pool.source)
        items: list[AnyTeacher | Transfer] = [
            t for t in recipe.teachers if t.sets is not None and not _begun(workdir, t)
        ]
        items += [t for t in recipe.transfers if not (workdir.root / "transfers" / t.name).exists()]
        pairs = list(itertools.product(items, _SPLITS))
        contents: dict[tuple[str, str], dict[str, LabelContents]] = {}
        for item, split in track(pairs, "first look at the data", len(pairs)):
            key = (type(item).__name__.lower(), item.name)
            contents.setdefault(key, {})[split] = _look_at_split(recipe, item, split)
    for (kind, name), found in contents.items():
        _report(f"{kind} {name!r}", found)


def _look_at_split(recipe: Recipe, item: AnyTeacher | Transfer, split: str) -> LabelContents:
    """Count what a split of a teacher's or a transfer's set leaves to learn.

    Raises:
        UserError: nothing.
    """
    source, task = getattr(item.sets, split), item.task
    scale = _scale(recipe, item) if split == "train" else 1.0
    readable = TolerantSource(source, most=recipe.max_unreadable)
    found = _contents(readable, [task], size=recipe.network.size, scale=scale)[task.name]
    if found.is_empty and found.is_certain:
        raise UserError(
            f"source {source.name!r} ({split} of {type(item).__name__.lower()} {item.name!r}): "
            f"nothing to learn for head {task.name!r}: {found.why_empty()}"
        )
    return found


def _scale(recipe: Recipe, item: AnyTeacher | Transfer) -> float:
    """The largest scale of an image in training: whole images where no weight is trained."""
    if isinstance(item, Teacher) or (isinstance(item, Transfer) and recipe.mode == "full"):
        return item.training.augmentation.largest_scale
    return 1.0


def _look_at_pool(pool: Pool, recipe: Recipe) -> None:
    """Read the ground-truth labels of a pool, which may be those of a few images.

    Raises:
        UserError: all that they contain is lost, and they would replace the teachers' labels.
    """
    tasks = [task for task in recipe.tasks if task.name in pool.source.label_spaces]
    source = TolerantSource(pool.source)
    scale = recipe.student.training.augmentation.largest_scale
    counted = _contents(source, tasks, size=recipe.network.size, scale=scale)
    for head, found in counted.items():
        if found.is_lost and found.is_certain:
            raise UserError(
                f"pool {pool.source.name!r}: nothing to learn for head {head!r} from its own "
                f"labels, which replace the teachers': {found.why_empty()}"
            )
        _report(f"pool {pool.source.name!r}", {"": found})


def _warn_of_unused_heads(pool: Pool, recipe: Recipe) -> None:
    known = [task.name for task in recipe.tasks]
    heads = {head for source in (pool.source, pool.truth) if source for head in source.label_spaces}
    for head in sorted(heads - set(known)):
        print(
            f"warning: pool {pool.source.name!r} has labels of head {head!r}, which are not used: "
            f"the student has no such head; {nearest(head, known)}",
            file=sys.stderr,
        )


def _look_at_images(source: Source) -> None:
    """Read a few images, so that what is noticed in them is reported before anything is made."""
    for index in spread(_IMAGES, len(source)):
        # What cannot be read is skipped, and reported, when the pool is labeled.
        with contextlib.suppress(UserError, DataError):
            source.image(index)


def _contents(
    source: Source, tasks: list[Task], *, size: int, scale: float
) -> dict[str, LabelContents]:
    """Return {head: what its labels leave to learn}.

    Images all over the source are decoded as well; one that cannot be read is not counted.
    """
    examples = LabeledExamples(source, tasks)
    read = _some(source)
    contents = {
        task.name: LabelContents(task, size=size, scale=scale, num_images=len(source))
        for task in tasks
    }
    for index in read:
        original = source.image(index).shape[:2]
        if source.is_gone(index):
            for found in contents.values():
                found.unreadable += 1
            continue
        labels, origins = examples.labels_and_origins(index)
        for head, found in contents.items():
            found.add(labels[head], original, is_labeled=origins[head] != "missing")
    for found in contents.values():
        search(found, examples, source, read)
    return contents


def _report(where: str, contents: Mapping[str, LabelContents]) -> None:
    """Warn of what cannot be learned, once for the splits in which it is the same."""
    splits: dict[str, list[str]] = {}
    for split, found in contents.items():
        for text in found.shortcomings():
            splits.setdefault(f"head {found.task.name!r}: {text}", []).append(split)
    for text, names in splits.items():
        of = f" ({', '.join(names)})" if all(names) else ""
        print(f"warning: {where}{of}, {text}", file=sys.stderr)


def _look_at_labels(teacher: ImportedLabels) -> None:
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
