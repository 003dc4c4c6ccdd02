"""What a run has measured that may explain why a head of its student learned little."""

import collections
import dataclasses
import statistics
from collections.abc import Mapping
from typing import Any

from must_keras.analysis import curves, shortfalls
from must_keras.analysis.shortfalls import Evidence, Shortfall
from must_keras.config.recipe import AnyTeacher
from must_keras.data.sources import TolerantSource
from must_keras.errors import DataError, UserError
from must_keras.pseudo_labels.label_counts import HeadCounts, SourceCounts
from must_keras.runs import label_contents
from must_keras.runs.results import LabelsResult, StudentResult, TeacherResult
from must_keras.runs.run import Run
from must_keras.training.diagnostics import GRADIENT_SHARE


def find(run: Run, counts: Mapping[str, SourceCounts] | None) -> list[Shortfall]:
    """Return the shortfalls of the heads of a run's complete student.

    Args:
        run: the run.
        counts: of the student's labels, by source; None: not counted.
    """
    student = run.student.result()
    if student is None:
        return []
    found = []
    for teacher in run.recipe.teachers:
        evidence = of_head(run, teacher, student, counts or {})
        if evidence is None or shortfalls.kind_of(evidence) is None:
            continue
        # Training images are decoded for these, so they come last.
        evidence = dataclasses.replace(evidence, misfits=_misfits(run, teacher))
        found.append(shortfalls.find(evidence))
    return found


def of_head(
    run: Run, teacher: AnyTeacher, student: StudentResult, counts: Mapping[str, SourceCounts]
) -> Evidence | None:
    """Return what is known of a head without reading an image; None where it is not scored.

    Args:
        run: the run.
        teacher: of the head.
        student: the complete student's result.
        counts: see `find`.
    """
    head, known = teacher.task.name, run.teacher(teacher.name).result()
    scored = student.tasks.get(head)
    if scored is None or not scored.metrics:
        return None
    metric = next(iter(scored.metrics))
    own: TeacherResult | None = known if known and known.metrics else None
    labels = _labels(run, teacher)
    of_head = [source.heads[head] for source in counts.values() if head in source.heads]
    share = _labeled_share(student, head)
    return Evidence(
        head=head,
        metric=metric,
        student=scored.metrics[metric],
        teacher=own.metrics.get(metric) if own else None,
        trivial=scored.trivial.get(metric),
        has_objects=teacher.task.predictions.has_objects,
        training_images=len(teacher.sets.train) if teacher.is_trained_here else None,
        labeled_share=share,
        true_frequencies=_per_image(known.class_counts, known.counted) if known else None,
        pseudo_frequencies=_frequencies(labels),
        empty_share=_empty(teacher, of_head, "pseudo"),
        true_empty_share=_empty(teacher, of_head, "true"),
        quality=_quality(labels, metric),
        gradient_share=_gradient_share(run, head),
        student_seen=None if share is None else share * student.images_seen,
        teacher_seen=own.images_seen if own else None,
        correlation=scored.metrics.get("correlation"),
        threshold=teacher.threshold if isinstance(teacher.threshold, float) else None,
    )


def _labels(run: Run, teacher: AnyTeacher) -> list[LabelsResult]:
    """Return the results of a teacher's complete pseudo-label datasets, of pools where any is."""
    pools = {pool.source.name for pool in run.recipe.pools}
    found = {source.name: labels.result() for source, labels in run.label_sets(teacher)}
    complete = {name: result for name, result in found.items() if result is not None}
    return [r for name, r in complete.items() if name in pools] or list(complete.values())


def _labeled_share(student: StudentResult, head: str) -> float | None:
    origins = [heads[head] for heads in student.origins.values() if head in heads]
    total = sum(one.true + one.pseudo + one.missing for one in origins)
    return sum(one.true + one.pseudo for one in origins) / total if total else None


def _per_image(counts: Mapping[str, float] | None, images: int) -> dict[str, float] | None:
    return {name: count / images for name, count in counts.items()} if counts and images else None


def _frequencies(labels: list[LabelsResult]) -> dict[str, float] | None:
    totals, images = collections.Counter(), 0
    for result in labels:
        if result.class_counts:
            totals.update(result.class_counts)
            images += result.counted
    return _per_image(totals, images)


def _empty(teacher: AnyTeacher, counts: list[HeadCounts], origin: str) -> float | None:
    """Return the share of labels of one origin without an object, of heads that have objects.

    Sources whose labels are of both origins do not count: it is not known whose are empty.
    """
    if not teacher.task.predictions.has_objects:
        return None
    other = "true" if origin == "pseudo" else "pseudo"
    pure = [one for one in counts if getattr(one, origin) and not getattr(one, other)]
    total = sum(getattr(one, origin) for one in pure)
    return sum(one.empty for one in pure) / total if total else None


def _quality(labels: list[LabelsResult], metric: str) -> float | None:
    found = [(result.quality or {}).get(metric) for result in labels]
    known = [value for value in found if value is not None]
    return statistics.fmean(known) if known else None


def _gradient_share(run: Run, head: str) -> float | None:
    series: dict[str, Any] = curves.read(run.student.folder, (GRADIENT_SHARE[1:],))
    points = series.get(f"{head}{GRADIENT_SHARE}")
    return statistics.fmean(value for _, value in points) if points else None


def _misfits(run: Run, teacher: AnyTeacher) -> tuple[str, ...]:
    """Return what of a task's values does not fit the boxes of its teacher's training images."""
    if teacher.sets is None:
        return ()
    source = TolerantSource(teacher.sets.train, max_skipped=run.recipe.max_unreadable)
    size, scale = run.recipe.network.size, teacher.largest_scale()
    try:
        found = label_contents.count(source, [teacher.task], size=size, scale=scale)
    except (UserError, DataError):
        return ()
    return tuple(found[teacher.task.name].misfits())
