"""The quality of pseudo labels: measured against ground truth where it is known, and shown."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from must_keras.config.recipe import Recipe
from must_keras.config.teachers import AnyTeacher
from must_keras.data.examples import LabeledExamples, PseudoLabels, count_classes
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, TolerantSource, without_labels
from must_keras.files import replacing
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
    teacher: AnyTeacher, source: Source, reader: PseudoLabelReader
) -> LabeledExamples:
    """Return a source's images with a teacher's labels at its threshold, without ground truth."""
    pseudo = PseudoLabels(reader=reader, threshold=teacher.threshold)
    return LabeledExamples(without_labels(source), [teacher.task], {teacher.task.name: pseudo})


def measure(
    recipe: Recipe,
    teacher: AnyTeacher,
    source: Source,
    reader: PseudoLabelReader,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """Return what a dataset contains at the teacher's threshold; saves a picture.

    Returns:
        {"threshold", "counted": of how many images "class_counts" are, "quality": see `_compare`}.
    """
    places = reader.filled[visualization.spread(_COUNTED, len(reader.filled))].tolist()
    labels = pseudo_labeled(teacher, source, reader)
    return {
        "threshold": teacher.threshold,
        "counted": len(places),
        "class_counts": count_classes(labels, teacher.task, indices=places) if places else None,
        "quality": _compare(recipe, teacher, source, reader, folder),
    }


def _compare(
    recipe: Recipe,
    teacher: AnyTeacher,
    source: Source,
    reader: PseudoLabelReader,
    folder: pathlib.Path,
) -> dict[str, float | None] | None:
    """Compare a complete dataset with ground truth, and save a picture of a few images.

    The picture, <folder>/pictures/<head>.png, has a row an image: image, ground truth if it is
    known, pseudo label.

    Returns:
        {metric: value}; None where ground truth is not known.
    """
    task, truth = teacher.task, _truth(recipe, source, teacher.task)
    images = TolerantSource(source if truth is None else truth)
    known = None if truth is None else LabeledExamples(images, [task])
    tasks = [task] if truth is None else [task, dataclasses.replace(task, name=TRUTH)]
    count = len(source) if truth is None else min(_COMPARED, len(source))
    filled = reader.filled[reader.filled < count]
    shown = filled[visualization.spread(_SHOWN, len(filled))].tolist() or [0]
    batches = evaluation_batches(
        Beside(pseudo_labeled(teacher, images, reader), known, task),
        tasks,
        size=recipe.network.size,
        batch=1 if truth is None else recipe.evaluation_batch,
        ranges=[range(i, i + 1) for i in shown] if truth is None else [range(count)],
    )
    evaluator, rows = task.metrics.quality(), []
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
            shown_labels = [visualization.take(label, i) for label in labels]
            rows.append(
                visualization.row(
                    task, x["image"][i].numpy(), *shown_labels, area=x["area"][i].numpy()
                )
            )
    for warning in evaluator.warnings():
        who = f"labels of {teacher.name} for {source.name}"
        print(f"warning: {who}: {warning}", file=sys.stderr)
    visualization.save(folder / "pictures" / f"{task.name}.png", visualization.grid(rows))
    return None if truth is None else scoring.finite(evaluator.result())


class Beside:
    """Images with a teacher's labels, and other labels under the name TRUTH.

    Args:
        pseudo: the images with the teacher's labels.
        truth: the same images with what these are compared with; None: there is nothing.
        task: the head.
    """

    def __init__(self, pseudo: LabeledExamples, truth: LabeledExamples | None, task: Task):
        self._pseudo, self._truth, self._name = pseudo, truth, task.name

    def __len__(self) -> int:
        return len(self._pseudo)

    def image_id(self, index: int) -> str:
        """See data.pipeline.Examples."""
        return self._pseudo.image_id(index)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, Mapping[str, np.ndarray]]]:
        """See data.pipeline.Examples."""
        image, labels = self._pseudo.load(index)
        if self._truth is not None:
            labels[TRUTH] = self._truth.labels(index)[self._name]
        return image, labels


def _truth(recipe: Recipe, source: Source, task: Task) -> Source | None:
    """Return the same images with ground truth of a task; None where it is not known."""
    known = [p.truth for p in recipe.pools if p.truth is not None and p.source.name == source.name]
    known += [source]
    return next((s for s in known if task.name in s.label_spaces), None)


def write_quarantine(
    teacher: AnyTeacher, source: Source, reader: PseudoLabelReader, folder: pathlib.Path
) -> int:
    """Write quarantine.jsonl, {"index", "id", "reason"} of each image without labels.

    Returns:
        How many images these are.
    """
    lines = []
    for index in range(len(reader)):
        if reader.is_empty(index):
            reason = teacher.why_empty(source, index)
            entry = {"index": index, "id": source.image_id(index), "reason": reason}
            lines.append(json.dumps(entry) + "\n")
    with replacing(folder / "quarantine.jsonl") as path:
        path.write_text("".join(lines), encoding="utf-8")
    return len(lines)
