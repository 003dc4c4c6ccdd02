"""Metrics of self-labeled heads, from images alone: the label is computed from the same inputs."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Subset, TolerantSource
from must_keras.data.splits import Splits
from must_keras.inference.predictor import OnReplicas, Outputs, Predicted, predictions
from must_keras.inference.scoring import finite
from must_keras.inference.visualization import spread
from must_keras.progress import track
from must_keras.runs.results import Scored
from must_keras.tasks.self_labeled import SelfLabeledTask
from must_keras.training.loggers import Loggers
from must_keras.training.model import MultiTaskModel

# Images of a split of a set that are measured, evenly spread.
_MAX_IMAGES = 512


def score(
    model: MultiTaskModel,
    task: SelfLabeledTask,
    sets: Sequence[Splits],
    *,
    batch: int,
    max_unreadable: float,
    step: int,
    loggers: Loggers,
) -> Scored:
    """Log a head's metrics on validation and test images, and return those on test.

    The trivial baseline is fitted on training images. Of each split of a set at most 512 images are
    measured.

    Args:
        model: trained, with its self-labeled heads.
        task: prepared, one with metrics.
        sets: whose images are measured.
        batch: number of images that are predicted together.
        max_unreadable: share of a split's images that may be skipped, [0, 1].
        step: of the log.
        loggers: of the model's artifact.

    Example:
        score(model, task, [teacher.sets], batch=8, max_unreadable=0.1, step=9, loggers=loggers)
    """

    def both(x: dict[str, tf.Tensor]) -> Outputs:
        shown = tf.ones_like(x["keys"], tf.bool)
        return {
            "label": task.labels.label({**x, "shown": shown}, x["keys"]),
            "prediction": model.predictions(x, training=False)[task.name],
        }

    outputs, metrics = OnReplicas(model, both), {}
    options = {"size": model.size[0], "batch": batch}
    options |= {"streams": model.streams.streams if model.streams else ()}

    def batches(split: str) -> Iterator[Predicted]:
        sources = {one.name: one for one in (getattr(of_set, split) for of_set in sets)}
        for source in sources.values():
            chosen = Subset(source, spread(_MAX_IMAGES, len(source)), name=source.name)
            images = TolerantSource(chosen, max_skipped=max_unreadable)
            title = f"{task.name} on {source.name}"
            yield from _readable(images, outputs, title=title, **options)

    baseline = task.metrics.trivial_baseline()
    for found in batches("train"):
        baseline.update(found.outputs["label"])
    for split in ("validation", "test"):
        evaluator, trivial = task.metrics.evaluator(), task.metrics.evaluator()
        for found in batches(split):
            label, prediction = found.outputs["label"], found.outputs["prediction"]
            evaluator.update(label, prediction)
            trivial.update(label, baseline.predict(len(found.x["area"])))
        metrics = evaluator.result()
        loggers.scalars(step, split, {f"{task.name}_{key}": v for key, v in metrics.items()})
    return Scored(metrics=finite(metrics), trivial=finite(trivial.result()))


def _readable(
    images: TolerantSource, outputs: OnReplicas, *, title: str, **options: Any
) -> Iterator[Predicted]:
    """Yield the outputs for the images of a source that can be read; an image's key is its index.

    Args:
        images: the source.
        outputs: of the inputs of a batch and their "keys".
        title: beside the progress bar.
        **options: of `evaluation_batches`.
    """
    examples, ranges = LabeledExamples(images, []), [range(len(images))]
    dataset = evaluation_batches(examples, (), ranges=ranges, **options)
    dataset = dataset.map(lambda x, y: (x | {"keys": tf.cast(y["index"], tf.int32)}, y))
    for found in predictions(track(dataset, title, len(dataset)), outputs):
        keep = ~np.isin(found.y["index"], list(images.unreadable))
        yield Predicted(*tf.nest.map_structure(lambda v, k=keep: v[k], tuple(found)))
