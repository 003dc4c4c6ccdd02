"""Stage 2: a pseudo-label dataset for every teacher and source."""

import contextlib
import pathlib
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from must_keras import interruption
from must_keras.config.teachers import AnyTeacher
from must_keras.data.sources import Source, without_labels
from must_keras.errors import DataError, warn
from must_keras.inference import scoring
from must_keras.log import LOG
from must_keras.progress import Progress, record
from must_keras.pseudo_labels import checks, leakage, viewer
from must_keras.pseudo_labels.labeler import AnyLabeler, Labeler, LabelImporter, pending_ranges
from must_keras.pseudo_labels.store import PseudoLabelReader, PseudoLabelWriter, set_origin
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.runs.results import LabelsResult, Metrics
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.stages import gate
from must_keras.stages import teacher as teacher_stage
from must_keras.tasks import thresholds

# Raised when the same inputs would give something else than before.
VERSION = 2


def artifact(run: Run, teacher: AnyTeacher, source: Source) -> Artifact:
    """Declare the pseudo-label dataset of a teacher and a source."""

    def find_inputs() -> dict[str, Any] | None:
        # Not the threshold, which is applied when the labels are read.
        recipe, sha256 = run.recipe, run.weights_sha256(teacher)
        if sha256 is None:
            return None
        return {
            "version": VERSION,
            "teacher_sha256": sha256,
            "task": teacher.task.before_reading(),
            "source": without_labels(source),
        } | teacher.label_inputs(recipe.network, recipe.evaluation_batch)

    return run.labels(teacher.name, source.name).declare(
        stage=Labels.name,
        name=f"{teacher.name} for {source.name}",
        group=teacher.name,
        find_inputs=find_inputs,
        needs=(
            teacher_stage.artifact(run, teacher),
            *leakage.artifacts(run),
            # The labels are the same without: this stage is where images of pools are looked at.
            *gate.artifacts(run, [teacher]),
        ),
    )


def writer_of(run: Run, teacher: AnyTeacher, source: Source) -> PseudoLabelWriter:
    """Return the writer of the pseudo-label dataset of a complete teacher and a source."""
    declared = artifact(run, teacher, source)
    return PseudoLabelWriter(
        declared.folder,
        teacher.task,
        len(source),
        teacher_sha256=declared.inputs["teacher_sha256"],
        recipe=declared.inputs,
        origin=teacher.provenance(),
    )


class Labels(Stage):
    """The pseudo labels: one pass over each source for all of its teachers.

    Example:
        [artifact.name for artifact in Labels().artifacts(run)]  # ["shapes for pool", ...]
    """

    name = "label"
    folder = "labels"
    reads_pools = True

    def artifacts(self, run: Run) -> Iterator[Artifact]:
        for teacher in run.recipe.teachers:
            for source in run.recipe.sources_labeled_by(teacher):
                yield artifact(run, teacher, source)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        recipe, make_labeler = run.recipe, run.make_labeler or Labeler
        names = {artifact.group for artifact in pending}
        chosen = [t for t in recipe.teachers if t.name in names]
        print_choices(run, chosen)
        teachers = [run.resolved(teacher) for teacher in chosen]
        by_folder = {artifact.folder: artifact for artifact in pending}
        predicting = [teacher for teacher in teachers if teacher.predicts]
        imported = [teacher for teacher in teachers if not teacher.predicts]
        importer = LabelImporter(imported, max_unreadable=recipe.max_unreadable)
        # Loaded and traced once, for all sources.
        with make_labeler(run, predicting) if predicting else contextlib.nullcontext() as labeler:
            for source in recipe.student_sources:
                for made_by, of_kind in ((labeler, predicting), (importer, imported)):
                    _label(run, source, of_kind, made_by, by_folder)

    def revisit(self, run: Run, artifact: Artifact) -> None:
        """Measure a complete dataset at a threshold that has moved; its labels stay."""
        teacher = run.resolved(run.recipe.teacher(artifact.group))
        set_origin(artifact.folder, teacher.provenance())
        was, now = artifact.result(), (describe(teacher.threshold), teacher.ignore_from)
        if (was.threshold, was.ignore_from) == now:
            return
        source = next(
            source for source, labels in run.label_sets(teacher) if labels.folder == artifact.folder
        )
        reader = PseudoLabelReader(artifact.folder, source, teacher.task)
        found = checks.measure(run.recipe, teacher, reader)
        artifact.amend(**found)
        LOG.info(f"labels of {artifact.name}: read at another threshold{_scores(found['quality'])}")

    def conclude(self, run: Run, stages: Sequence[Stage]) -> None:
        for sentence in leakage.of_teachers(run):
            warn(sentence)
        for teacher in run.recipe.teachers:
            results = {s.name: labels.result() for s, labels in run.label_sets(teacher)}
            if results and not any(r is None or r.labelled for r in results.values()):
                raise DataError(
                    f"labels of {teacher.name}: not one image of {', '.join(results)} has a label"
                )
        viewer.write(run)

    def report(self, run: Run) -> dict[str, Any]:
        labels: dict[str, dict[str, Any]] = {}
        tables: dict[str, dict[str, Any]] = {}
        for teacher in run.recipe.teachers:
            for source, artifact in run.label_sets(teacher):
                if result := artifact.result():
                    kept = result.describe()
                    del kept["teacher_sha256"]
                    if teacher.origin is not None:
                        kept["origin"] = teacher.origin
                    labels.setdefault(teacher.name, {})[source.name] = kept
            if table := _threshold_table(run, teacher):
                tables[teacher.name] = table
        return {"labels": labels, "thresholds": tables}


STAGE = Labels()


