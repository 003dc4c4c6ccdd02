"""How a model is fitted: Keras' `fit`, which can be stopped at any step and goes on."""

from __future__ import annotations

import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from must_keras import interruption
from must_keras.errors import DataError, UserError
from must_keras.progress import Progress
from must_keras.training import nonfinite
from must_keras.training.checkpoints import Checkpoints, Saved
from must_keras.training.config import TrainingConfig
from must_keras.training.diagnostics import Diagnostics, shared_kernels
from must_keras.training.fitted import FittedModel
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.model import MultiTaskModel
from must_keras.training.optimizers import reset
from must_keras.training.strategy import chief_says, is_chief, is_multi_worker, sum_over_workers
from must_keras.training.summaries import Loggers

# A checkpoint that takes a second to write is written every 20 seconds at most.
_LEAST_SHARE = 20.0


def fit(
    model: FittedModel,
    feed: InputPipeline,
    training: TrainingConfig,
    *,
    title: str,
    origin: str,
    folder: pathlib.Path,
    summaries: Loggers,
) -> None:
    """Trains a compiled model, from its newest checkpoint where there is one.

    A model that has been fitted before is not traced again: its optimizer is reset and its
    schedule restarted, its weights are taken as they are.

    Args:
        model: the model, with the weights that it starts from.
        feed: the input.
        training: the run's values; optimizer, warm-up and clipping are the compiled ones.
        title: beside the progress bar.
        origin: what the weights are, for the log.
        folder: of the part; checkpoints and progress.json go there.
        summaries: where losses go.

    Raises:
        NonFiniteLossError: says which head, step and images, and where they are kept.
        ToBeContinued: SIGTERM came; the step is saved.
        UserError: a process does not see the others' checkpoints.
    """
    model.optimizer._learning_rate.restart(training.learning_rate, training.steps)
    model.optimizer.build(model.trainable_variables)
    reset(model.optimizer)
    metrics = {id(v) for metric in model.metrics for v in metric.variables}
    variables = [v for v in model.variables if id(v) not in metrics]
    checkpoints = Checkpoints(folder, [*variables, *model.optimizer.variables])
    saved = _agreed(checkpoints)
    if saved is not None:
        checkpoints.restore(saved)
        origin = f"its own checkpoint at step {saved.step} of {training.steps}"
    first, state = (saved.step, saved.state) if saved else (0, {})
    summaries.rewind(state.get("files", {}))
    if is_chief():
        print(f"{title}: starts from {origin}")
    if not training.steps:
        return
    if first == training.steps:
        model.optimizer.finalize_variable_values(model.trainable_variables)
        return
    progress = Progress(title, training.steps, folder, done=first) if is_chief() else None
    run = _Run(first, model, feed, training, checkpoints, summaries, progress)
    run.rows = state.get("rows", [])
    try:
        with interruption.postponed():
            model.fit(
                feed.batches(first),
                epochs=1,
                steps_per_epoch=training.steps - first,
                verbose=0,
                callbacks=[run],
                shuffle=False,
            )
            # Keras takes a moment to end; what comes now waits for nothing.
            if _is_stopped():
                raise _stopped(training.steps, training.steps)
    finally:
        model.release_input()
        checkpoints.wait()
        if progress is not None:
            progress.close()


def _agreed(checkpoints: Checkpoints) -> Saved | None:
    """The chief's newest checkpoint, in every process."""
    newest = checkpoints.newest() if is_chief() else None
    step = int(chief_says(lambda: newest.step if newest else -1))
    if step < 0 or is_chief():
        return newest
    try:
        return checkpoints.read(step)
    except DataError as error:
        raise UserError(
            f"the checkpoint of step {step} is there for the chief and not here: all machines "
            f"must see the same --workdir ({error})"
        ) from None


def _is_stopped() -> bool:
    """In all processes, whether SIGTERM has come to one of them."""
    return bool(sum_over_workers([float(interruption.asked())])[0])


def _stopped(step: int, of: int) -> interruption.ToBeContinued:
    return interruption.ToBeContinued(f"stopped by SIGTERM at step {step} of {of}, which is saved")


