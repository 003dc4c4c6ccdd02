"""What every training stage does when its model is trained: metrics, pictures, the saved model."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import tensorflow as tf

from must_keras.config.recipe import Recipe
from must_keras.data.examples import LabeledExamples
from must_keras.data.pipeline import evaluation_batches
from must_keras.data.sources import Source, Subset, TolerantSource
from must_keras.data.splits import Splits
from must_keras.inference import visualization
from must_keras.inference.predictor import Predicted, Predictor, evaluate_trivial, fill_evaluators
from must_keras.inference.reliability import Reliability
from must_keras.progress import track
from must_keras.tasks.base import Task
from must_keras.training.summaries import Loggers
from must_keras.training.thresholds import PredictionCounts

_ROWS = 6


def labeled(source: Source, task: Task, recipe: Recipe) -> LabeledExamples:
    """Return a labeled set for one task; what cannot be read is skipped.

    The preflight stops at such an image. One that it did not read must not end a run of days: the
    image takes part in no loss and no metric, up to `Recipe.max_unreadable` of the set.
    """
    return LabeledExamples(TolerantSource(source, labels=True, most=recipe.max_unreadable), [task])


def batches(
    source: Source, task: Task, recipe: Recipe, *, size: int, limit: int | None = None
) -> tf.data.Dataset:
    """Evaluation batches of a source for one task, at so many pixels a side."""
    return evaluation_batches(
        labeled(source, task, recipe),
        [task],
        size=size,
        batch=recipe.evaluation_batch,
        ranges=[range(len(source) if limit is None else min(limit, len(source)))],
    )


class Scorer:
    """Measures one head on a labeled set; inputs are built once for all models that come.

    Args:
        task: the head.
        sets: its images.
        recipe: how large batches are.
        size: pixels a side of the network's input.
        untaught: outputs that no label taught (see training.untaught): they are not scored.

    Attributes:
        warnings: of the split that was scored last (see Evaluator.warnings).
        reliability: of the answers to validation images that were scored.
        answers: to the same images, by class and score; None where the task takes no threshold.
    """

    def __init__(
        self,
        task: Task,
        sets: Splits,
        recipe: Recipe,
        *,
        size: int,
        untaught: Collection[str] = (),
    ):
        self._untaught, self.warnings = frozenset(untaught), list[str]()
        self._task, self._sets, self._recipe, self._size = task, sets, recipe, size
        self._built: dict[str, tf.data.Dataset] = {}
        self.reliability = Reliability()
        self.answers = PredictionCounts(len(task.classes)) if task.takes_threshold else None

    def score(
        self,
        predictor: Predictor,
        *,
        step: int,
        summaries: Loggers,
        splits: Sequence[str] = ("validation", "test"),
    ) -> dict[str, float | None]:
        """Metrics, written to the summaries; those of the last split are returned.

        They are written under the metric's name, or "<head>_<metric>" where the model has several.
        """
        name = self._task.name
        prefix = f"{name}_" if len(predictor.heads) > 1 else ""
        metrics: dict[str, float] = {}
        for split in splits:
            batches_of = _tracked(self._batches(split), f"{name} on {split}")
            watch = self._judge if split == "validation" else None
            taught = _Taught(predictor, name, self._untaught)
            evaluator = fill_evaluators(taught, batches_of, [self._task], watch)[name]
            metrics, self.warnings = evaluator.result(), evaluator.warnings()
            summaries.numbers(step, split, {f"{prefix}{k}": v for k, v in metrics.items()})
        return finite(metrics)

    def trivial(self) -> dict[str, float | None]:
        """Metrics, on test, of the prediction that never looks at the image."""
        train, test = (
            _tracked(self._batches(split), f"{self._task.name} without looking, {split}")
            for split in ("train", "test")
        )
        return finite(evaluate_trivial(self._task, train=train, test=test, without=self._untaught))

    def tell_warnings(self, title: str) -> None:
        """Print the warnings on stderr, after what was scored."""
        for warning in self.warnings:
            print(f"warning: {title} on {self._sets.test.name!r}: {warning}", file=sys.stderr)

    def show(self, predictor: Predictor, *, step: int, summaries: Loggers) -> None:
        """A picture of image, label and prediction, for TensorBoard and as <task>.png."""
        task = self._task
        taught = _Taught(predictor, task.name, self._untaught)
        predicted = next(taught(self._batches("few")))
        labels, outputs = predicted.y["labels"][task.name], predicted.outputs[task.name]
        rows = [
            visualization.beside(
                task,
                predicted.x["image"][i],
                visualization.take(labels, i),
                visualization.take(outputs, i),
                area=predicted.x["area"][i],
            )
            for i in range(len(predicted.x["image"]))
        ]
        picture = visualization.grid(rows)
        summaries.picture(step, "validation", task.name, picture)
        visualization.save(summaries.folder / "pictures" / f"{task.name}.png", picture)

    def _judge(self, predicted: Predicted) -> None:
        name = self._task.name
        answers = self._task.certainty(predicted.y["labels"][name], predicted.outputs[name])
        if answers is not None:
            self.reliability.add(answers.scores, answers.right)
            if self.answers is not None:
                self.answers.add(answers)

    def _batches(self, part: str) -> tf.data.Dataset:
        if part not in self._built:
            source = self._few() if part == "few" else getattr(self._sets, part)
            self._built[part] = batches(source, self._task, self._recipe, size=self._size)
        return self._built[part]

    def _few(self) -> Source:
        whole = self._sets.validation
        return Subset(whole, visualization.spread(_ROWS, len(whole)), name=whole.name)


class _Taught:
    """A predictor without the untaught outputs of one head.

    Args:
        predictor: as `Scorer.score` takes it.
        head: the name of the task.
        untaught: keys of its outputs.
    """

    def __init__(self, predictor: Predictor, head: str, untaught: Collection[str]):
        self._predictor, self._head, self._untaught = predictor, head, untaught

    def __call__(self, batches: Iterable[Any]) -> Iterator[Predicted]:
        """See Predictor."""
        for predicted in self._predictor(batches):
            outputs = predicted.outputs[self._head]
            kept = {key: value for key, value in outputs.items() if key not in self._untaught}
            yield predicted._replace(outputs=predicted.outputs | {self._head: kept})


def _tracked(dataset: tf.data.Dataset, title: str) -> Iterator[Any]:
    return track(dataset, title, len(dataset))


def finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """The same with None for what is not a number: nothing was labeled."""
    return {k: float(v) if math.isfinite(v) else None for k, v in metrics.items()}


def sign(metric: str) -> int:
    """+1 where a larger value of a metric is the better one, -1 where a smaller one is."""
    return -1 if metric in ("abs_rel", "rmse", "mean_angle") else 1


def headline(metrics: Mapping[str, float | None]) -> str:
    """The first metric as a person reads it."""
    name, value = next(iter(metrics.items()))
    return f"{name} {value:.3f}" if value is not None else f"{name} unknown"


def derived_seed(seed: int, *names: str) -> int:
    """Another seed for every named part of a run, the same on every machine."""
    value = seed
    for character in "/".join(names):
        value = (value * 31 + ord(character)) % (2**31 - 1)
    return value
