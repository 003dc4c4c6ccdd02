"""The best weights of a training by a metric on validation images, and when it stops."""

import contextlib
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from numbers import Integral
from typing import Any, Protocol

import keras
import numpy as np

from must_keras.errors import UserError, expect, nearest
from must_keras.log import LOG
from must_keras.runs.results import Kept
from must_keras.tasks.base import Task
from must_keras.training.fitted import FittedModel
from must_keras.training.loggers import Loggers
from must_keras.training.strategy import broadcast_from_chief, is_chief


@dataclasses.dataclass(frozen=True, kw_only=True)
class KeepBest:
    """Validation within a training: the weights of the best step are its result.

    The model is evaluated on the validation images every so many steps and after the last step;
    with `ema` it is the averaged one. Of equal values the earlier step is kept.

    Attributes:
        every: steps between two evaluations.
        patience: number of evaluations in a row without an improvement after which the training
            stops; None: it never stops early.
        metric: name of the metric that is compared, as "miou"; None: the first one of each head.
            Of several heads it is the mean of those that report it, where a metric of which lower
            values are better counts as its negative.

    Raises:
        UserError: a value is of another type or range.

    Example:
        mk.TrainingConfig(steps=20_000, keep_best=mk.KeepBest(every=500, patience=8))
    """

    every: int = 500
    patience: int | None = None
    metric: str | None = None

    def __post_init__(self) -> None:
        where = "keep_best"
        expect(where, self, every=Integral, patience=Integral | None, metric=str | None)
        for name in ("every", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError.of(where, name, value, "expected 1 or more")

    def check(self, where: str, tasks: Sequence[Task]) -> None:
        """Raise UserError where there are no heads to evaluate, or none reports the metric."""
        if not tasks:
            problem = "without heads there is no metric on validation images; remove it"
            raise UserError.of(where, "keep_best", self, problem)
        known = [metric.name for task in tasks for metric in task.metrics.evaluator().metrics]
        if self.metric is not None and self.metric not in known:
            problem = f"no head of this training reports it; {nearest(self.metric, known)}"
            raise UserError.of(where, "keep_best.metric", self.metric, problem, allowed=known)


class Measure(Protocol):
    """A model's value on validation images; only the chief process calls it.

    Example:
        measure = ValidationMetric(predictor, scorers, rule, title="student")
        measure(500, loggers)  # 0.41
    """

    name: str
    """What is measured, for people."""

    def __call__(self, step: int, loggers: Loggers) -> float:
        """Log the metrics of a step, and return a value of which higher is better."""


class BestWeights:
    """The best weights so far of one training; a checkpoint contains them, so resuming is exact.

    Args:
        rule: when the model is evaluated, and when the training stops.
        measure: evaluates the model.
        title: of the training; begins log lines.

    Example:
        best = BestWeights(KeepBest(every=500), measure, title="student")
        fit(artifact, model, pipeline, training, title="student", origin="scratch", best=best)
        best.kept().step  # 3500
    """

    def __init__(self, rule: KeepBest, measure: Measure, *, title: str):
        self._rule, self._measure, self._title = rule, measure, title
        self._step, self._value = 0, float("-inf")
        self._evaluated = self._since = 0
        self.arrays: list[np.ndarray] = []

    @property
    def has_stopped(self) -> bool:
        """Whether there were as many evaluations without an improvement as the patience allows."""
        return self._rule.patience is not None and self._since >= self._rule.patience

    def is_due(self, step: int, num_steps: int) -> bool:
        """Return whether the model is evaluated after a step of a training of so many."""
        return step % self._rule.every == 0 or step == num_steps

    def evaluate(
        self, step: int, model: FittedModel, variables: Sequence[keras.Variable], loggers: Loggers
    ) -> None:
        """Evaluate the model after a step, in all processes; keep its weights if it is better.

        Args:
            step: number of optimizer steps.
            model: what is trained.
            variables: of the model, always the same in the same order.
            loggers: of the artifact.
        """
        with _averaged(model):
            value = broadcast_from_chief(lambda: self._measure(step, loggers))
            is_better = value > self._value
            if is_better:
                self.arrays = [np.array(variable) for variable in variables]
        self._since = 0 if is_better else self._since + 1
        self._evaluated = step
        if is_better:
            self._step, self._value = step, value
        if is_chief():
            best = "" if is_better else f"; the best is {self._value:.4f} after step {self._step}"
            named = f"{self._measure.name} {value:.4f} on validation"
            LOG.info(f"{self._title}: step {step}: {named}{best}")

    def apply(self, variables: Sequence[keras.Variable]) -> None:
        """Assign the best weights to the variables of the model."""
        for variable, array in zip(variables, self.arrays, strict=True):
            variable.assign(array)
        if is_chief():
            kept = self.kept()
            why = f"stopped after step {kept.trained}: {kept.stopped}; " if kept.stopped else ""
            LOG.info(f"{self._title}: {why}the weights of step {kept.step} are kept")

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint stores beside the arrays."""
        names = ("step", "value", "evaluated", "since")
        return {name: getattr(self, f"_{name}") for name in names} if self.arrays else {}

    def restore(self, state: Mapping[str, Any], arrays: Sequence[np.ndarray]) -> None:
        """Restore the state of a checkpoint and its arrays."""
        for name, value in state.items():
            setattr(self, f"_{name}", value)
        self.arrays = list(arrays)

    def kept(self) -> Kept:
        """Return which weights are kept, once the training has ended."""
        stopped = f"no better in {self._since} evaluations" if self.has_stopped else None
        return Kept(
            step=self._step,
            metric=self._measure.name,
            value=self._value,
            trained=self._evaluated,
            stopped=stopped,
        )


@contextlib.contextmanager
def _averaged(model: FittedModel) -> Iterator[None]:
    """Within, the weights are what the training would end with: averages, where it has any."""
    if not model.optimizer.use_ema:
        yield
        return
    variables = model.trainable_variables
    own = [np.array(variable) for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    try:
        yield
    finally:
        for variable, array in zip(variables, own, strict=True):
            variable.assign(array)
