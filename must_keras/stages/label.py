"""Stage 2: what every teacher says of every image, one label column per teacher and source."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import keras

from must_keras.data.columns import Column, ColumnWriter
from must_keras.data.labelled import Labelled, PseudoLabels
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, TolerantSource, without_labels
from must_keras.errors import DataError, UserError
from must_keras.files import file_sha256
from must_keras.progress import Progress
from must_keras.recipe import Recipe, Teacher
from must_keras.stages import scoring
from must_keras.stages.teacher import selected
from must_keras.tasks.base import Task
from must_keras.training import pictures
from must_keras.training.inference import Predictor
from must_keras.training.model import MultiTaskModel
from must_keras.workdir import Part, Workdir, describe

# Maps are stored with a long side of at most this many cells.
MAX_MAP_SIDE = 320
_QUALITY_IMAGES = 512
_PICTURES = 6


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Writes the columns that are not finished."""
    for teacher in selected(recipe.teachers, only):
        path = workdir.teacher(teacher.name).model_path
        if workdir.teacher(teacher.name).result() is None:
            raise UserError(f"teacher {teacher.name!r} is not finished: run --stage=teacher first")
        sha256 = file_sha256(path)
        predictor = None
        for source in sources_to_label(recipe, teacher):
            part = workdir.labels(teacher.name, source.name)
            if part.is_finished(inputs(recipe, teacher, source, sha256)):
                print(f"labels of {teacher.name} for {source.name}: finished before")
                continue
            if predictor is None:
                model: MultiTaskModel = keras.saving.load_model(path)
                predictor = Predictor(model, map_size(recipe.network.size))
            _label(recipe, teacher, source, predictor, part, sha256)


def student_sources(recipe: Recipe) -> list[Source]:
    """What the student sees, each source once: the teachers' training sets and the pools.

    Raises:
        UserError: two different sources share a name.
    """
    sources = [teacher.sets.train for teacher in recipe.teachers] if recipe.student.union else []
    sources += [pool.source for pool in recipe.pools]
    found: dict[str, Source] = {}
    for source in sources:
        other = found.setdefault(source.name, source)
        if other is not source and describe(other) != describe(source):
            raise UserError(
                f"two different sources of the student are named {source.name!r}: "
                "a name stands for one source's label columns"
            )
    return list(found.values())


def sources_to_label(recipe: Recipe, teacher: Teacher) -> list[Source]:
    """The student's sources that a teacher labels: all but the set it was trained on."""
    return [s for s in student_sources(recipe) if s.name != teacher.sets.train.name]


