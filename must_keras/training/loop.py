"""The training loop: Keras' `fit`, which can be interrupted at any step and is resumed exactly."""

import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from must_keras import interruption
from must_keras.errors import DataError, UserError, listed
from must_keras.files import unshare
from must_keras.log import LOG
from must_keras.modeling.loading import load_model
from must_keras.progress import Progress
from must_keras.runs.artifact import Artifact
from must_keras.training import diagnostics
from must_keras.training.best import BestWeights
from must_keras.training.checkpoints import Checkpoint, Checkpoints
from must_keras.training.config import TrainingConfig
from must_keras.training.fitted import FittedModel
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import Loggers
from must_keras.training.optimizers import reset
from must_keras.training.strategy import (
    broadcast_from_chief,
    is_chief,
    is_multi_worker,
    sum_over_workers,
)

# A checkpoint that takes a second to write is written every 20 seconds at most.
_MIN_SHARE_BETWEEN = 20.0


def load_artifact(artifact: Artifact) -> keras.Model:
    """Load the trained model of a complete artifact.

    Raises:
        UserError: it is missing, damaged, or names a class that is not allowed (see load_model).
    """
    return load_model(artifact.model_path, remedy=f"delete {artifact.folder} to have it made again")


def save_artifact(artifact: Artifact, model: keras.Model) -> None:
    """Write the trained model of an artifact; a file that another run shares keeps its bytes."""
    unshare(artifact.model_path)
    model.save(artifact.model_path)


def fit(
    artifact: Artifact,
    model: FittedModel,
    pipeline: InputPipeline,
    training: TrainingConfig,
    *,
    title: str,
    origin: str,
    best: BestWeights | None = None,
) -> Loggers:
    """Train an artifact's compiled model, from its newest checkpoint where there is one.

    A model that was fitted before is not traced again: its optimizer is reset and its schedule
    restarted, its weights are the initial ones.

    Args:
        artifact: the artifact; its folder gets checkpoints, metrics and progress.json.
        model: the model, with its initial weights.
        pipeline: the input.
        training: its values; optimizer, warm-up and clipping are the compiled ones.
        title: beside the progress bar; begins log lines.
        origin: of the initial weights, for the log.
        best: what evaluates the model meanwhile and keeps its best weights; None: the result is
            the last weights.

    Returns:
        The loggers of the artifact, for its evaluation; without any in processes that are not the
        chief.

    Raises:
        NonFiniteLossError: names head, step and images, and the folder that contains them.
        Interrupted: SIGTERM or Ctrl-C; the step is saved.
        UserError: a process cannot read the chief's checkpoint.
    """
    folder = artifact.resume() if is_chief() else artifact.folder
    loggers = Loggers(folder if is_chief() else None, training.loggers)
    model.optimizer._learning_rate.restart(training.learning_rate, training.steps)
    model.optimizer.build(model.trainable_variables)
    reset(model.optimizer)
    metrics = {id(v) for metric in model.metrics for v in metric.variables}
    variables = [v for v in model.variables if id(v) not in metrics]
    checkpoints = Checkpoints(folder, [*variables, *model.optimizer.variables])
    saved = _chiefs_newest(checkpoints)
    if saved is not None:
        checkpoints.restore(saved)
        origin = f"its own checkpoint at step {saved.step} of {training.steps}"
    first, state = (saved.step, saved.state) if saved else (0, {})
    if best is not None and saved is not None:
        best.restore(state.get("best", {}), saved.more)
    loggers.rewind(state.get("files", {}))
    if is_chief():
        LOG.info(f"{title}: starts from {origin}")
        if not first:
            loggers.inputs(title, artifact.inputs or {})
    if not training.steps:
        return loggers
    if first == training.steps or (best is not None and best.has_stopped):
        model.optimizer.finalize_variable_values(model.trainable_variables)
        if best is not None:
            best.apply(variables)
        return loggers
    progress = Progress(title, training.steps, folder, done=first) if is_chief() else None
    rows = state.get("rows", [])
    steps = _Steps(
        first, model, pipeline, training, checkpoints, loggers, progress, rows, best, variables
    )
    try:
        with interruption.postponed():
            batches, left = pipeline.batches(first), training.steps - first
            model.fit(batches, steps_per_epoch=left, verbose=0, callbacks=[steps], shuffle=False)
            # A signal during Keras' last moments is not postponed by what follows.
            if _is_interrupted():
                raise interruption.stopped_at(training.steps, training.steps)
            if best is not None:
                best.apply(variables)
    finally:
        model.release_input()
        checkpoints.wait()
        if progress is not None:
            progress.close()
    return loggers


def _chiefs_newest(checkpoints: Checkpoints) -> Checkpoint | None:
    """Return the chief's newest checkpoint, in every process."""
    newest = checkpoints.newest() if is_chief() else None
    step = int(broadcast_from_chief(lambda: newest.step if newest else -1))
    if step < 0 or is_chief():
        return newest
    try:
        return checkpoints.read(step)
    except DataError as error:
        raise UserError(
            f"the chief has a checkpoint of step {step} that cannot be read here: all machines "
            f"need the same `workdir` ({error})"
        ) from None


def _is_interrupted() -> bool:
    """Return, in all processes, whether one of them has received a signal to stop."""
    return bool(sum_over_workers([float(interruption.asked())])[0])


