"""What a metric is, what computes it, and the trivial baseline that it is compared with."""

import abc
import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np

from must_keras.errors import UserError, nearest
from must_keras.tasks.details import Details, Disagreement
from must_keras.tasks.parts import Arrays, Part, subclasses
from must_keras.tasks.summaries import ScoredPredictions


@dataclasses.dataclass(frozen=True)
class Metric:
    """A number that an evaluator reports, declared once by that evaluator.

    Attributes:
        name: its key in report.json and metrics.jsonl.
        better: which values are the better ones.
        range: the lowest and the highest value; both ends are possible.

    Example:
        rmse = Metric("rmse", better="lower", range=(0.0, math.inf))
        rmse.signed(0.5)  # -0.5: larger is better
    """

    name: str
    better: Literal["higher", "lower"]
    range: tuple[float, float]

    def __post_init__(self) -> None:
        if self.better not in ("higher", "lower"):
            raise ValueError(
                f"metric {self.name!r}: better={self.better!r}: expected 'higher' or 'lower'"
            )

    def signed(self, value: float) -> float:
        """Return the value where higher is better, and otherwise its negative."""
        return value if self.better == "higher" else -value

    @property
    def is_share(self) -> bool:
        """Whether 1 is the best value, so that 1 - value is what a model lacks."""
        return self.better == "higher" and self.range[1] == 1.0


def share(name: str) -> Metric:
    """Return a metric in [0, 1] of which higher is better."""
    return Metric(name, better="higher", range=(0.0, 1.0))


def error(name: str, highest: float = math.inf) -> Metric:
    """Return a metric in [0, highest] of which lower is better."""
    return Metric(name, better="lower", range=(0.0, highest))


class Evaluator(abc.ABC):
    """The sums that some metrics need, gathered batch by batch.

    Example:
        evaluator = Segmentation(name="parts", classes=("a", "b")).metrics.evaluator()
        evaluator.update({"map": np.uint8([[[0, 1]]])}, {"map": np.uint8([[[0, 0]]])})
        evaluator.result()  # {"miou": 0.25, "pixel_accuracy": 0.5}
    """

    metrics: ClassVar[tuple[Metric, ...]]
    """What is reported; the first is the headline. An instance may report fewer."""

    @abc.abstractmethod
    def update(self, label: Arrays, prediction: Arrays) -> None:
        """Add one batch, [B, ...] each. Images without a label count nothing."""

    @abc.abstractmethod
    def values(self) -> Sequence[float]:
        """Return the value of each of `metrics`; NaN where nothing was labeled."""

    def result(self) -> dict[str, float]:
        """Return {name of the metric: value}; the first is the headline."""
        values = zip(self.metrics, self.values(), strict=True)
        return {metric.name: float(value) for metric, value in values}

    def details(self, classes: Sequence[str], *, size: int) -> Details:
        """Return what it has found beyond its metrics; here nothing.

        Args:
            classes: the names of the task's classes, () without any.
            size: pixels of the longer side of the images, as the network receives them.
        """
        return Details()

    def warnings(self) -> list[str]:
        """Return, with figures and remedy, what all predictions get wrong, as inverted depth."""
        return []


def find_metric(name: str) -> Metric:
    """Return the declaration of a metric that a file names.

    Every evaluator that was imported is considered, those of a recipe's own file too.

    Raises:
        UserError: no evaluator declares the metric, or two declare it differently: a guess could
            choose the worst of several runs as the best.
    """
    declared = [
        m for evaluator in subclasses(Evaluator) for m in vars(evaluator).get("metrics", ())
    ]
    found = list(dict.fromkeys(metric for metric in declared if metric.name == name))
    if not found:
        known = sorted({metric.name for metric in declared})
        raise UserError(
            f"no task declares the metric {name!r}, so its better direction is unknown; "
            f"{nearest(str(name), known)}. Import the file of the task that reports it"
        )
    if len(found) > 1:
        raise UserError(f"the metric {name!r} is declared differently: {found}; rename one")
    return found[0]


class TrivialBaseline(abc.ABC):
    """The best prediction that ignores the image, which any metric is compared with.

    Example:
        baseline = Depth(name="distance").metrics.trivial_baseline()
        baseline.update({"depth": np.ones((4, 8, 8), np.float32)})
        baseline.predict(2)["depth"].shape  # (2, 8, 8)
    """

    @abc.abstractmethod
    def update(self, label: Arrays) -> None:
        """Add a batch of training labels, [B, ...]."""

    @abc.abstractmethod
    def prediction(self) -> dict[str, np.ndarray]:
        """Return the prediction of one image, which is that of every other."""

    def predict(self, num_images: int) -> dict[str, np.ndarray]:
        """Return the same prediction for every image, [num_images, ...]."""
        one = self.prediction()
        return {key: np.broadcast_to(one[key], (num_images, *one[key].shape)) for key in one}


class Metrics(Part, abc.ABC):
    """Scores, and the trivial baseline to compare them with.

    Example:
        Depth(name="distance").metrics.evaluator().metrics[0].name  # "delta1"
    """

    @abc.abstractmethod
    def evaluator(self) -> Evaluator:
        """Return a comparison of labels with predictions."""

    def quality(self) -> Evaluator:
        """Return a comparison of ground truth with pseudo labels (both as labels, batched)."""
        return self.evaluator()

    def scored_predictions(self, label: Arrays, prediction: Arrays) -> ScoredPredictions | None:
        """Return a batch's predictions matched to ground truth, of those that would be stored.

        Predictions where nothing is labeled are left out. None for a task without right and wrong.
        """
        return None

    def disagreements(self, label: Arrays, prediction: Arrays) -> list[Disagreement | None]:
        """Return how far each image's prediction is from its label; None where nothing is labeled.

        Here by the first metric of the image alone: how much its value lacks of the best one.
        """
        found: list[Disagreement | None] = []
        for image in range(len(next(iter(label.values())))):
            evaluator = self.evaluator()
            one = slice(image, image + 1)
            evaluator.update(
                *({k: v[one] for k, v in part.items()} for part in (label, prediction))
            )
            metric, value = evaluator.metrics[0], float(evaluator.values()[0])
            is_known, best = math.isfinite(value), metric.range[metric.better == "higher"]
            text = f"{metric.name} {value:.3f}"
            found.append(Disagreement(abs(best - value), text) if is_known else None)
        return found

    @abc.abstractmethod
    def trivial_baseline(self) -> TrivialBaseline:
        """Return the best prediction that ignores the image, before it has seen any label."""
