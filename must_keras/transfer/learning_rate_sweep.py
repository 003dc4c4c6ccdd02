"""The learning-rate sweep of a transfer run, decided on validation images."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

from must_keras.errors import UserError, warn
from must_keras.json_files import read_json, write_json
from must_keras.runs.artifact import Artifact
from must_keras.runs.marks import remove_checkpoints
from must_keras.runs.results import Tried
from must_keras.tasks.evaluation import find_metric
from must_keras.training.diagnostics import NonFiniteLossError
from must_keras.training.loggers import Loggers
from must_keras.training.strategy import broadcast_from_chief, is_chief

# In an artifact's folder, and in that of each of its rates.
SWEEP = "sweep"
_VALIDATED = "validated.json"


def choose(
    artifact: Artifact,
    rates: Sequence[float],
    *,
    train: Callable[[Artifact, float], Loggers],
    validate: Callable[[], Mapping[str, float | None]],
) -> list[Tried]:
    """Train with every rate; afterwards the model is that of the best one.

    Each rate has a folder below the artifact's, and resumes where an interrupted process stopped. A
    rate with which the loss is not finite is never the best. Of equal ones the first is chosen.

    Args:
        artifact: what the rate is chosen for.
        rates: at least two.
        train: called with (artifact, rate) trains, or resumes, a network.
        validate: returns metrics of the model as it is on validation images; called by the chief.

    Returns:
        What came out of each rate.

    Raises:
        NonFiniteLossError: the loss stays finite with none of the rates.
    """
    folder = artifact.resume() if is_chief() else artifact.folder
    of_rate = {rate: _of_rate(artifact, rate) for rate in rates}
    for rate, one in of_rate.items():
        path = one.folder / _VALIDATED
        if broadcast_from_chief(path.is_file):
            continue
        try:
            train(one, rate).close()
            metrics, error = (validate() if is_chief() else {}), None
        except NonFiniteLossError as failure:
            metrics, error = {}, str(failure)
            warn(f"learning rate {rate:g} is no choice: {error}")
        if is_chief():
            metric, value = next(iter(metrics.items()), (None, None))
            row = Tried(
                learning_rate=rate, metric=metric, value=value, metrics=dict(metrics), error=error
            )
            write_json(path, row.describe())
    best = int(broadcast_from_chief(lambda: _best(of_rate.values())))
    if best < 0:
        raise NonFiniteLossError(f"{folder}: with none of {rates} the loss stays finite")
    rate = rates[best]
    train(of_rate[rate], rate).close()
    if not is_chief():
        return []
    rows = [_read_tried(one.folder) for one in of_rate.values()]
    return [dataclasses.replace(row, chosen=row.learning_rate == rate) for row in rows]


def _of_rate(artifact: Artifact, rate: float) -> Artifact:
    return Artifact(
        folder=artifact.folder / SWEEP / repr(rate),
        find_inputs=lambda: {"sweep_of": artifact.inputs, "learning_rate": rate},
    )


def tidy(artifact: Artifact) -> None:
    """Delete what only an unfinished sweep needs."""
    for folder in (artifact.folder / SWEEP).glob("*"):
        remove_checkpoints(folder)


def chosen_rate(artifact: Artifact) -> float:
    """Return what a complete sweep has chosen, in every process.

    Raises:
        UserError: it is not complete.
    """
    rate = broadcast_from_chief(lambda: getattr(artifact.result(), "learning_rate", 0.0))
    if not rate:
        raise UserError.at(artifact.folder, "is not complete: it chooses the learning rate")
    return rate


def _read_tried(folder: pathlib.Path) -> Tried:
    remedy = f"delete {folder} to train it again"
    return read_json(folder / _VALIDATED, Tried, remedy=remedy)


def _best(trained: Iterable[Artifact]) -> int:
    """Return the place of the best row; -1 where every training failed."""
    rows = [_read_tried(one.folder) for one in trained]
    best = max(range(len(rows)), key=lambda place: _score(rows[place]))
    return -1 if rows[best].error else best


def _score(row: Tried) -> tuple[float, float]:
    """Return what is larger for a better row: failed, without a value, with a better one."""
    if row.value is None:
        return (-2.0 if row.error else -1.0), 0.0
    return 0.0, find_metric(row.metric).signed(row.value)
