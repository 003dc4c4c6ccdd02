"""The preflight: images, labels and folders are checked before anything is made."""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from must_keras.config.recipe import Pool, Recipe
from must_keras.data.examples import ConcatenatedExamples, LabeledExamples
from must_keras.data.ground_truth_share import by_ground_truth
from must_keras.data.io import notices
from must_keras.data.sources import Source, TolerantSource
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError, argument, nearest, warn
from must_keras.inference.visualization import spread
from must_keras.log import LOG
from must_keras.progress import track
from must_keras.runs import set_counts
from must_keras.runs.label_contents import LabelContents, count
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.tasks.base import Task
from must_keras.training.initialization import FromScratch
from must_keras.training.self_labeled import streams_of
from must_keras.training.stream_networks import check_backbone

# Images that are decoded of a pool without labels.
_MAX_POOL_IMAGES = 8
_SPLITS = ("train", "validation", "test")


class _Set(NamedTuple):
    """A labeled set of a teacher or a transfer, and how large its training images are at most."""

    title: str
    task: Task
    sets: Splits
    size: int
    scale: float


def check_data(run: Run) -> None:
    """Read images and labels of the sets of all teachers and transfers that are not begun.

    And, before the student is begun, of the pools; external models predict from a test image. What
    the labels leave to learn is counted for each class at the recipe's size, and what is noticed
    in the files is reported on stderr, once for each source.

    Raises:
        UserError: an image or a label cannot be read, or does not fit; names the file. Or nothing
            can be learned from a set; names the reasons. Or an export needs a package.
    """
    recipe = run.recipe
    recipe.loss_weights()
    for form in recipe.exports:
        form.check_installed()
    _check_kinds(run)
    _warn_of_unused_weights(recipe)
    teachers = [t for t in recipe.teachers if not run.teacher(t.name).folder.exists()]
    with notices.gathered():
        for teacher in teachers:
            teacher.preflight()
        _check_self_labeled(run)
        for pool in recipe.pools:
            _warn_of_unused_heads(pool, run)
            if run.student.folder.exists():
                continue
            if pool.source.label_spaces:
                _check_pool(pool, run)
            else:
                _read_images(pool.source)
        size = recipe.network.size
        items = [
            _Set(
                f"teacher {t.name!r}",
                t.task,
                t.sets,
                (t.network or recipe.network).size,
                t.largest_scale(),
            )
            for t in teachers
            if t.sets is not None
        ]
        for t in recipe.transfers:
            if not (run.path / "transfers" / t.name).exists():
                # Whole images where no weight is trained.
                scale = t.training.augmentation.largest_scale if recipe.mode == "full" else 1.0
                items.append(_Set(f"transfer {t.name!r}", t.task, t.sets, size, scale))
        pairs = list(itertools.product(items, _SPLITS))
        contents: dict[str, dict[str, LabelContents]] = {}
        for item, split in track(pairs, "preflight", len(pairs)):
            contents.setdefault(item.title, {})[split] = _check_split(run, item, split)
    _report_counts(run, items)
    for title, found in contents.items():
        _report(title, found)
        trained = found["train"]
        for text in trained.misfits():
            warn(f"{title} (train), head {trained.task.name!r}: {text}")


def check_folders(run: Run, stages: Sequence[Stage]) -> None:
    """Raise UserError where a run's folder is in a source's folder, or images are in a stage's.

    In the first case the pictures of the run would be images of the source, in the second a stage
    that is made again would delete the images.
    """
    recipe = run.recipe
    sources = [source for teacher in recipe.teachers for source in teacher.sources()]
    for transfer in recipe.transfers:
        sources += [getattr(transfer.sets, split) for split in _SPLITS]
    for pool in recipe.pools:
        sources += filter(None, (pool.source, pool.truth))
    given, inside = argument("workdir", run.path), run.path.resolve()
    own = [inside / name for name in {stage.folder or stage.name for stage in stages} | {"pools"}]
    for source in {id(source): source for source in sources}.values():
        for folder in sorted(source.folders()):
            path = folder.resolve()
            if path in (inside, *inside.parents):
                raise UserError(
                    f"{given} is in {folder}, the folder of source {source.name!r}: the run's own "
                    "pictures would lie among its images. Nothing was written; choose a `workdir` "
                    "elsewhere"
                )
            if any(stage in (path, *path.parents) for stage in own):
                raise UserError(
                    f"{folder}, the folder of source {source.name!r}, is in {given}, "
                    "where a stage that is made again deletes it. Nothing was written; move the "
                    "images, or choose another `workdir`"
                )


