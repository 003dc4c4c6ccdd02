"""Label columns looked at: whether they are whole, how two of them differ, what they would cost."""

from __future__ import annotations

import dataclasses
import pathlib
import resource
import time
from collections.abc import Iterator

from must_keras.config.recipe import AnyTeacher, ImportedLabels, Recipe
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, TolerantSource
from must_keras.errors import DataError, UserError
from must_keras.experiment import nearest
from must_keras.inference import scoring
from must_keras.progress import track
from must_keras.pseudo_labels import quality, store, thresholds
from must_keras.pseudo_labels.importer import tell_plan
from must_keras.pseudo_labels.labeler import Labeler, Range
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.workdir import FINISHED, Workdir
from must_keras.stages.label import sources_to_label, student_sources, that_look
from must_keras.stages.teacher import selected

_TIMED_BATCHES = 8


def verify(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Reads every finished column back; the next `--stage=label` makes broken shards again.

    Raises:
        DataError: some are broken; all are named on stdout.
    """
    broken = 0
    for teacher, source in _columns(recipe, only):
        part = workdir.labels(teacher.name, source.name)
        if part.result() is None:
            print(f"{part.folder}: not finished")
            continue
        problems = store.verify(part.folder, source)
        for problem in problems:
            print(f"{part.folder}: {problem}")
        if problems:
            broken += 1
            (part.folder / FINISHED).unlink()
        else:
            print(f"{part.folder}: {len(source)} records, as they were written")
    if broken:
        raise DataError(
            f"{broken} label columns are broken, see above: --stage=label makes those shards again"
        )


def compare(recipe: Recipe, workdir: Workdir, other: pathlib.Path) -> None:
    """Says how this run's column differs from another of the same teacher and source.

    Args:
        recipe: the run's values.
        workdir: the run's folder.
        other: a column's folder, <run>/labels/<teacher>/<source>.

    Raises:
        UserError: there is no such column here or there.
    """
    pairs = {f"{t.name}/{s.name}": (t, s) for t, s in _columns(recipe, ())}
    name = "/".join(other.resolve().parts[-2:])
    if name not in pairs:
        raise UserError(f"--diff={other}: this run has no column {name}; {nearest(name, [*pairs])}")
    teacher, source = pairs[name]
    mine = PseudoLabelReader(workdir.labels(teacher.name, source.name).folder, source, teacher.task)
    teacher = thresholds.resolved(teacher, workdir)
    found = difference(
        recipe, teacher, source, mine, PseudoLabelReader(other, source, teacher.task)
    )
    print(f"{name}: this run's labels beside those of {other}, at the same threshold")
    for metric, value in found.items():
        print(f"  {metric}: {'unknown' if value is None else f'{value:.4f}'}")


def difference(
    recipe: Recipe,
    teacher: AnyTeacher,
    source: Source,
    mine: PseudoLabelReader,
    other: PseudoLabelReader,
) -> dict[str, float | None]:
    """The task's measures of pseudo labels, with the other column in the place of the truth."""
    task = teacher.task
    images = TolerantSource(source)
    sides = [quality.pseudo_labeled(teacher, images, column) for column in (mine, other)]
    count = len(source)
    batches = evaluation_batches(
        quality.Beside(*sides, task),
        [task, dataclasses.replace(task, name=quality.TRUTH)],
        size=recipe.network.size,
        batch=recipe.evaluation_batch,
        ranges=[range(count)],
    )
    evaluator = task.quality()
    for _, y in track(batches, f"{teacher.name} for {source.name}", len(batches)):
        keep = y["index"].numpy() >= 0
        labels = [
            {key: value.numpy()[keep] for key, value in y["labels"][name].items()}
            for name in (quality.TRUTH, task.name)
        ]
        evaluator.update(*labels)
    return scoring.finite(evaluator.result())


def plan(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Times a few batches and says what labeling everything will take; writes nothing.

    Raises:
        UserError: a teacher is not finished.
    """
    teachers = selected(recipe.teachers, only)
    for teacher in teachers:
        if workdir.teacher(teacher.name).result() is None:
            raise UserError(f"teacher {teacher.name!r} is not finished: run --stage=teacher first")
    labeler, hours = Labeler(recipe, workdir, that_look(teachers)), 0.0
    for source in student_sources(recipe):
        said = [t for t, s in _columns(recipe, only) if s.name == source.name]
        for teacher in said:
            if isinstance(teacher, ImportedLabels):
                tell_plan(teacher, source)
        names = tuple(teacher.name for teacher in that_look(said))
        if not names:
            continue
        count = min(len(source), _TIMED_BATCHES * recipe.evaluation_batch)
        sizes = dict.fromkeys(names, 0)
        times = [time.monotonic()]
        for batch in labeler.say(source, [Range(0, count, names)]):
            times.append(time.monotonic())
            for one in batch:
                teacher = next(t for t in teachers if t.name == one.teacher)
                sizes[one.teacher] += store.num_bytes(one.image_id, one.record, teacher.task)
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


def _columns(recipe: Recipe, only: tuple[str, ...]) -> Iterator[tuple[AnyTeacher, Source]]:
    for teacher in selected(recipe.teachers, only):
        for source in sources_to_label(recipe, teacher):
            yield teacher, source
