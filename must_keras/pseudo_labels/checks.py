"""Checks of pseudo-label datasets: whether they are whole, how two differ, and their cost."""

from __future__ import annotations

import dataclasses
import pathlib
import resource
import time
from collections.abc import Iterator, Sequence

from must_keras.config.recipe import Recipe
from must_keras.config.teachers import AnyTeacher
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, TolerantSource
from must_keras.errors import DataError, UserError, not_allowed
from must_keras.inference import scoring
from must_keras.progress import track
from must_keras.pseudo_labels import quality, store
from must_keras.pseudo_labels.importer import print_estimate
from must_keras.pseudo_labels.labeler import Labeler, Range
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.artifact import Artifact
from must_keras.runs.marks import FINISHED
from must_keras.runs.run import Run

_TIMED_BATCHES = 8


def verify(run: Run, only: Sequence[str] = ()) -> None:
    """Read every complete dataset back; the next `--stage=label` makes broken shards again.

    Args:
        run: the run.
        only: names of teachers; empty: all.

    Raises:
        DataError: some are broken; all are named on stdout.
    """
    broken = 0
    for _, source, labels in _datasets(run, only):
        if not labels.is_there:
            print(f"{labels.folder}: not complete")
            continue
        problems = store.verify(labels.folder, source)
        for problem in problems:
            print(f"{labels.folder}: {problem}")
        if problems:
            broken += 1
            (labels.folder / FINISHED).unlink()
        else:
            print(f"{labels.folder}: {len(source)} records, as they were written")
    if broken:
        raise DataError(
            f"{broken} pseudo-label datasets are broken, see above: --stage=label makes those "
            "shards again"
        )


def compare(run: Run, other: pathlib.Path) -> None:
    """Print how a dataset of this run differs from another of the same teacher and source.

    Args:
        run: the run.
        other: a dataset's folder, <run>/labels/<teacher>/<source>.

    Raises:
        UserError: there is no such dataset here or there.
    """
    found = {f"{t.name}/{s.name}": (t, s, labels) for t, s, labels in _datasets(run, ())}
    name = "/".join(other.resolve().parts[-2:])
    if name not in found:
        raise not_allowed(
            f"diff={other}: this run has no labels {name}", name, [*found], key="diff"
        )
    teacher, source, labels = found[name]
    mine = PseudoLabelReader(labels.folder, source, teacher.task)
    theirs = PseudoLabelReader(other, source, teacher.task)
    teacher = run.resolved(teacher)
    values = difference(run.recipe, teacher, source, mine, theirs)
    print(f"{name}: this run's labels beside those of {other}, at the same threshold")
    for metric, value in values.items():
        print(f"  {metric}: {'unknown' if value is None else f'{value:.4f}'}")


def difference(
    recipe: Recipe,
    teacher: AnyTeacher,
    source: Source,
    mine: PseudoLabelReader,
    other: PseudoLabelReader,
) -> dict[str, float | None]:
    """Return the task's metrics of pseudo labels, with the other dataset as ground truth."""
    task = teacher.task
    images = TolerantSource(source)
    sides = [quality.pseudo_labeled(teacher, images, reader) for reader in (mine, other)]
    count = len(source)
    batches = evaluation_batches(
        quality.Beside(*sides, task),
        [task, dataclasses.replace(task, name=quality.TRUTH)],
        size=recipe.network.size,
        batch=recipe.evaluation_batch,
        ranges=[range(count)],
    )
    evaluator = task.metrics.quality()
    for _, y in track(batches, f"{teacher.name} for {source.name}", len(batches)):
        keep = y["index"].numpy() >= 0
        labels = [
            {key: value.numpy()[keep] for key, value in y["labels"][name].items()}
            for name in (quality.TRUTH, task.name)
        ]
        evaluator.update(*labels)
    return scoring.finite(evaluator.result())


def print_plan(run: Run, only: Sequence[str] = ()) -> None:
    """Time a few batches and print what labeling everything will cost; writes nothing.

    Args:
        run: the run.
        only: names of teachers; empty: all.

    Raises:
        UserError: a teacher is not complete.
    """
    recipe, datasets = run.recipe, list(_datasets(run, only))
    teachers = {teacher.name: teacher for teacher, _, _ in datasets}
    for name in teachers:
        if not run.teacher(name).is_there:
            raise UserError(f"teacher {name!r} is not complete: run --stage=teacher first")
    labeler = Labeler(run, [teacher for teacher in teachers.values() if teacher.predicts])
    hours = 0.0
    for source in recipe.student_sources:
        of_source = [teacher for teacher, other, _ in datasets if other.name == source.name]
        for teacher in of_source:
            if not teacher.predicts:
                print_estimate(teacher, source)
        names = tuple(teacher.name for teacher in of_source if teacher.predicts)
        if not names:
            continue
        count = min(len(source), _TIMED_BATCHES * recipe.evaluation_batch)
        sizes = dict.fromkeys(names, 0)
        times = [time.monotonic()]
        for batch in labeler.records(source, [Range(0, count, names)]):
            times.append(time.monotonic())
            for one in batch:
                task = teachers[one.teacher].task
                sizes[one.teacher] += store.num_bytes(one.image_id, one.record, task)
        # A batch is given when the next one is computed, the last one at once; the first traces.
        first = 1 if len(times) > 3 else 0
        timed = max(1, len(times) - 2 - first) * recipe.evaluation_batch
        seconds = (times[-1] - times[first]) / timed * len(source)
        hours += seconds / 3600
        print(f"{source.name}: {len(source)} images, about {_span(seconds)} for {', '.join(names)}")
        for name, size in sizes.items():
            each = size / count
            print(f"  {name}: {each:.0f} bytes an image, {each * len(source) / 1e9:.3f} GB")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"in all about {_span(hours * 3600)}, with {memory:.1f} GiB of memory")


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _datasets(run: Run, only: Sequence[str]) -> Iterator[tuple[AnyTeacher, Source, Artifact]]:
    """All pseudo-label datasets of a run, or those of the teachers that are named."""
    teachers = run.recipe.teachers
    for teacher in [t for t in teachers if t.name in only] or teachers:
        for source, labels in run.label_sets(teacher):
            yield teacher, source, labels
