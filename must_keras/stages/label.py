"""Stage 2: what every teacher says of every image, one label column per teacher and source."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence

from must_keras.data.columns import Column, ColumnWriter
from must_keras.data.labelled import count_classes
from must_keras.data.sources import Source, without_labels
from must_keras.errors import DataError, UserError
from must_keras.files import file_sha256, replacing
from must_keras.progress import Progress, record
from must_keras.recipe import ForeignTeacher, Recipe, Teacher
from must_keras.stages import quality, scoring, thresholds
from must_keras.stages.labelling import Labeller, input_size, pending_ranges
from must_keras.stages.teacher import selected
from must_keras.training import pictures
from must_keras.workdir import Part, Workdir, describe

# Images whose pseudo labels' classes are counted.
_COUNTED = 512

# Raised when the same inputs would give something else than before.
VERSION = 1


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Writes the columns that are not finished: one pass over each source for all its teachers."""
    teachers = selected(recipe.teachers, only)
    thresholds.tell(teachers, workdir)
    teachers = tuple(thresholds.resolved(teacher, workdir) for teacher in teachers)
    labeller = None
    for source in student_sources(recipe):
        pending = list(_pending(recipe, workdir, teachers, source))
        if not pending:
            continue
        # Traced once, for all sources.
        labeller = labeller or Labeller(recipe, workdir, teachers)
        _label(recipe, source, pending, labeller)
    for teacher in teachers:
        _check_any(recipe, workdir, teacher)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pending:
    """A column that is not finished.

    Attributes:
        teacher: whose it is.
        part: its folder.
        inputs: what it is made from.
        writer: writes its shards.
    """

    teacher: Teacher | ForeignTeacher
    part: Part
    inputs: dict
    writer: ColumnWriter


def _pending(
    recipe: Recipe,
    workdir: Workdir,
    teachers: Sequence[Teacher | ForeignTeacher],
    source: Source,
) -> Iterator[_Pending]:
    for teacher in teachers:
        if workdir.teacher(teacher.name).result() is None:
            raise UserError(f"teacher {teacher.name!r} is not finished: run --stage=teacher first")
        if source.name not in [s.name for s in sources_to_label(recipe, teacher)]:
            continue
        part = workdir.labels(teacher.name, source.name)
        sha256 = weights_sha256(workdir, teacher)
        made_from = inputs(recipe, teacher, source, sha256)
        if part.is_finished(made_from):
            print(f"labels of {teacher.name} for {source.name}: finished before")
            _look_again(recipe, teacher, source, part, made_from)
            continue
        part.folder.mkdir(parents=True, exist_ok=True)
        writer = ColumnWriter(
            part.folder,
            teacher.task,
            len(source),
            teacher_sha256=sha256,
            recipe=describe(made_from),
        )
        yield _Pending(teacher=teacher, part=part, inputs=made_from, writer=writer)


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


def _label(recipe: Recipe, source: Source, pending: Sequence[_Pending], labeller: Labeller) -> None:
    ranges = pending_ranges({item.teacher.name: item.writer for item in pending})
    names = ", ".join(item.teacher.name for item in pending)
    progress = Progress(f"labels of {names} for {source.name}", sum(r.count for r in ranges))
    start, written = time.monotonic(), 0
    writers = {item.teacher.name: item.writer for item in pending}
    missing = {name: sum(r.count for r in ranges if name in r.teachers) for name in writers}
    for part in labeller.write(source, writers, ranges):
        written += part.count
        progress.advance(part.count)
        for item in pending:
            missing[item.teacher.name] -= part.count * (item.teacher.name in part.teachers)
            record(item.part.folder, len(source) - missing[item.teacher.name], len(source))
    progress.close()
    speed = written / max(time.monotonic() - start, 1e-9)
    for item in pending:
        item.writer.finish()
        _finish(recipe, source, item, round(speed, 1) if written else None)


def _finish(recipe: Recipe, source: Source, item: _Pending, speed: float | None) -> None:
    """Looks at a whole column and says that it is finished."""
    teacher, part = item.teacher, item.part
    title = f"labels of {teacher.name} for {source.name}"
    column = Column(part.folder, source)
    quarantined = _quarantine(source, column, part)
    labelled = len(column) - quarantined
    if not labelled:
        print(f"warning: {title}: not one of {len(column)} images has a label", file=sys.stderr)
    result = {
        "teacher_sha256": column.ledger["teacher_sha256"],
        "images": len(column),
        "labelled": labelled,
        "bytes": sum(path.stat().st_size for path in part.folder.glob("labels-*")),
        "images_per_second": speed,
    } | _look(recipe, teacher, source, column, part)
    part.finish(item.inputs, result)
    told = f", {scoring.headline(result['quality'])}" if result["quality"] else ""
    print(f"{title}: {labelled} of {len(column)} images{told}")


def _look(
    recipe: Recipe,
    teacher: Teacher | ForeignTeacher,
    source: Source,
    column: Column,
    part: Part,
) -> dict:
    """What a column says at the teacher's threshold."""
    places = [i for i in pictures.spread(_COUNTED, len(source)) if not column.is_empty(i)]
    labels = quality.pseudo_labelled(teacher, source, column)
    return {
        "threshold": teacher.threshold,
        "counted": len(places),
        "class_counts": count_classes(labels, teacher.task, indices=places) if places else None,
        "quality": quality.judge(recipe, teacher, source, column, part.folder),
    }


def _look_again(
    recipe: Recipe,
    teacher: Teacher | ForeignTeacher,
    source: Source,
    part: Part,
    made_from: dict,
) -> None:
    """Says what a finished column is worth at another threshold; its labels stay as they are."""
    result = part.result()
    if result.get("threshold") == describe(teacher.threshold):
        return
    found = _look(recipe, teacher, source, Column(part.folder, source), part)
    part.finish(made_from, result | found)
    told = f": {scoring.headline(found['quality'])}" if found["quality"] else ""
    print(f"labels of {teacher.name} for {source.name}: read at another threshold{told}")


def _quarantine(source: Source, column: Column, part: Part) -> int:
    """Writes quarantine.jsonl, a line for every image without labels; how many there are."""
    lines = []
    for index in range(len(column)):
        if column.is_empty(index):
            entry = {"index": index, "id": source.image_id(index), "reason": _why(source, index)}
            lines.append(json.dumps(entry) + "\n")
    with replacing(part.folder / "quarantine.jsonl") as path:
        path.write_text("".join(lines), encoding="utf-8")
    return len(lines)


def _why(source: Source, index: int) -> str:
    try:
        source.image(index)
    except (UserError, DataError) as error:
        return str(error)
    return "it could not be read when it was labelled"
