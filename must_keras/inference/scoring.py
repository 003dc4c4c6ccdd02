"""What every training stage measures of a trained model: metrics, calibration, a visualization."""

import math
import pathlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, Subset, TolerantSource
from must_keras.data.splits import Splits
from must_keras.errors import warn
from must_keras.inference import visualization
from must_keras.inference.predictor import Predicted, Predictor, predictions
from must_keras.inference.worst_images import WorstImages
from must_keras.progress import track
from must_keras.runs.details import EvaluationDetails
from must_keras.runs.details import write as write_details
from must_keras.tasks.base import Task
from must_keras.tasks.evaluation import Evaluator
from must_keras.tasks.thresholds import PredictionCounts
from must_keras.training.loggers import Loggers

# Rows of a visualization; bins of confidence.
_ROWS, _BINS = 6, 10
_SCORED = ("validation", "test")


def labeled(source: Source, task: Task, *, max_unreadable: float) -> LabeledExamples:
    """Return the labeled images of a source for one task; unreadable images are skipped.

    Preflight stops at an unreadable image that it samples. One that it did not sample takes part
    in no loss and no metric, so that it does not end a run of days.

    Args:
        source: the images and labels.
        task: whose labels are read.
        max_unreadable: share of the images that may be skipped, [0, 1].
    """
    return LabeledExamples(TolerantSource(source, labels=True, max_skipped=max_unreadable), [task])


def batches(
    source: Source,
    task: Task,
    *,
    size: int,
    batch: int,
    max_unreadable: float,
    limit: int | None = None,
) -> tf.data.Dataset:
    """Return evaluation batches of a source for one task.

    Args:
        source: see `labeled`.
        task: see `labeled`.
        size: pixels a side of the network's input.
        batch: number of images.
        max_unreadable: see `labeled`.
        limit: only so many images, the first ones; None: all.
    """
    count = len(source) if limit is None else min(limit, len(source))
    examples = labeled(source, task, max_unreadable=max_unreadable)
    return evaluation_batches(examples, [task], size=size, batch=batch, ranges=[range(count)])


class Reliability:
    """Number of predictions, and of correct ones, by confidence: [0, 0.1), ..., [0.9, 1].

    Example:
        reliability = Reliability()
        reliability.add(np.array([0.95, 0.2]), np.array([True, False]))
        reliability.result()["right"][9]  # 1
    """

    def __init__(self) -> None:
        self._counts = np.zeros(_BINS, np.int64)
        self._right = np.zeros(_BINS, np.int64)

    def add(self, confidence: np.ndarray, right: np.ndarray) -> None:
        """Count predictions.

        Args:
            confidence: [N] in [0, 1].
            right: [N] bool.
        """
        places = np.clip((np.asarray(confidence) * _BINS).astype(int), 0, _BINS - 1)
        self._counts += np.bincount(places, minlength=_BINS)
        self._right += np.bincount(places, weights=right, minlength=_BINS).astype(np.int64)

    def result(self) -> dict[str, Any] | None:
        """Return {"answers": [10], "right": [10]}; None without any prediction."""
        if not self._counts.sum():
            return None
        return {"answers": self._counts.tolist(), "right": self._right.tolist()}


