"""What every training stage does when its model is trained: metrics, pictures, the saved model."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from must_keras.data.labelled import Labelled
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, Subset
from must_keras.progress import track
from must_keras.recipe import Recipe, Splits
from must_keras.tasks.base import Task
from must_keras.training import pictures
from must_keras.training.inference import Predictor, evaluate, evaluate_trivial
from must_keras.training.summaries import Summaries

_ROWS = 6


def batches(source: Source, task: Task, recipe: Recipe, limit: int | None = None):
    """Evaluation batches of a source for one task."""
    return evaluation_batches(
        Labelled(source, [task]),
        [task],
        size=recipe.network.size,
        batch=recipe.evaluation_batch,
        ranges=[range(len(source) if limit is None else min(limit, len(source)))],
    )


def score(
    predictor: Predictor,
    task: Task,
    sets: Splits,
    recipe: Recipe,
    *,
    step: int,
    summaries: Summaries,
    splits: Sequence[str] = ("validation", "test"),
) -> dict[str, float]:
    """Metrics of one head, written to the summaries; those of the last split are returned.

    They are written under the metric's name, or "<head>_<metric>" where the model has several.
    """
    prefix = f"{task.name}_" if len(predictor.heads) > 1 else ""
    metrics: dict[str, float] = {}
    for split in splits:
        labelled = batches(getattr(sets, split), task, recipe)
        found = evaluate(predictor, _tracked(labelled, f"{task.name} on {split}"), [task])
        metrics = found[task.name]
        summaries.numbers(step, split, {f"{prefix}{k}": v for k, v in metrics.items()})
    return finite(metrics)


def trivial(task: Task, sets: Splits, recipe: Recipe) -> dict[str, float]:
    """Metrics, on test, of the prediction that never looks at the image."""
    return finite(
        evaluate_trivial(
            task,
            train=_tracked(
                batches(sets.train, task, recipe), f"{task.name} without looking, train"
            ),
            test=_tracked(batches(sets.test, task, recipe), f"{task.name} without looking, test"),
        )
    )


def _tracked(dataset: tf.data.Dataset, title: str) -> Iterator[Any]:
    return track(dataset, title, len(dataset))


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The same with None for what is not a number: nothing was labelled."""
    return {k: float(v) if math.isfinite(v) else None for k, v in metrics.items()}


def show(
    predictor: Predictor,
    task: Task,
    source: Source,
    recipe: Recipe,
    *,
    step: int,
    summaries: Summaries,
) -> None:
    """A picture of image, label and prediction, for TensorBoard and as <task>.png."""
    few = Subset(source, pictures.spread(_ROWS, len(source)), name=source.name)
    predicted = next(predictor(batches(few, task, recipe)))
    labels, outputs = predicted.y["labels"][task.name], predicted.outputs[task.name]
    rows = [
        pictures.beside(
            task,
            predicted.x["image"][i],
            pictures.take(labels, i),
            pictures.take(outputs, i),
            area=predicted.x["area"][i],
        )
        for i in range(len(few))
    ]
    picture = pictures.grid(rows)
    summaries.picture(step, "validation", task.name, picture)
    pictures.save(summaries.folder / "pictures" / f"{task.name}.png", picture)


def headline(metrics: Mapping[str, float | None]) -> str:
    """The first metric as a person reads it."""
    name, value = next(iter(metrics.items()))
    return f"{name} {value:.3f}" if value is not None else f"{name} unknown"


def part_seed(seed: int, *names: str) -> int:
    """Another seed for every named part of a run, the same on every machine."""
    value = seed
    for character in "/".join(names):
        value = (value * 31 + ord(character)) % (2**31 - 1)
    return value
