"""What the student and its baselines learn from: sources, without images of test splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from must_keras.config.recipe import Recipe
from must_keras.data.examples import ConcatenatedExamples, LabeledExamples, PseudoLabels
from must_keras.data.sources import Source, TolerantSource
from must_keras.errors import UserError
from must_keras.pseudo_labels import leakage
from must_keras.runs.workdir import Workdir
from must_keras.tasks.base import Task

LeftOut = Mapping[str, Mapping[int, str]]


def are_known(recipe: Recipe, workdir: Workdir, sources: Sequence[Source]) -> bool:
    """Whether `left_out` can answer."""
    return leakage.are_known(recipe, workdir, [source.name for source in sources])


def left_out(recipe: Recipe, workdir: Workdir, sources: Sequence[Source]) -> LeftOut:
    """{source: {index: id}} of the images of these sources that are in a test split.

    Raises:
        UserError: one of them is not compared with the test splits yet.
    """
    return leakage.left_out(recipe, workdir, [source.name for source in sources])


def as_inputs(left_out: LeftOut) -> dict[str, dict[str, list[str]]]:
    """What a part depends on; empty where nothing is left out: so older parts stay valid."""
    ids = {name: list(images.values()) for name, images in left_out.items()}
    return {"left_out": ids} if ids else {}


def union(
    sources: Sequence[Source],
    tasks: Sequence[Task],
    *,
    left_out: LeftOut,
    who: str,
    columns: Mapping[str, Mapping[str, PseudoLabels]] | None = None,
) -> ConcatenatedExamples:
    """All images of the sources but those that are left out; unreadable ones have no label.

    Args:
        sources: the images, with their true labels.
        tasks: the heads.
        left_out: see `left_out`.
        who: learns from them, for the message.
        columns: {source: {head: what a teacher said}}.

    Raises:
        UserError: there is no image.
    """
    if not sources:
        raise UserError(f"{who} has no set to learn from")
    parts = []
    for source in sources:
        out = left_out.get(source.name)
        indices = [i for i in range(len(source)) if i not in out] if out else None
        pseudo = (columns or {}).get(source.name, {})
        parts.append(
            LabeledExamples(TolerantSource(source, labels=True), tasks, pseudo, indices=indices)
        )
    examples = ConcatenatedExamples(parts)
    if not len(examples):
        raise UserError(f"{who} has no image to learn from: all are in test splits")
    return examples
