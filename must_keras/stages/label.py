"""Stage 2: what every teacher says of every image, one label column per teacher and source."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence

from must_keras import interruption
from must_keras.config.recipe import (
    AnyTeacher,
    ExternalTeacher,
    ImportedLabels,
    Recipe,
    Teacher,
    distinct,
)
from must_keras.data.sources import Source, without_labels
from must_keras.errors import DataError, UserError
from must_keras.files import file_sha256
from must_keras.inference import scoring
from must_keras.progress import Progress, record
from must_keras.pseudo_labels import leakage, quality, quarantine, thresholds
from must_keras.pseudo_labels.importer import LabelImporter
from must_keras.pseudo_labels.labeler import Labeler, Writes, input_size, pending_ranges
from must_keras.pseudo_labels.store import PseudoLabelReader, PseudoLabelWriter, tell_origin
from must_keras.runs.workdir import Artifact, Workdir, describe
from must_keras.stages.teacher import selected

# Raised when the same inputs would give something else than before.
VERSION = 2


def run(
    recipe: Recipe,
    workdir: Workdir,
    only: tuple[str, ...],
    labelers: Callable[..., contextlib.AbstractContextManager[Writes]] = Labeler,
) -> None:
    """Writes the columns that are not finished: one pass over each source for all its teachers.

    First it looks which images are also in a test split; see pseudo_labels.leakage.

    Args:
        recipe: the run's values.
        workdir: the run's folder.
        only: names of teachers; empty: all.
        labelers: called with (recipe, workdir, teachers) gives what makes the labels.
    """
    leakage.run(recipe, workdir)
    teachers = selected(recipe.teachers, only)
    thresholds.tell(teachers, workdir)
    teachers = tuple(thresholds.resolved(teacher, workdir) for teacher in teachers)
    with contextlib.ExitStack() as stack:
        labeler = None
        for source in student_sources(recipe):
            pending = list(_pending(recipe, workdir, teachers, source))
            copied = [item for item in pending if isinstance(item.teacher, ImportedLabels)]
            seen = [item for item in pending if not isinstance(item.teacher, ImportedLabels)]
            if seen:
                # Loaded and traced once, for all sources.
                labeler = labeler or stack.enter_context(
                    labelers(recipe, workdir, that_look(teachers))
                )
                _label(recipe, workdir, source, seen, labeler)
            if copied:
                copier = LabelImporter(recipe, [item.teacher for item in copied])
                _label(recipe, workdir, source, copied, copier)
    for teacher in teachers:
        _check_any(recipe, workdir, teacher)
    from must_keras.pseudo_labels import viewer  # It reads what this stage writes.

    viewer.write(recipe, workdir)


def that_look(teachers: Sequence[AnyTeacher]) -> list[Teacher | ExternalTeacher]:
    """The teachers that look at images: not those whose labels exist already."""
    return [teacher for teacher in teachers if not isinstance(teacher, ImportedLabels)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pending:
    """A column that is not finished.

    Attributes:
        teacher: whose it is.
        part: its folder.
        inputs: what it is made from.
        writer: writes its shards.
    """

    teacher: AnyTeacher
    part: Artifact
    inputs: dict
    writer: PseudoLabelWriter


def _pending(
    recipe: Recipe,
    workdir: Workdir,
    teachers: Sequence[AnyTeacher],
    source: Source,
) -> Iterator[_Pending]:
    for teacher in teachers:
        if workdir.teacher(teacher.name).result() is None:
            raise UserError(f"teacher {teacher.name!r} is not finished: run --stage=teacher first")
        if source.name not in [s.name for s in sources_to_label(recipe, teacher)]:
            continue
        part = workdir.labels(teacher.name, source.name)
        made_from = inputs(recipe, teacher, source, weights_sha256(workdir, teacher))
        if part.is_finished(made_from):
            print(f"labels of {teacher.name} for {source.name}: finished before")
            tell_origin(part.folder, _origin(teacher))
            _look_again(recipe, teacher, source, part, made_from)
            continue
        writer = writer_of(workdir, teacher, source, made_from)
        writer.clear()
        yield _Pending(teacher=teacher, part=part, inputs=made_from, writer=writer)


def writer_of(
    workdir: Workdir, teacher: AnyTeacher, source: Source, made_from: dict
) -> PseudoLabelWriter:
    """Writes the column of a finished teacher for a source; `made_from` are its `inputs`."""
    return PseudoLabelWriter(
        workdir.labels(teacher.name, source.name).folder,
        teacher.task,
        len(source),
        teacher_sha256=made_from["teacher_sha256"],
        recipe=describe(made_from),
        origin=_origin(teacher),
    )


def _origin(teacher: AnyTeacher) -> dict | None:
    """What the ledger says of labels that were made elsewhere."""
    return teacher.provenance() if isinstance(teacher, ImportedLabels) else None


def _check_any(recipe: Recipe, workdir: Workdir, teacher: AnyTeacher) -> None:
    """Raises DataError where a teacher has labeled nothing at all."""
    names = [source.name for source in sources_to_label(recipe, teacher)]
    results = [workdir.labels(teacher.name, name).result() for name in names]
    if results and not any(result["labelled"] for result in results):
        raise DataError(
            f"labels of {teacher.name}: not one image of {', '.join(names)} has a label"
        )


def weights_sha256(workdir: Workdir, teacher: AnyTeacher) -> str | None:
    """Of the weights that label, or of the labels that exist; None while they are not there."""
    if not isinstance(teacher, Teacher):
        return teacher.sha256()
    path = workdir.teacher(teacher.name).model_path
    return file_sha256(path) if path.is_file() else None


def student_sources(recipe: Recipe) -> list[Source]:
    """What the student sees, each source once: the teachers' training sets and the pools.

    Raises:
        UserError: two different sources share a name.
    """
    sources = [t.sets.train for t in recipe.trained_teachers] if recipe.student.union else []
    return distinct([*sources, *(pool.source for pool in recipe.pools)])


def sources_to_label(recipe: Recipe, teacher: AnyTeacher) -> list[Source]:
    """The student's sources that a teacher labels."""
    pools = {pool.source.name for pool in recipe.pools}
    return [
        source
        for source in student_sources(recipe)
        if teacher.covers(source, is_pool=source.name in pools)
    ]


