"""Checks of pseudo-label datasets: quality, whether they are whole, how two differ, their cost."""

import dataclasses
import pathlib
import resource
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.config.imported_labels import ImportedLabels
from must_keras.config.recipe import Recipe
from must_keras.config.teachers import AnyTeacher
from must_keras.data.examples import LabeledExamples, count_classes
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, TolerantSource, without_labels
from must_keras.errors import DataError, UserError, not_allowed, warn
from must_keras.inference import scoring, visualization
from must_keras.json_files import write_json_lines
from must_keras.progress import track
from must_keras.pseudo_labels import store
from must_keras.pseudo_labels.labeler import Labeler, Range
from must_keras.pseudo_labels.store import PseudoLabelReader, layout
from must_keras.runs.artifact import Artifact
from must_keras.runs.marks import FINISHED
from must_keras.runs.run import Run
from must_keras.tasks.base import Task

# Images whose pseudo labels' classes are counted.
_COUNTED = 512
# The first images of a source that are compared.
_COMPARED = 512
_SHOWN = 6

_TIMED_BATCHES = 8
# Images that are looked up to know how many are labeled, and how large a label is.
_MEASURED = 64


def measure(recipe: Recipe, teacher: AnyTeacher, reader: PseudoLabelReader) -> dict[str, Any]:
    """Return what a dataset contains at the teacher's threshold; saves a picture.

    Returns:
        {"threshold", "counted": of how many images "class_counts" are, "quality": see `_quality`}.
    """
    places = reader.filled[visualization.spread(_COUNTED, len(reader.filled))].tolist()
    pseudo = {teacher.task.name: teacher.pseudo_labels(reader)}
    labels = LabeledExamples(without_labels(reader.source), [teacher.task], pseudo)
    return {
        "threshold": teacher.threshold,
        "ignore_from": teacher.ignore_from,
        "counted": len(places),
        "class_counts": count_classes(labels, teacher.task, indices=places) if places else None,
        "quality": _quality(recipe, teacher, reader),
    }


def _beside(task: Task) -> Task:
    """Return the head of pseudo labels beside that of ground truth; unlike any other's name."""
    return dataclasses.replace(task, name=f"{task.name} (pseudo labels)")


def _quality(
    recipe: Recipe, teacher: AnyTeacher, reader: PseudoLabelReader
) -> dict[str, float | None] | None:
    """Compare a complete dataset with ground truth, and save a picture of a few images.

    The picture, pictures/<head>.png in its folder, has a row an image: image, ground truth if it is
    known, pseudo label.

    Returns:
        {metric: value}; None where ground truth is not known.
    """
    task, source = teacher.task, reader.source
    truth = _truth(recipe, source, task)
    heads = [_beside(task)]
    count, batch = len(source), 1
    if truth is not None:
        heads = [task, *heads]
        count, batch = min(_COMPARED, count), recipe.evaluation_batch
    filled = reader.filled[reader.filled < count]
    shown = filled[visualization.spread(_SHOWN, len(filled))].tolist() or [0]
    pseudo = {heads[-1].name: teacher.pseudo_labels(reader)}
    batches = evaluation_batches(
        LabeledExamples(TolerantSource(source if truth is None else truth), heads, pseudo),
        heads,
        size=recipe.network.size,
        batch=batch,
        ranges=[range(i, i + 1) for i in shown] if truth is None else [range(count)],
    )
    evaluator, rows = task.metrics.quality(), []
    for x, y in batches:
        labels = _labels(y, heads)
        if truth is not None:
            evaluator.update(*labels)
        indices = y["index"].numpy()
        for i in np.flatnonzero(np.isin(indices, shown)):
            shown_labels = [visualization.take(label, i) for label in labels]
            area = x["area"][i].numpy()
            rows.append(visualization.row(task, x["image"][i].numpy(), *shown_labels, area=area))
    for warning in evaluator.warnings():
        who = f"labels of {teacher.name} for {source.name}"
        warn(f"{who}: {warning}")
    visualization.save(reader.folder / "pictures" / f"{task.name}.png", visualization.grid(rows))
    return None if truth is None else scoring.finite(evaluator.result())


def _labels(y: Mapping[str, Any], heads: Sequence[Task]) -> list[dict[str, np.ndarray]]:
    """Return the labels of each head in a batch, without its padding."""
    keep = y["index"].numpy() >= 0
    return [
        {key: value.numpy()[keep] for key, value in y["labels"][head.name].items()}
        for head in heads
    ]