class _Run(keras.callbacks.Callback):
    """What happens between two steps: numbers are written, the state is saved, the run stops."""

    def __init__(
        self,
        first: int,
        model: FittedModel,
        feed: InputPipeline,
        training: TrainingConfig,
        checkpoints: Checkpoints,
        summaries: Loggers,
        progress: Progress | None,
    ):
        super().__init__()
        # Where there is no progress, another process keeps the books.
        self._first, self._trained, self._feed, self._training = first, model, feed, training
        self._checkpoints, self._summaries, self._progress = checkpoints, summaries, progress
        self._since = self._saved = time.monotonic()
        self._steps_since = 0
        self._diagnostics: Diagnostics | None = None
        self.rows: list[dict[str, float]] = []
        """The numbers of the steps since the last log line."""

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """See keras.callbacks.Callback."""
        step = self._first + batch + 1
        numbers = {key: float(value) for key, value in (logs or {}).items()}
        bad = nonfinite.bad_names(numbers)
        if bad:
            raise self._keep(step, bad)
        self._log(step, numbers)
        self._diagnose(step)
        stop = _is_stopped()
        if self._progress is not None and (stop or step == self._training.steps or self._is_due()):
            self._save(step)
        if stop:
            raise _stopped(step, self._training.steps)

    def _is_due(self) -> bool:
        least = max(self._training.save_seconds, _LEAST_SHARE * self._checkpoints.last_seconds)
        return time.monotonic() - self._saved >= least

    def _save(self, step: int) -> None:
        state = {"rows": self.rows, "files": self._summaries.sizes()}
        self._checkpoints.save(step, state)
        self._saved = time.monotonic()

    def _log(self, step: int, numbers: dict[str, float]) -> None:
        if self._progress is None:
            return
        self.rows.append(numbers)
        self._steps_since += 1
        now = time.monotonic()
        speed = self._steps_since * self._training.batch / max(now - self._since, 1e-9)
        self._progress.advance(note=f"{_tell(numbers)}, {speed:.3g} images/s")
        if step % self._training.log_every and step != self._training.steps:
            return
        means = {key: _mean([row[key] for row in self.rows]) for key in numbers}
        rate = float(self._trained.optimizer._learning_rate(step - 1))
        numbers = means | {"learning_rate": rate, "images_per_second": speed}
        self._summaries.numbers(step, "train", numbers)
        self._progress.record()
        self.rows, self._since, self._steps_since = [], now, 0

    def _diagnose(self, step: int) -> None:
        """Every process takes part; the time is not that of the steps."""
        every, model = self._training.diagnose_every, self._trained
        if not isinstance(model, MultiTaskModel) or not every or step % every:
            return
        if len(model.tasks) < 2 or not shared_kernels(model):
            return
        start = time.monotonic()
        self._diagnostics = self._diagnostics or Diagnostics(model)
        self._summaries.numbers(step, "train", self._diagnostics.of_batch(model.last_batch))
        self._since += time.monotonic() - start

    def _keep(self, step: int, bad: Sequence[str]) -> nonfinite.NonFiniteLossError:
        training, ids = self._training, self._feed.ids_of(step - 1)
        kept = ""
        if self._progress is not None:
            folder = nonfinite.keep(
                self._checkpoints.folder,
                self._trained,
                self._feed.batch_of(step - 1),
                step=step,
                ids=ids,
                bad=bad,
            )
            kept = f"; its images and weights are in {folder}"
            if isinstance(self._trained, MultiTaskModel):
                if bad == [nonfinite.GRADIENT] and not is_multi_worker():
                    bad = nonfinite.heads_of_gradient(folder) or bad
                kept = f"; python -m must_keras.replay {folder} computes the step again"
        return nonfinite.NonFiniteLossError(
            f"{self._checkpoints.folder}: {nonfinite.describe(bad)} is not finite at step {step} "
            f"of {training.steps} (images {nonfinite.shorten(ids)}): try a lower learning rate "
            f"than {training.learning_rate:g}{kept}"
        )


def _tell(numbers: Mapping[str, float]) -> str:
    """The losses of a step: the total, then each head's where there are several."""
    heads = [f"{k.removesuffix('_loss')} {v:.3g}" for k, v in numbers.items() if k[-5:] == "_loss"]
    return f"loss {numbers['loss']:.3f}" + (f" ({', '.join(heads)})" if len(heads) > 1 else "")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
