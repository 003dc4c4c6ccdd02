"""The value on validation images by which a training keeps its best weights."""

import statistics
from collections.abc import Mapping

from must_keras.errors import UserError
from must_keras.inference.predictor import Predictor
from must_keras.inference.scoring import Scorer
from must_keras.tasks.evaluation import find_metric
from must_keras.training.best import KeepBest
from must_keras.training.loggers import Loggers


class ValidationMetric:
    """The mean over a model's heads of a metric on the validation split of each head's set.

    A metric of which lower values are better counts as its negative, as in self-training rounds.

    Args:
        predictor: of the model that is trained.
        scorers: {head: its scorer}, of the heads with a labeled set.
        rule: names the metric; without one it is the first of each head.
        title: of the training, for errors.

    Attributes:
        name: of what is compared, for people: "top1", or "mean of top1, box_ap50".

    Raises:
        UserError: no head has a labeled set, or none reports the metric.

    Example:
        measure = ValidationMetric(Predictor(model), {"kind": scorer}, KeepBest(), title="student")
        measure(500, loggers)  # 0.41
    """

    def __init__(
        self, predictor: Predictor, scorers: Mapping[str, Scorer], rule: KeepBest, *, title: str
    ):
        self._predictor, self._title = predictor, title
        self._measured: dict[str, tuple[Scorer, str]] = {}
        for head, scorer in scorers.items():
            names = scorer.metric_names
            name = rule.metric or names[0]
            if name in names:
                self._measured[head] = scorer, name
        if not self._measured:
            what = f"reports {rule.metric!r}" if rule.metric and scorers else "has a labeled set"
            raise UserError(f"{title}: keep_best needs validation images, and no head {what}")
        metrics = [metric for _, metric in self._measured.values()]
        self.name = metrics[0] if len(metrics) == 1 else f"mean of {', '.join(metrics)}"

    def __call__(self, step: int, loggers: Loggers) -> float:
        """Log the metrics of a step, and return a value of which higher is better.

        Raises:
            UserError: a metric is unknown, since no validation image is labeled for it.
        """
        values = []
        for head, (scorer, name) in self._measured.items():
            options = {"step": step, "loggers": loggers, "splits": ("validation",)}
            value = scorer.score(self._predictor, **options).get(name)
            if value is None:
                source = scorer.sets.validation.name
                raise UserError(
                    f"{self._title}: keep_best compares {name} of head {head!r}, and no image of "
                    f"{source!r} is labeled for it"
                )
            values.append(find_metric(name).signed(value))
        return statistics.fmean(values)