class Scorer:
    """Metrics of one head on a labeled set; the batches are built once for all models.

    Args:
        task: the head.
        sets: its images.
        size: pixels a side of the network's input.
        batch: number of images that are predicted together.
        max_unreadable: see `labeled`.
        untaught: outputs that no label taught (see training.untaught): they are not scored.

    Attributes:
        sets: the images.
        warnings: of the split that was scored last (see Evaluator.warnings).
        reliability: of the predictions on validation images that were scored.
        prediction_counts: of the same predictions, by class and score; None where the task has no
            threshold.

    Example:
        scorer = Scorer(task, sets, size=64, batch=8, max_unreadable=0.01)
        scorer.score(Predictor(model), step=0, loggers=Loggers(None))  # {"top1": 0.9}
    """

    def __init__(
        self,
        task: Task,
        sets: Splits,
        *,
        size: int,
        batch: int,
        max_unreadable: float,
        untaught: Collection[str] = (),
    ):
        self.sets = sets
        self._task, self._untaught = task, frozenset(untaught)
        self._options = {"size": size, "batch": batch, "max_unreadable": max_unreadable}
        self._built: dict[str, tf.data.Dataset] = {}
        self._trivial: dict[str, float | None] | None = None
        self.warnings = list[str]()
        self.reliability = Reliability()
        has_threshold = task.records.takes_threshold
        self.prediction_counts = PredictionCounts(len(task.classes)) if has_threshold else None

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of the metrics; some may be absent, where their output is untaught."""
        evaluator = self._task.metrics.evaluator()
        return tuple(metric.name for metric in evaluator.metrics)

    def score(
        self,
        predictor: Predictor,
        *,
        step: int,
        loggers: Loggers,
        splits: Sequence[str] = _SCORED,
        details: pathlib.Path | None = None,
    ) -> dict[str, float | None]:
        """Log the metrics of each split, and return those of the last one.

        See Logger.metrics for the names under which they are logged.

        Args:
            predictor: of the model.
            step: of the log.
            loggers: of the model's artifact.
            splits: which are scored, in this order.
            details: the folder that gets the details of the last split (runs/details.py);
                None: they are not written.
        """
        name, is_only = self._task.name, len(predictor.heads) == 1
        metrics: dict[str, float] = {}
        for split in splits:
            tracked = _tracked(self._batches(split), f"{name} on {split}")
            evaluator = self._task.metrics.evaluator()
            is_detailed = details is not None and split == splits[-1]
            worst = WorstImages(self._task)
            for predicted in self._predicted(predictor, tracked):
                if split == "validation":
                    self._count(predicted)
                evaluator.update(predicted.y["labels"][name], predicted.outputs[name])
                if is_detailed:
                    worst.add(predicted)
            metrics, self.warnings = evaluator.result(), evaluator.warnings()
            loggers.metrics(step, split, name, metrics, is_only=is_only)
            if is_detailed:
                self._write_details(details, split, evaluator, worst)
        return finite(metrics)

    def _write_details(
        self, folder: pathlib.Path, split: str, evaluator: Evaluator, worst: WorstImages
    ) -> None:
        task, size = self._task, self._options["size"]
        shown = worst.save(folder, getattr(self.sets, split))
        found = vars(evaluator.details(task.labels.classes, size=size))
        write_details(folder, task.name, EvaluationDetails(split=split, worst=shown, **found))

    def trivial(self) -> dict[str, float | None]:
        """Return the metrics, on test, of the trivial baseline fitted on train; computed once."""
        if self._trivial is None:
            metrics = self._task.metrics
            baseline, evaluator = metrics.trivial_baseline(), metrics.evaluator()
            for label in self._labels("train"):
                baseline.update(label)
            for label in self._labels("test"):
                prediction = baseline.predict(len(next(iter(label.values()))))
                evaluator.update(label, self._taught(prediction))
            self._trivial = finite(evaluator.result())
        return self._trivial

    def _labels(self, split: str) -> Iterator[dict[str, np.ndarray]]:
        """Yield the labels of a split, batch by batch, without fillers."""
        tracked = _tracked(self._batches(split), f"{self._task.name} trivial baseline, {split}")
        for predicted in predictions(tracked, lambda x: {}):
            yield predicted.y["labels"][self._task.name]

    def print_warnings(self, title: str) -> None:
        """Print the warnings of the split that was scored last on stderr."""
        for warning in self.warnings:
            warn(f"{title} on {self.sets.test.name!r}: {warning}")

    def visualize(self, predictor: Predictor, *, step: int, loggers: Loggers) -> None:
        """Save images with labels and predictions as pictures/<task>.png and for TensorBoard."""
        task = self._task
        predicted = next(self._predicted(predictor, self._batches("shown")))
        labels, outputs = predicted.y["labels"][task.name], predicted.outputs[task.name]
        rows, colored = [], []
        for i, image in enumerate(predicted.x["image"]):
            shown = (visualization.take(labels, i), visualization.take(outputs, i))
            rows.append(visualization.row(task, image, *shown, area=predicted.x["area"][i]))
            colored += shown
        picture = visualization.grid(rows)
        explained = visualization.with_swatches(picture, task.visualization.swatches(*colored))
        loggers.image(step, "validation", task.name, explained)
        visualization.save(loggers.folder / "pictures" / f"{task.name}.png", picture)

    def _count(self, predicted: Predicted) -> None:
        """Count a batch's predictions by confidence, and by class and score."""
        name = self._task.name
        label, prediction = predicted.y["labels"][name], predicted.outputs[name]
        scored = self._task.metrics.scored_predictions(label, prediction)
        if scored is not None:
            self.reliability.add(scored.scores, scored.correct)
            if self.prediction_counts is not None:
                self.prediction_counts.add(scored)

    def _batches(self, split: str) -> tf.data.Dataset:
        if split not in self._built:
            source = self._shown() if split == "shown" else getattr(self.sets, split)
            self._built[split] = batches(source, self._task, **self._options)
        return self._built[split]

    def _shown(self) -> Source:
        """Return a few validation images, evenly spread."""
        whole = self.sets.validation
        return Subset(whole, visualization.spread(_ROWS, len(whole)), name=whole.name)

    def _predicted(self, predictor: Predictor, batches: Iterable[Any]) -> Iterator[Predicted]:
        """Yield the predictions for batches, without the untaught outputs of the head."""
        head = self._task.name
        for predicted in predictor(batches):
            kept = self._taught(predicted.outputs[head])
            yield predicted._replace(outputs=predicted.outputs | {head: kept})

    def _taught(self, outputs: Mapping[str, Any]) -> dict[str, Any]:
        return {key: value for key, value in outputs.items() if key not in self._untaught}


def _tracked(dataset: tf.data.Dataset, title: str) -> Iterator[Any]:
    return track(dataset, title, len(dataset))


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Return the metrics with None for each that is not finite: nothing was labeled for it."""
    return {k: float(v) if math.isfinite(v) else None for k, v in metrics.items()}


def headline(metrics: Mapping[str, float | None]) -> str:
    """Return the first metric as text: "top1 0.912"."""
    name, value = next(iter(metrics.items()))
    return f"{name} {value:.3f}" if value is not None else f"{name} unknown"
