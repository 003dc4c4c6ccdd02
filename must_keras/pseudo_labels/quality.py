"""What pseudo labels are worth: beside the truth where somebody knows it, and to look at."""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from must_keras.config.recipe import AnyTeacher, Recipe
from must_keras.data.examples import LabeledExamples, PseudoLabels, count_classes
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, TolerantSource, without_labels
from must_keras.inference import scoring, visualization
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.tasks.base import Task

# Images whose pseudo labels' classes are counted.
_COUNTED = 512
# The first images of a source that are compared.
_COMPARED = 512
_SHOWN = 6
# Beside the head's own name, and unlike any.
TRUTH = "(truth)"


def pseudo_labeled(
    teacher: AnyTeacher, source: Source, column: PseudoLabelReader
) -> LabeledExamples:
    """A source's images with what a teacher said of them at its threshold, and no truth."""
    pseudo = PseudoLabels(column=column, threshold=teacher.threshold)
    return LabeledExamples(without_labels(source), [teacher.task], {teacher.task.name: pseudo})


def look(
    recipe: Recipe,
    teacher: AnyTeacher,
    source: Source,
    column: PseudoLabelReader,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """What a column says at the teacher's threshold; saves a picture, see `judge`.

    Returns:
        {"threshold", "counted": of how many images "class_counts" are, "quality": see `judge`}.
    """
    places = column.filled[visualization.spread(_COUNTED, len(column.filled))].tolist()
    labels = pseudo_labeled(teacher, source, column)
    return {
        "threshold": teacher.threshold,
        "counted": len(places),
        "class_counts": count_classes(labels, teacher.task, indices=places) if places else None,
        "quality": judge(recipe, teacher, source, column, folder),
    }


def judge(
    recipe: Recipe,
    teacher: AnyTeacher,
    source: Source,
    column: PseudoLabelReader,
    folder: pathlib.Path,
) -> dict[str, float | None] | None:
    """Compares a finished column with the truth and saves a picture of a few images.

    Args:
        recipe: the run.
        teacher: whose column it is.
        source: what it labeled.
        column: what it said.
        folder: the picture is <folder>/pictures/<head>.png: image, truth if known, pseudo label.

    Returns:
        {metric: value}; None where nobody knows the truth.
    """
    task, truth = teacher.task, _truth(recipe, source, teacher.task)
    images = TolerantSource(source if truth is None else truth)
    known = None if truth is None else LabeledExamples(images, [task])
    tasks = [task] if truth is None else [task, dataclasses.replace(task, name=TRUTH)]
    count = len(source) if truth is None else min(_COMPARED, len(source))
    filled = column.filled[column.filled < count]
    shown = filled[visualization.spread(_SHOWN, len(filled))].tolist() or [0]
    batches = evaluation_batches(
        Beside(pseudo_labeled(teacher, images, column), known, task),
        tasks,
        size=recipe.network.size,
        batch=1 if truth is None else recipe.evaluation_batch,
        ranges=[range(i, i + 1) for i in shown] if truth is None else [range(count)],
    )
    evaluator, rows = task.quality(), []
    for x, y in batches:
        indices = y["index"].numpy()
        keep = indices >= 0
        labels = [
            {key: value.numpy()[keep] for key, value in y["labels"][name].items()}
            for name in ([TRUTH] if truth is not None else []) + [task.name]
        ]
        if truth is not None:
            evaluator.update(*labels)
        for i in np.flatnonzero(np.isin(indices, shown)):
            told = [visualization.take(label, i) for label in labels]
            rows.append(
                visualization.beside(task, x["image"][i].numpy(), *told, area=x["area"][i].numpy())
            )
    for warning in evaluator.warnings():
        who = f"labels of {teacher.name} for {source.name}"
        print(f"warning: {who}: {warning}", file=sys.stderr)
    visualization.save(folder / "pictures" / f"{task.name}.png", visualization.grid(rows))
    return None if truth is None else scoring.finite(evaluator.result())


class Beside:
    """Images with what a teacher said of them, and other labels under the name TRUTH.

    Args:
        said: the images with the teacher's labels.
        truth: the same images with what these are compared with; None: there is nothing.
        task: the head.
    """

    def __init__(self, said: LabeledExamples, truth: LabeledExamples | None, task: Task):
        self._said, self._truth, self._name = said, truth, task.name

    def __len__(self) -> int:
        return len(self._said)

    def image_id(self, index: int) -> str:
        """See data.pipeline.Examples."""
        return self._said.image_id(index)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, Mapping[str, np.ndarray]]]:
        """See data.pipeline.Examples."""
        image, labels = self._said.load(index)
        if self._truth is not None:
            labels[TRUTH] = self._truth.labels(index)[self._name]
        return image, labels


def _truth(recipe: Recipe, source: Source, task: Task) -> Source | None:
    """The same images with true labels of a task, where somebody knows them."""
    known = [p.truth for p in recipe.pools if p.truth is not None and p.source.name == source.name]
    known += [source]
    return next((s for s in known if task.name in s.label_spaces), None)