def _check_kinds(run: Run) -> None:
    """Raise UserError where an option is for one kind of images, and there is none of it.

    A share of ground truth needs images with it and images without, strong views the latter.
    """
    recipe, student = run.recipe, run.recipe.student
    share, strong_views = student.ground_truth_share, student.strong_views
    if (share is None and strong_views is None) or run.student.folder.exists():
        return
    parts = [LabeledExamples(source, recipe.tasks) for source in recipe.student_sources]
    has_ground_truth = ConcatenatedExamples(parts).has_ground_truth
    if share is not None:
        by_ground_truth(has_ground_truth, share)
    if strong_views is not None:
        strong_views.unless(has_ground_truth)


def _check_split(run: Run, item: _Set, split: str) -> LabelContents:
    """Count what a split of a labeled set leaves to learn.

    Raises:
        UserError: nothing.
    """
    source, task, recipe = getattr(item.sets, split), item.task, run.recipe
    scale = item.scale if split == "train" else 1.0
    readable = TolerantSource(source, max_skipped=recipe.max_unreadable)
    found = count(readable, [task], size=item.size, scale=scale)[task.name]
    if found.is_empty and found.is_certain:
        raise UserError(
            f"source {source.name!r} ({split} of {item.title}): nothing to learn for head "
            f"{task.name!r}: {found.why_empty()}"
        )
    return found


def _check_pool(pool: Pool, run: Run) -> None:
    """Read the ground-truth labels of a pool, which may be those of a few images.

    Raises:
        UserError: all that they contain is lost, and they would replace the teachers' labels.
    """
    recipe = run.recipe
    tasks = [task for task in recipe.tasks if task.name in pool.source.label_spaces]
    source = TolerantSource(pool.source)
    scale = recipe.student.training.augmentation.largest_scale
    size = recipe.first_student.network.size
    counted = count(source, tasks, size=size, scale=scale)
    for head, found in counted.items():
        if found.is_lost and found.is_certain:
            raise UserError(
                f"pool {pool.source.name!r}: nothing to learn for head {head!r} from its own "
                f"labels, which replace the teachers': {found.why_empty()}"
            )
        _report(f"pool {pool.source.name!r}", {"": found})


def _check_self_labeled(run: Run) -> None:
    """Raise UserError where self-labeled heads that are still to be trained cannot be."""
    recipe = run.recipe
    of_students = (*(one.network for one in recipe.labelers), recipe.network)
    trained = [(of_students, recipe.student.self_labeled, run.student)]
    for method in recipe.wanted_selfsup:
        trained.append(((recipe.network,), method.heads, run.self_supervised(method.name)))
    for networks, heads, artifact in trained:
        if artifact.folder.exists():
            continue
        for head in heads:
            head.task.preflight()
        for network in networks if streams_of(heads) else ():
            check_backbone(network)


def _warn_of_unused_weights(recipe: Recipe) -> None:
    trained = (*recipe.trained_teachers, recipe.student, *recipe.wanted_selfsup)
    used = "checkpoint" in recipe.start_names or any(one.start != FromScratch() for one in trained)
    if recipe.network.backbone.has_checkpoint and not used:
        warn(
            f"the weights of the network's {type(recipe.network.backbone).__name__} are not used: "
            "every training starts from random weights; set start=FromCheckpoint() of the student "
            "and the teachers"
        )


def _warn_of_unused_heads(pool: Pool, run: Run) -> None:
    known = [task.name for task in run.recipe.tasks]
    heads = {head for source in (pool.source, pool.truth) if source for head in source.label_spaces}
    for head in sorted(heads - set(known)):
        warn(
            f"pool {pool.source.name!r} has labels of head {head!r}, which are not used: "
            f"the student has no such head; {nearest(head, known)}"
        )


def _report_counts(run: Run, items: Sequence[_Set]) -> None:
    """Report images without a label, and pools that repeat training images."""
    counts = {}
    for item, split in itertools.product(items, _SPLITS):
        source = getattr(item.sets, split)
        counts[source.name] = set_counts.of_labeled(source, item.task.name)
    for pool in () if run.student.folder.exists() else run.recipe.pools:
        counts[pool.source.name] = set_counts.of_pool(pool.source, run.recipe)
    for name, found in counts.items():
        for sentence in set_counts.sentences(name, found):
            LOG.info(sentence)


def _read_images(source: Source) -> None:
    """Read a few images, so that what is noticed in them is reported before anything is made."""
    for index in spread(_MAX_POOL_IMAGES, len(source)):
        # What cannot be read is skipped, and reported, when the pool is labeled.
        with contextlib.suppress(UserError, DataError):
            source.image(index)


def _report(where: str, contents: Mapping[str, LabelContents]) -> None:
    """Warn of what cannot be learned, once for the splits in which it is the same."""
    splits: dict[str, list[str]] = {}
    for split, found in contents.items():
        for text in found.shortcomings():
            splits.setdefault(f"head {found.task.name!r}: {text}", []).append(split)
    for text, names in splits.items():
        of = f" ({', '.join(names)})" if all(names) else ""
        warn(f"{where}{of}, {text}")