def map_size(size: int) -> tuple[int, int]:
    """(H', W') in which maps are predicted for storing: a whole part of the input's size."""
    factor = -(-size // MAX_MAP_SIDE)
    while size % factor:
        factor += 1
    return (size // factor, size // factor)


def inputs(recipe: Recipe, teacher: Teacher, source: Source, sha256: str) -> dict:
    """What a column depends on: not the threshold, which is applied when it is read."""
    return {
        "teacher_sha256": sha256,
        "task": teacher.task,
        "size": recipe.network.size,
        "batch": recipe.evaluation_batch,
        "source": source,
    }


def _label(
    recipe: Recipe,
    teacher: Teacher,
    source: Source,
    predictor: Predictor,
    part: Part,
    sha256: str,
) -> None:
    part.folder.mkdir(parents=True, exist_ok=True)
    writer = ColumnWriter(
        part.folder,
        teacher.task,
        len(source),
        teacher_sha256=sha256,
        recipe=describe(inputs(recipe, teacher, source, sha256)),
    )
    pending = writer.pending_ranges()
    title = f"labels of {teacher.name} for {source.name}"
    progress = Progress(title, sum(count for _, count in pending), part.folder)
    start, written = time.monotonic(), 0
    ranges = [range(first, first + count) for first, count in pending]
    records = _counted(_records(recipe, teacher.task, source, predictor, ranges), progress)
    for first, count in pending:
        writer.write_shard(first, itertools.islice(records, count))
        progress.record()
        written += count
    progress.close()
    seconds = time.monotonic() - start
    writer.finish()
    column = Column(part.folder, source)
    labelled = len(column) - sum(column.is_empty(i) for i in range(len(column)))
    if not labelled:
        raise DataError(f"{title}: not one of {len(column)} images has a label")
    truth = _truth(recipe, source, teacher.task)
    result = {
        "teacher_sha256": sha256,
        "images": len(column),
        "labelled": labelled,
        "bytes": sum(path.stat().st_size for path in part.folder.glob("labels-*")),
        "images_per_second": round(written / max(seconds, 1e-9), 1) if written else None,
        "quality": _quality(recipe, teacher, truth, column) if truth is not None else None,
    }
    _show(recipe, teacher, source, truth, column, part)
    part.finish(inputs(recipe, teacher, source, sha256), result)
    quality = f", {scoring.headline(result['quality'])}" if result["quality"] else ""
    print(f"{title}: {labelled} of {len(column)} images{quality}")


def _records(
    recipe: Recipe, task: Task, source: Source, predictor: Predictor, ranges: list[range]
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """(id, record) of every image of a range, in order; None where it cannot be read."""
    size = recipe.network.size
    images = TolerantSource(without_labels(source))
    batches = evaluation_batches(
        Labelled(images, []), [], size=size, batch=recipe.evaluation_batch, ranges=ranges
    )
    for predicted in predictor(batches):
        outputs = predicted.outputs[task.name]
        for i, index in enumerate(predicted.y["index"]):
            if index in images.unreadable:
                yield source.image_id(int(index)), None
                continue
            one = pictures.take(outputs, i)
            yield (
                source.image_id(int(index)),
                task.encode(one, predicted.x["area"][i], (size, size)),
            )


def _counted(records: Iterator, progress: Progress) -> Iterator:
    for record in records:
        yield record
        progress.advance()


def _truth(recipe: Recipe, source: Source, task: Task) -> Source | None:
    """The same images with true labels of a task, where somebody knows them."""
    known = [p.truth for p in recipe.pools if p.truth is not None and p.source.name == source.name]
    known += [source]
    return next((s for s in known if task.name in s.label_spaces), None)


def _pairs(
    recipe: Recipe,
    teacher: Teacher,
    truth: Source,
    column: Column,
    *,
    ranges: list[range],
    batch: int,
) -> Iterator[tuple[dict, dict, dict]]:
    """Batches of (true labels, pseudo labels, images and areas) as the student would see them."""
    task = teacher.task
    truth = TolerantSource(truth)
    pseudo = PseudoLabels(column=column, threshold=teacher.threshold)
    told = Labelled(without_labels(truth), [task], {task.name: pseudo})
    for (x, y), (_, z) in zip(
        *(
            evaluation_batches(
                examples,
                [task],
                size=recipe.network.size,
                batch=batch,
                ranges=ranges,
            )
            for examples in (Labelled(truth, [task]), told)
        ),
        strict=True,
    ):
        keep = y["index"].numpy() >= 0
        true, said = (
            {k: v.numpy()[keep] for k, v in labels["labels"][task.name].items()}
            for labels in (y, z)
        )
        yield true, said, {k: v.numpy()[keep] for k, v in x.items()}


def _quality(
    recipe: Recipe, teacher: Teacher, truth: Source, column: Column
) -> dict[str, float | None]:
    evaluator = teacher.task.quality()
    ranges = [range(min(_QUALITY_IMAGES, len(truth)))]
    batch = recipe.evaluation_batch
    for true, said, _ in _pairs(recipe, teacher, truth, column, ranges=ranges, batch=batch):
        evaluator.update(true, said)
    return scoring.finite(evaluator.result())


def _show(
    recipe: Recipe,
    teacher: Teacher,
    source: Source,
    truth: Source | None,
    column: Column,
    part: Part,
) -> None:
    """A picture: image, truth where it is known, pseudo label."""
    shown = truth if truth is not None else source
    rows = []
    ranges = [range(i, i + 1) for i in pictures.spread(_PICTURES, len(shown))]
    for true, said, x in _pairs(recipe, teacher, shown, column, ranges=ranges, batch=1):
        labels = [pictures.take(true, 0)] if truth is not None else []
        labels.append(pictures.take(said, 0))
        rows.append(pictures.beside(teacher.task, x["image"][0], *labels, area=x["area"][0]))
    pictures.save(part.folder / "pictures" / f"{teacher.task.name}.png", pictures.grid(rows))
