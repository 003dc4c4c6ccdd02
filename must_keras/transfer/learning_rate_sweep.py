"""The learning rate of a transfer, chosen on validation images."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from must_keras.errors import UserError
from must_keras.files import read_json, write_json
from must_keras.inference.scoring import sign
from must_keras.runs.marks import remove_checkpoints
from must_keras.runs.workdir import Artifact
from must_keras.training.nonfinite import NonFiniteLossError
from must_keras.training.strategy import chief_says, is_chief
from must_keras.training.summaries import Loggers

# In a part's folder, and in that of each of its runs.
SWEEP = "sweep"
_VALIDATED = "validated.json"


def choose(
    part: Artifact,
    made_from: Any,
    rates: Sequence[float],
    *,
    train: Callable[[Artifact, Any, float], Loggers],
    validate: Callable[[], Mapping[str, float | None]],
) -> list[dict[str, Any]]:
    """Trains with every rate; afterwards the model is that of the best one.

    Each run has a folder below the part's, and is continued where an interrupted process stopped.
    A rate with which the loss is not finite is never the best. Of equal ones the first is taken.

    Args:
        part: what the rate is chosen for.
        made_from: what it depends on.
        rates: at least two.
        train: (part, what it depends on, rate) trains, or goes on to where that was trained.
        validate: metrics of the model as it is, on validation images; asked in the chief alone.

    Returns:
        For each rate {"learning_rate", "metric", "value", "metrics", "error", "chosen"}.

    Raises:
        NonFiniteLossError: with none of the rates the loss stays finite.
    """
    folder = part.resume(made_from) if is_chief() else part.folder
    runs = {rate: Artifact(folder / SWEEP / repr(rate)) for rate in rates}
    for rate, run in runs.items():
        path = run.folder / _VALIDATED
        if chief_says(path.is_file):
            continue
        try:
            train(run, _inputs(made_from, rate), rate).close()
            metrics, error = (validate() if is_chief() else {}), None
        except NonFiniteLossError as failure:
            metrics, error = {}, str(failure)
            print(f"warning: learning rate {rate:g} is no choice: {error}", file=sys.stderr)
        if is_chief():
            write_json(path, _row(rate, metrics, error))
    best = int(chief_says(lambda: _best(_read(run.folder) for run in runs.values())))
    if best < 0:
        raise NonFiniteLossError(f"{folder}: with none of {rates} the loss stays finite")
    rate = rates[best]
    train(runs[rate], _inputs(made_from, rate), rate).close()
    if not is_chief():
        return []
    return [_read(run.folder) | {"chosen": other == rate} for other, run in runs.items()]


def tidy(part: Artifact) -> None:
    """Takes away what only an unfinished sweep needs."""
    for folder in (part.folder / SWEEP).glob("*"):
        remove_checkpoints(folder)


def chosen_rate(part: Artifact) -> float:
    """What a finished sweep has chosen, in every process.

    Raises:
        UserError: it is not finished.
    """
    rate = chief_says(lambda: (part.result() or {}).get("learning_rate", 0.0))
    if not rate:
        raise UserError(f"{part.folder} is not finished: it chooses the learning rate")
    return rate


def _inputs(made_from: Any, rate: float) -> dict[str, Any]:
    return {"sweep_of": made_from, "learning_rate": rate}


def _row(rate: float, metrics: Mapping[str, float | None], error: str | None) -> dict[str, Any]:
    metric, value = next(iter(metrics.items()), (None, None))
    return {
        "learning_rate": rate,
        "metric": metric,
        "value": value,
        "metrics": dict(metrics),
        "error": error,
    }


def _read(folder: pathlib.Path) -> dict[str, Any]:
    form = {
        "learning_rate": float,
        "metric": (str, type(None)),
        "value": (float, type(None)),
        "error": (str, type(None)),
    }
    remedy = f"delete {folder} to train it again"
    return read_json(folder / _VALIDATED, form=form, remedy=remedy)


def _best(rows: Any) -> int:
    """The place of the best row; -1 where every run failed."""
    scores = [
        (-2.0 if row["error"] else -1.0, 0.0)
        if row["value"] is None
        else (0.0, sign(row["metric"]) * row["value"])
        for row in rows
    ]
    best = max(range(len(scores)), key=lambda i: scores[i])
    return best if scores[best][0] > -2.0 else -1