def _truth(recipe: Recipe, source: Source, task: Task) -> Source | None:
    """Return the same images with ground truth of a task; None where it is not known."""
    known = [p.truth for p in recipe.pools if p.truth is not None and p.source.name == source.name]
    known += [source]
    return next((s for s in known if task.name in s.label_spaces), None)


def write_quarantine(teacher: AnyTeacher, reader: PseudoLabelReader) -> int:
    """Write quarantine.jsonl, {"index", "id", "reason"} of each image without labels.

    Returns:
        How many images these are.
    """
    source = reader.source
    empty = [
        {"index": i, "id": source.image_id(i), "reason": teacher.why_empty(source, i)}
        for i in range(len(reader))
        if reader.is_empty(i)
    ]
    write_json_lines(reader.folder / "quarantine.jsonl", empty)
    return len(empty)


def verify(run: Run, only: Sequence[str] = ()) -> None:
    """Read every complete dataset back; the next label stage makes broken shards again.

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
        problems = layout.verify(labels.folder, source)
        for problem in problems:
            print(f"{labels.folder}: {problem}")
        if problems:
            broken += 1
            (labels.folder / FINISHED).unlink()
        else:
            print(f"{labels.folder}: {len(source)} records, as they were written")
    if broken:
        raise DataError(
            f'{broken} pseudo-label datasets are broken, see above: stage="label" makes those '
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
    readers = [PseudoLabelReader(at, source, teacher.task) for at in (labels.folder, other)]
    values = _difference(run.recipe, run.resolved(teacher), *readers)
    print(f"{name}: this run's labels beside those of {other}, at the same threshold")
    for metric, value in values.items():
        print(f"  {metric}: {'unknown' if value is None else f'{value:.4f}'}")


def _difference(
    recipe: Recipe, teacher: AnyTeacher, mine: PseudoLabelReader, other: PseudoLabelReader
) -> dict[str, float | None]:
    """Return the task's metrics of pseudo labels, with the other dataset as ground truth."""
    task = teacher.task
    heads = [task, _beside(task)]
    pseudo = {
        head.name: teacher.pseudo_labels(reader)
        for head, reader in zip(heads, (other, mine), strict=True)
    }
    batches = evaluation_batches(
        LabeledExamples(without_labels(TolerantSource(mine.source)), heads, pseudo),
        heads,
        size=recipe.network.size,
        batch=recipe.evaluation_batch,
        ranges=[range(len(mine))],
    )
    evaluator = task.metrics.quality()
    for _, y in track(batches, f"{teacher.name} for {mine.source.name}", len(batches)):
        evaluator.update(*_labels(y, heads))
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
            raise UserError(f'teacher {name!r} is not complete: run stage="teacher" first')
    labeler = Labeler(run, [teacher for teacher in teachers.values() if teacher.predicts])
    hours = 0.0
    for source in recipe.student_sources:
        of_source = [teacher for teacher, other, _ in datasets if other.name == source.name]
        for teacher in of_source:
            if not teacher.predicts:
                _print_estimate(teacher, source)
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


def _print_estimate(teacher: ImportedLabels, source: Source) -> None:
    """Print how many images of a source have imported labels, and the size of their dataset."""
    named = [source.image_id(i) for i, known in enumerate(teacher.known(source)) if known]
    looked = [named[place] for place in visualization.spread(_MEASURED, len(named))]
    records = [(image_id, teacher.record(image_id)) for image_id in looked]
    sizes = [store.num_bytes(*one, teacher.task) for one in records if one[1] is not None]
    count = round(len(named) * len(sizes) / max(len(looked), 1))
    each = statistics.fmean(sizes) if sizes else 0.0
    print(
        f"{source.name}: labels of about {count} of {len(source)} images come from {teacher.name}"
    )
    print(f"  {teacher.name}: {each:.0f} bytes a label, {each * count / 1e9:.3f} GB")


def _span(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{seconds / 60:.1f} minutes"


def _datasets(run: Run, only: Sequence[str]) -> Iterator[tuple[AnyTeacher, Source, Artifact]]:
    """All pseudo-label datasets of a run, or those of the teachers that are named."""
    teachers = run.recipe.teachers
    for teacher in [t for t in teachers if t.name in only] or teachers:
        for source, labels in run.label_sets(teacher):
            yield teacher, source, labels