def inputs(recipe: Recipe, teacher: AnyTeacher, source: Source, sha256: str) -> dict:
    """What a column depends on: not the threshold, which is applied when it is read."""
    found = {
        "version": VERSION,
        "teacher_sha256": sha256,
        "task": teacher.task.before_reading(),
        "source": without_labels(source),
    }
    if isinstance(teacher, ImportedLabels):
        return found
    if isinstance(teacher, ExternalTeacher):
        found["model"] = teacher.model
    return found | {"size": input_size(recipe, teacher), "batch": recipe.evaluation_batch}


def _label(
    recipe: Recipe,
    workdir: Workdir,
    source: Source,
    pending: Sequence[_Pending],
    labeler: Writes,
) -> None:
    writers = {item.teacher.name: item.writer for item in pending}
    ranges = pending_ranges(writers)
    names = ", ".join(item.teacher.name for item in pending)
    progress = Progress(f"labels of {names} for {source.name}", sum(r.count for r in ranges))
    start, written = time.monotonic(), 0
    missing = {name: sum(r.count for r in ranges if name in r.teachers) for name in writers}
    with interruption.postponed():
        empty = {index for writer in writers.values() for index in writer.empty()}
        for part in labeler.write(source, writers, ranges, empty=empty):
            written += part.count
            progress.advance(part.count)
            if part is ranges[0] and len(ranges) > 1:
                _tell_size(source, pending)
            for item in pending:
                missing[item.teacher.name] -= part.count * (item.teacher.name in part.teachers)
                record(item.part.folder, len(source) - missing[item.teacher.name], len(source))
            interruption.stop_if_asked()
    progress.close()
    speed = written / max(time.monotonic() - start, 1e-9)
    for item in pending:
        item.writer.finish()
        _finish(recipe, workdir, source, item, round(speed, 1) if written else None)


def _tell_size(source: Source, pending: Sequence[_Pending]) -> None:
    """Says after the first shards what the columns will take, and whether there is room."""
    each = {item.teacher.name: item.writer.bytes_per_record() for item in pending}
    told = ", ".join(f"{name} {size:.0f}" for name, size in each.items())
    needed = sum(each.values()) * len(source) / 1e9
    free = shutil.disk_usage(pending[0].part.folder).free / 1e9
    print(f"{source.name}: bytes an image: {told}; {needed:.2f} GB in all, {free:.0f} GB are free")
    if needed > free:
        print(f"warning: the labels of {source.name} have no room on the disk", file=sys.stderr)


def _finish(
    recipe: Recipe, workdir: Workdir, source: Source, item: _Pending, speed: float | None
) -> None:
    """Looks at a whole column and says that it is finished."""
    teacher, part = item.teacher, item.part
    title = f"labels of {teacher.name} for {source.name}"
    column = PseudoLabelReader(part.folder, source, teacher.task)
    untaught = (workdir.teacher(teacher.name).result() or {}).get("untaught", [])
    quarantined = quarantine.write(teacher, source, column, part.folder)
    labeled = len(column) - quarantined
    if not labeled:
        print(f"warning: {title}: not one of {len(column)} images has a label", file=sys.stderr)
    result = {
        "teacher_sha256": column.ledger["teacher_sha256"],
        "images": len(column),
        "labelled": labeled,
        "bytes": sum(path.stat().st_size for path in part.folder.glob("labels-*")),
        "images_per_second": speed,
    } | ({"untaught": untaught} if untaught else {})
    result |= quality.look(recipe, teacher, source, column, part.folder)
    part.finish(item.inputs, result)
    told = f", {scoring.headline(result['quality'])}" if result["quality"] else ""
    print(f"{title}: {labeled} of {len(column)} images{told}")
    for part_of_head in untaught:
        print(f"{title}: without {part_of_head}, which were never taught")


def _look_again(
    recipe: Recipe, teacher: AnyTeacher, source: Source, part: Artifact, made_from: dict
) -> None:
    """Says what a finished column is worth at another threshold; its labels stay as they are."""
    result = part.result()
    if result.get("threshold") == describe(teacher.threshold):
        return
    found = quality.look(
        recipe, teacher, source, PseudoLabelReader(part.folder, source, teacher.task), part.folder
    )
    part.finish(made_from, result | found)
    told = f": {scoring.headline(found['quality'])}" if found["quality"] else ""
    print(f"labels of {teacher.name} for {source.name}: read at another threshold{told}")
