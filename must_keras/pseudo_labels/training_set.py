"""What the student and its baselines learn from: ground truth wins, test images are left out."""

import dataclasses
from collections.abc import Mapping, Sequence

from must_keras.data.examples import ConcatenatedExamples, LabeledExamples, PseudoLabels
from must_keras.data.sources import Source, TolerantSource, pool_name
from must_keras.errors import UserError
from must_keras.pseudo_labels import gates, leakage
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.run import Run
from must_keras.tasks.base import Task


def of_student(run: Run) -> ConcatenatedExamples:
    """Return all that the student learns from, with the teachers' pseudo labels.

    Raises:
        UserError: a pseudo-label dataset is not complete, a threshold cannot be chosen yet, a
            source is not compared with the test splits, distances for a gate are not measured, or
            nothing is left to learn from.
    """
    pseudo: dict[str, dict[str, PseudoLabels]] = {}
    for teacher in run.recipe.teachers:
        for source, labels in run.label_sets(teacher):
            if not labels.is_there:
                raise UserError.at(
                    labels.folder,
                    f'has no complete labels of teacher {teacher.name!r}: run stage="label" first',
                )
            reader = PseudoLabelReader(labels.folder, source, teacher.task)
            of_source = pseudo.setdefault(source.name, {})
            found = run.resolved(teacher).pseudo_labels(reader)
            if teacher.gate is not None:
                found = dataclasses.replace(found, beyond=gates.beyond(run, teacher, source))
            of_source[teacher.task.name] = found
    recipe, sources = run.recipe, run.recipe.student_sources
    tasks = [teacher.student_task for teacher in recipe.teachers]
    union = examples(run, sources, tasks, title="the student", pseudo=pseudo)
    repeated = [
        (part, pool_name(source))
        for part, source in zip(union.parts, sources, strict=True)
        for _ in range(recipe.student.times(source))
    ]
    parts, names = zip(*repeated, strict=True)
    return ConcatenatedExamples(parts, names=names)


def examples(
    run: Run,
    sources: Sequence[Source],
    tasks: Sequence[Task],
    *,
    title: str,
    pseudo: Mapping[str, Mapping[str, PseudoLabels]] | None = None,
) -> ConcatenatedExamples:
    """Return the images of sources without those in test splits; unreadable ones have no label.

    Args:
        run: the run.
        sources: the images, with their ground truth.
        tasks: the heads.
        title: of what learns from them, for the message.
        pseudo: {source: {head: pseudo labels}}.

    Raises:
        UserError: there is no image, or a source is not compared with the test splits.
    """
    if not sources:
        raise UserError(f"{title} has no set to learn from")
    left_out, found = leakage.left_out(run, sources), []
    for source in sources:
        out = left_out.get(source.name)
        indices = [i for i in range(len(source)) if i not in out] if out else None
        of_source = (pseudo or {}).get(source.name, {})
        found.append(
            LabeledExamples(TolerantSource(source, labels=True), tasks, of_source, indices=indices)
        )
    whole = ConcatenatedExamples(found)
    if not len(whole):
        raise UserError(f"{title} has no image to learn from: all are in test splits")
    return whole


def inputs(run: Run, sources: Sequence[Source]) -> dict[str, dict[str, list[str]]]:
    """Return what an artifact depends on of its sources: the ids of images that are left out."""
    ids = {name: list(out.values()) for name, out in leakage.left_out(run, sources).items()}
    return {"left_out": ids} if ids else {}
