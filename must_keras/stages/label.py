"""Stage 2: what every teacher says of every image, one label column per teacher and source."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from typing import Any

import keras

from must_keras.data.columns import Column, ColumnWriter
from must_keras.data.labelled import Labelled, count_classes
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, TolerantSource, without_labels
from must_keras.errors import DataError, UserError
from must_keras.files import file_sha256
from must_keras.progress import Progress
from must_keras.recipe import ForeignTeacher, Recipe, Teacher
from must_keras.stages import quality, scoring
from must_keras.stages.teacher import selected
from must_keras.training import pictures
from must_keras.training.foreign import ForeignPredictor
from must_keras.training.inference import Predictor
from must_keras.workdir import Part, Workdir, describe

# Maps are stored with a long side of at most this many cells.
MAX_MAP_SIDE = 320
# Images whose pseudo labels' classes are counted.
_COUNTED = 512

# Raised when the same inputs would give something else than before.
VERSION = 1


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Writes the columns that are not finished."""
    for teacher in selected(recipe.teachers, only):
        if workdir.teacher(teacher.name).result() is None:
            raise UserError(f"teacher {teacher.name!r} is not finished: run --stage=teacher first")
        sha256 = weights_sha256(workdir, teacher)
        predictor = None
        for source in sources_to_label(recipe, teacher):
            part = workdir.labels(teacher.name, source.name)
            if part.is_finished(inputs(recipe, teacher, source, sha256)):
                print(f"labels of {teacher.name} for {source.name}: finished before")
                continue
            if predictor is None:
                predictor = _predictor(recipe, workdir, teacher)
            _label(recipe, teacher, source, predictor, part, sha256)
        _check_any(recipe, workdir, teacher)


def _check_any(recipe: Recipe, workdir: Workdir, teacher: Teacher | ForeignTeacher) -> None:
    """Raises DataError where a teacher has labelled nothing at all."""
    names = [source.name for source in sources_to_label(recipe, teacher)]
    results = [workdir.labels(teacher.name, name).result() for name in names]
    if results and not any(result["labelled"] for result in results):
        raise DataError(
            f"labels of {teacher.name}: not one image of {', '.join(names)} has a label"
        )


def weights_sha256(workdir: Workdir, teacher: Teacher | ForeignTeacher) -> str | None:
    """Of the weights that label; None while they are not there."""
    if isinstance(teacher, ForeignTeacher):
        return teacher.model.sha256()
    path = workdir.teacher(teacher.name).model_path
    return file_sha256(path) if path.is_file() else None


def input_size(recipe: Recipe, teacher: Teacher | ForeignTeacher) -> int:
    """Pixels a side of the images that a teacher sees."""
    return teacher.model.size if isinstance(teacher, ForeignTeacher) else recipe.network.size


def _predictor(
    recipe: Recipe, workdir: Workdir, teacher: Teacher | ForeignTeacher
) -> Predictor | ForeignPredictor:
    size = map_size(input_size(recipe, teacher))
    if isinstance(teacher, ForeignTeacher):
        return ForeignPredictor(teacher.model, teacher.task, size)
    return Predictor(keras.saving.load_model(workdir.teacher(teacher.name).model_path), size)


def student_sources(recipe: Recipe) -> list[Source]:
    """What the student sees, each source once: the teachers' training sets and the pools.

    Raises:
        UserError: two different sources share a name.
    """
    sources = [t.sets.train for t in recipe.trained_teachers] if recipe.student.union else []
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


def sources_to_label(recipe: Recipe, teacher: Teacher | ForeignTeacher) -> list[Source]:
    """The student's sources that a teacher labels: all but the set it was trained on."""
    own = None if isinstance(teacher, ForeignTeacher) else teacher.sets.train.name
    return [source for source in student_sources(recipe) if source.name != own]


def map_size(size: int) -> tuple[int, int]:
    """(H', W') in which maps are predicted for storing: a whole part of the input's size."""
    factor = -(-size // MAX_MAP_SIDE)
    while size % factor:
        factor += 1
    return (size // factor, size // factor)


def inputs(recipe: Recipe, teacher: Teacher | ForeignTeacher, source: Source, sha256: str) -> dict:
    """What a column depends on: not the threshold, which is applied when it is read."""
    return {
        "version": VERSION,
        "teacher_sha256": sha256,
        "task": teacher.task,
        "size": input_size(recipe, teacher),
        "batch": recipe.evaluation_batch,
        "source": without_labels(source),
    }


def _label(
    recipe: Recipe,
    teacher: Teacher | ForeignTeacher,
    source: Source,
    predictor: Predictor | ForeignPredictor,
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
    records = _counted(_records(recipe, teacher, source, predictor, ranges), progress)
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
        print(f"warning: {title}: not one of {len(column)} images has a label", file=sys.stderr)
    result = {
        "teacher_sha256": sha256,
        "images": len(column),
        "labelled": labelled,
        "bytes": sum(path.stat().st_size for path in part.folder.glob("labels-*")),
        "images_per_second": round(written / max(seconds, 1e-9), 1) if written else None,
        "class_counts": count_classes(
            quality.pseudo_labelled(teacher, source, column),
            teacher.task,
            indices=pictures.spread(_COUNTED, len(source)),
        ),
        "quality": quality.judge(recipe, teacher, source, column, part.folder),
    }
    part.finish(inputs(recipe, teacher, source, sha256), result)
    told = f", {scoring.headline(result['quality'])}" if result["quality"] else ""
    print(f"{title}: {labelled} of {len(column)} images{told}")


def _records(
    recipe: Recipe,
    teacher: Teacher | ForeignTeacher,
    source: Source,
    predictor: Predictor | ForeignPredictor,
    ranges: list[range],
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """(id, record) of every image of a range, in order; None where it cannot be read."""
    task, size = teacher.task, input_size(recipe, teacher)
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