def _label(
    run: Run,
    source: Source,
    teachers: Sequence[AnyTeacher],
    labeler: AnyLabeler,
    pending: Mapping[pathlib.Path, Artifact],
) -> None:
    """Write the pending datasets of a source in one pass.

    Args:
        run: the run.
        source: the images.
        teachers: those that the labeler works for.
        labeler: what labels.
        pending: artifacts by their folders.
    """
    teachers = [t for t in teachers if run.labels(t.name, source.name).folder in pending]
    if not teachers:
        return
    # Those that the stage began with: a model that is replaced meanwhile is not what labeled.
    artifacts = {t.name: pending[run.labels(t.name, source.name).folder] for t in teachers}
    writers = {t.name: writer_of(run, t, source) for t in teachers}
    for writer in writers.values():
        writer.clear()
    ranges = pending_ranges(writers)
    title = f"labels of {', '.join(writers)} for {source.name}"
    progress = Progress(title, sum(r.count for r in ranges))
    start, written = time.monotonic(), 0
    missing = {name: sum(r.count for r in ranges if name in r.teachers) for name in writers}
    with interruption.postponed():
        empty = {index for writer in writers.values() for index in writer.empty()}
        for done in labeler.write(source, writers, ranges, empty=empty):
            written += done.count
            progress.advance(done.count)
            if done is ranges[0] and len(ranges) > 1:
                _print_size(source, writers, artifacts)
            for name, one in artifacts.items():
                missing[name] -= done.count * (name in done.teachers)
                record(one.folder, len(source) - missing[name], len(source))
            interruption.stop_if_asked()
    progress.close()
    speed = written / max(time.monotonic() - start, 1e-9)
    for teacher in teachers:
        writers[teacher.name].finish()
        _finish(run, source, teacher, artifacts[teacher.name], round(speed, 1) if written else None)


def _print_size(
    source: Source, writers: dict[str, PseudoLabelWriter], artifacts: dict[str, Artifact]
) -> None:
    """Print after the first shards what the datasets will take, and whether there is room."""
    each = {name: writer.bytes_per_record() for name, writer in writers.items()}
    sizes = ", ".join(f"{name} {size:.0f}" for name, size in each.items())
    needed = sum(each.values()) * len(source) / 1e9
    free = shutil.disk_usage(next(iter(artifacts.values())).folder).free / 1e9
    LOG.info(
        f"{source.name}: bytes an image: {sizes}; {needed:.2f} GB in all, {free:.0f} GB are free"
    )
    if needed > free:
        warn(f"the labels of {source.name} have no room on the disk")


def _finish(
    run: Run, source: Source, teacher: AnyTeacher, artifact: Artifact, speed: float | None
) -> None:
    """Measure a whole dataset and complete its artifact."""
    title, folder = f"labels of {artifact.name}", artifact.folder
    reader = PseudoLabelReader(folder, source, teacher.task)
    untaught = run.teacher(teacher.name).result().untaught
    labeled = len(reader) - checks.write_quarantine(teacher, reader)
    if not labeled:
        warn(f"{title}: not one of {len(reader)} images has a label")
    result = LabelsResult(
        teacher_sha256=reader.ledger["teacher_sha256"],
        images=len(reader),
        labelled=labeled,
        bytes=sum(path.stat().st_size for path in folder.glob("labels-*")),
        images_per_second=speed,
        untaught=untaught or None,
        **checks.measure(run.recipe, teacher, reader),
    )
    artifact.finish(result)
    LOG.info(f"{title}: {labeled} of {len(reader)} images{_scores(result.quality)}")
    for output in untaught:
        LOG.info(f"{title}: without {output}, which were never taught")


def print_choices(run: Run, teachers: Sequence[AnyTeacher]) -> None:
    """Print the thresholds that rules choose; a warning where classes are dropped."""
    for teacher in teachers:
        chosen = run.choices(teacher)
        if chosen is None:
            continue
        kept = thresholds.chosen_numbers(chosen)
        title = f"thresholds of {teacher.name} at precision {teacher.threshold.value:g}"
        if kept:
            LOG.info(f"{title}: {thresholds.span(kept)}, for {len(kept)} of {len(chosen)} classes")
        if len(kept) < len(chosen):
            warn(f"{title}: {thresholds.dropped(chosen)}")


def _threshold_table(run: Run, teacher: AnyTeacher) -> dict[str, Any] | None:
    """Return a teacher's thresholds as in report.json; None where nothing is counted.

    Returns:
        {"value", "minimum" of AtPrecision, or None, "classes": {class: {"threshold": None where it
        is dropped, "answers", "precision", "recall" of it on validation, None where there is
        nothing, "dropped": why, or None}}}.
    """
    counts, rule = run.prediction_counts(teacher), teacher.rule
    if counts is None or not run.teacher(teacher.name).is_there:
        return None
    chosen, rows = run.choices(teacher) or {}, {}
    limits = run.resolved(teacher).limits()
    for index, (name, limit) in enumerate(zip(teacher.task.classes, limits, strict=True)):
        standing = counts.at(index, limit)
        rows[name] = {
            "threshold": None if limit == thresholds.DROPPED else float(limit),
            "answers": standing.predictions,
            "precision": _rounded(standing.precision),
            "recall": _rounded(standing.recall),
            "dropped": (chosen[name].why if name in chosen else "") or None,
        }
    return {
        "value": rule.value if rule else None,
        "minimum": rule.minimum if rule else None,
        "classes": rows,
    }


def _rounded(value: float) -> float | None:
    return None if value != value else round(value, 4)


def _scores(quality: Metrics | None) -> str:
    return f", {scoring.headline(quality)}" if quality else ""