@dataclasses.dataclass(eq=False)
class _Steps(keras.callbacks.Callback):
    """The work after each step: logging, diagnostics, checkpoints, interruption.

    Attributes:
        first: the step from which the training starts.
        trained: the model.
        pipeline: the input.
        training: its values.
        checkpoints: of the artifact.
        loggers: of the artifact.
        progress: of the chief; None: another process, which takes part in what all compute.
        rows: the numbers of the steps since the last log line.
        best: of the training, or None.
        variables: of the model, which `best` keeps.
    """

    first: int
    trained: FittedModel
    pipeline: InputPipeline
    training: TrainingConfig
    checkpoints: Checkpoints
    loggers: Loggers
    progress: Progress | None
    rows: list[dict[str, float]]
    best: BestWeights | None
    variables: Sequence[keras.Variable]

    def __post_init__(self) -> None:
        super().__init__()
        self._since = self._saved = time.monotonic()
        self._steps_since = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """See keras.callbacks.Callback."""
        step = self.first + batch + 1
        numbers = {key: float(value) for key, value in (logs or {}).items()}
        bad = diagnostics.bad_names(numbers)
        if bad:
            raise self._keep(step, bad)
        is_last = self._evaluate(step)
        self._log(step, numbers, is_last=is_last)
        self._diagnose(step)
        stop = _is_interrupted()
        if self.progress is not None and (stop or is_last or self._is_due()):
            state = {"rows": self.rows, "files": self.loggers.sizes()}
            if self.best is None:
                self.checkpoints.save(step, state)
            else:
                state["best"] = self.best.state()
                self.checkpoints.save(step, state, self.best.arrays)
            self._saved = time.monotonic()
        if stop:
            if self.progress is not None:
                self.progress.record()
            raise interruption.stopped_at(step, self.training.steps)
        # Keras stops by itself after the last of all steps.
        self.trained.stop_training = is_last and step < self.training.steps

    def _evaluate(self, step: int) -> bool:
        """Evaluate the model where that is due; return whether the training ends with this step."""
        best, num_steps = self.best, self.training.steps
        if best is not None and best.is_due(step, num_steps):
            start = time.monotonic()
            best.evaluate(step, self.trained, self.variables, self.loggers)
            self._since += time.monotonic() - start
            if best.has_stopped:
                return True
        return step == num_steps

    def _is_due(self) -> bool:
        seconds = _MIN_SHARE_BETWEEN * self.checkpoints.last_seconds
        return time.monotonic() - self._saved >= max(self.training.save_seconds, seconds)

    def _log(self, step: int, numbers: dict[str, float], *, is_last: bool) -> None:
        if self.progress is None:
            return
        self.rows.append(numbers)
        self._steps_since += 1
        now = time.monotonic()
        speed = self._steps_since * self.training.batch / max(now - self._since, 1e-9)
        self.progress.advance(note=f"{_losses(numbers)}, {speed:.3g} images/s")
        if step % self.training.log_every and not is_last:
            return
        means = {key: sum(row[key] for row in self.rows) / len(self.rows) for key in numbers}
        rate = float(self.trained.optimizer._learning_rate(step - 1))
        numbers = means | {"learning_rate": rate, "images_per_second": speed}
        self.loggers.scalars(step, "train", numbers)
        self.progress.record()
        self.rows, self._since, self._steps_since = [], now, 0

    def _diagnose(self, step: int) -> None:
        """Log diagnostics where they are due; their time does not count as that of steps."""
        every, model = self.training.diagnose_every, self.trained
        is_due = every and step % every == 0 and len(model.heads) > 1
        if is_due and diagnostics.shared_kernels(model):
            start = time.monotonic()
            self.loggers.scalars(step, "train", diagnostics.measure(model, model.last_batch))
            self._since += time.monotonic() - start

    def _keep(self, step: int, bad: Sequence[str]) -> diagnostics.NonFiniteLossError:
        """Keep a step that is not finite, and return the error that describes it."""
        model, folder = self.trained, self.checkpoints.folder
        ids, kept = self.pipeline.ids_of(step - 1), ""
        if self.progress is not None:
            batch = self.pipeline.batch_of(step - 1)
            evidence = diagnostics.keep_step(folder, model, batch, step=step, ids=ids, bad=bad)
            kept = f"; its images and weights are in {evidence}"
            if model.tasks:
                if bad == [diagnostics.GRADIENT] and not is_multi_worker():
                    bad = diagnostics.heads_of_gradient(evidence) or bad
                kept = f"; must-keras replay {evidence} computes the step again"
        return diagnostics.NonFiniteLossError(
            f"{folder}: {diagnostics.describe(bad)} is not finite at step {step} of "
            f"{self.training.steps} (images {listed(ids, limit=4)}): try a lower learning rate "
            f"than {self.training.learning_rate:g}{kept}"
        )


def _losses(numbers: Mapping[str, float]) -> str:
    """Return the losses of a step as text: the total, then each head's where there are several."""
    heads = [f"{k.removesuffix('_loss')} {v:.3g}" for k, v in numbers.items() if k[-5:] == "_loss"]
    return f"loss {numbers['loss']:.3f}" + (f" ({', '.join(heads)})" if len(heads) > 1 else "")
