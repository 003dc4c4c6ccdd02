"""How a model is fitted: the training loop around Keras' `fit`."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import time
from collections.abc import Sequence

import keras
import tensorflow as tf

from must_keras.data.augmentation import Augmentation
from must_keras.data.pipeline import Examples, training_batches
from must_keras.errors import UserError
from must_keras.models.normalization import averaging_momentum
from must_keras.progress import Progress
from must_keras.tasks.base import Task
from must_keras.training.model import MultiTaskModel
from must_keras.training.optimizers import SGD, AdamW, WarmupCosine, reset
from must_keras.training.strategy import num_replicas
from must_keras.training.summaries import Summaries


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """How long, how fast and on what views a model is trained.

    Attributes:
        steps: optimizer steps; 0: the weights stay those of the start.
        batch: images of a step, over all replicas.
        learning_rate: the peak.
        optimizer: AdamW(...) or SGD(...).
        warmup: share of the steps in which the rate rises.
        clip_norm: largest global norm of the gradients; None: unlimited.
        augmentation: views and colours.
        log_every: steps between two log lines.
    """

    steps: int
    batch: int
    learning_rate: float
    optimizer: AdamW | SGD
    warmup: float = 0.05
    clip_norm: float | None = 10.0
    augmentation: Augmentation = dataclasses.field(default_factory=Augmentation)
    log_every: int = 20

    def __post_init__(self) -> None:
        for name in ("batch", "learning_rate", "log_every"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be positive, received {getattr(self, name)}")
        if self.steps < 0:
            raise UserError(f"steps must be 0 or more, received {self.steps}")

    @property
    def images_seen(self) -> int:
        """Images drawn in the whole run, repetitions counted."""
        return self.steps * self.batch

    def norm(self) -> dict[str, float | bool]:
        """The keyword arguments of every BatchNormalization of a model trained so.

        The momentum follows the length of the run: with the usual 0.997 the statistics of a short
        run would still be those of the initial weights.
        """
        return {
            "momentum": averaging_momentum(max(self.steps, 1), 0.997),
            "epsilon": 1e-4,
            "synchronized": num_replicas() > 1,
        }

    def batches(
        self, examples: Examples, tasks: Sequence[Task], *, size: int, seed: int
    ) -> tf.data.Dataset:
        """The input of the whole run for `fit`: see data.pipeline.training_batches.

        Args:
            examples: images with a stored label for every task.
            tasks: the heads.
            size: pixels a side.
            seed: of order, views and sampling.
        """
        return training_batches(
            examples,
            tasks,
            size=size,
            batch=self.batch,
            seed=seed,
            augmentation=self.augmentation,
            steps=range(self.steps),
        )


class NonFiniteLossError(UserError):
    """A loss became infinite or not a number: most often the learning rate is too high."""


def check_batch(batch: int, *, replicas: int) -> None:
    """Raises UserError where the replicas cannot have the same number of images each."""
    if batch % replicas:
        raise UserError(
            f"batch={batch} cannot be split over {replicas} replicas: "
            f"choose a multiple of {replicas}, or --strategy=one"
        )


def compile_model(model: MultiTaskModel, training: Training) -> None:
    """Gives the model its optimizer.

    Raises:
        UserError: the replicas do not divide the batch.
    """
    check_batch(training.batch, replicas=model.distribute_strategy.num_replicas_in_sync)
    schedule = WarmupCosine(training.learning_rate, training.steps, training.warmup)
    model.compile(optimizer=training.optimizer.build(schedule), jit_compile=False)


def fit(
    model: MultiTaskModel,
    batches: tf.data.Dataset,
    training: Training,
    *,
    title: str,
    folder: pathlib.Path,
    summaries: Summaries,
) -> None:
    """Trains a compiled model from step 0.

    A model that has been fitted before is not traced again: its optimizer is reset and its
    schedule restarted, its weights are taken as they are.

    Args:
        model: the model.
        batches: see `Training.batches`; a dataset that is given again is not built again.
        training: the run's values; optimizer, warm-up and clipping are the compiled ones.
        title: beside the progress bar.
        folder: where progress.json goes.
        summaries: where losses go.

    Raises:
        NonFiniteLossError: says which head and step.
    """
    schedule = model.optimizer._learning_rate
    schedule.restart(training.learning_rate, training.steps)
    model.optimizer.build(model.trainable_variables)
    reset(model.optimizer)
    progress = Progress(title, training.steps, folder)
    log = _Log(title, training, progress, summaries, schedule)
    model.fit(
        batches,
        epochs=1,
        steps_per_epoch=training.steps,
        verbose=0,
        callbacks=[log],
        shuffle=False,
    )
    progress.close()


class _Log(keras.callbacks.Callback):
    """Losses, rate and speed to the summaries; stops on a loss that is not finite."""

    def __init__(
        self,
        title: str,
        training: Training,
        progress: Progress,
        summaries: Summaries,
        schedule: WarmupCosine,
    ):
        super().__init__()
        self._title, self._training, self._progress = title, training, progress
        self._summaries, self._schedule = summaries, schedule
        self._since = time.monotonic()
        self._rows: list[dict[str, float]] = []

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        logs = {key: float(value) for key, value in (logs or {}).items()}
        bad = sorted(key for key, value in logs.items() if not math.isfinite(value))
        if bad:
            raise NonFiniteLossError(self._complaint(bad, batch + 1))
        self._rows.append(logs)
        self._progress.advance(note=f"loss {logs['loss']:.3f}")
        step = batch + 1
        if step % self._training.log_every and step != self._training.steps:
            return
        now = time.monotonic()
        means = {key: _mean([row[key] for row in self._rows]) for key in logs}
        speed = len(self._rows) * self._training.batch / max(now - self._since, 1e-9)
        rate = float(self._schedule(batch))
        self._summaries.numbers(
            step, "train", means | {"learning_rate": rate, "images_per_second": speed}
        )
        self._progress.record()
        self._rows, self._since = [], now

    def _complaint(self, bad: Sequence[str], step: int) -> str:
        heads = [key.removesuffix("_loss") for key in bad if key.endswith("_loss")]
        what = f"the loss of {' and '.join(heads)}" if heads else "the gradient"
        return (
            f"{self._title}: {what} is not finite at step {step} of {self._training.steps}: "
            f"try a lower learning rate than {self._training.learning_rate:g}"
        )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
