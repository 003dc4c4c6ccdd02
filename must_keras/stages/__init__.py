"""What the program does: `--stage` names one of these files, and "all" runs them in this order."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import time

from must_keras.data.pipeline import errors_of_sources
from must_keras.errors import UserError
from must_keras.experiment import nearest
from must_keras.files import write_json
from must_keras.recipe import Recipe, student_weights
from must_keras.stages import (
    check,
    export,
    first_look,
    label,
    parts,
    pools,
    report,
    status,
    student,
    teacher,
    transfer,
)
from must_keras.training.strategy import make_strategy
from must_keras.training.trainer import check_batch
from must_keras.versions import git_commit, versions
from must_keras.workdir import RUN, Workdir, describe, other_runs

_ORDER = {
    "teacher": teacher.run,
    "label": label.run,
    "student": student.run,
    "transfer": transfer.run,
    "export": export.run,
    "report": report.run,
}
_LOOKS = {"status": status.run, "check": check.run}


def run(
    stage: str,
    *,
    recipe: Recipe,
    workdir: pathlib.Path,
    only: tuple[str, ...],
    strategy: str,
    reuse: pathlib.Path | None = None,
) -> None:
    """Runs one stage, or all of them in order.

    Args:
        stage: a name in this package, or "all".
        recipe: the values.
        workdir: the run's folder.
        only: names of teachers or transfers; empty: all.
        strategy: see training.strategy.make_strategy.
        reuse: the folder of another run whose finished parts may be taken.

    Raises:
        UserError: the stage cannot run as asked.
    """
    if stage in _LOOKS:
        _LOOKS[stage](pools.frozen(recipe, Workdir(workdir), new=False), Workdir(workdir))
        return
    _check_names(recipe, stage, only)
    devices = make_strategy(strategy)
    for part in (*recipe.trained_teachers, recipe.student, *recipe.transfers):
        check_batch(part.training.batch, replicas=devices.num_replicas_in_sync)
    if workdir.exists() and not workdir.is_dir():
        raise UserError(f"--workdir={workdir} is a file; a folder is needed")
    run_folder = Workdir(workdir, other_runs(workdir, reuse))
    if stage in ("all", "teacher"):
        with errors_of_sources():
            first_look.run(recipe, run_folder)
    try:
        workdir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--workdir={workdir} cannot be made: {error.strerror}") from None
    recipe = pools.frozen(recipe, run_folder, new=True)
    parts.check(recipe, run_folder)
    _record(recipe, workdir, strategy)
    stages = _ORDER if stage == "all" else {stage: _ORDER[stage]}
    with errors_of_sources(), devices.scope():
        for name, function in stages.items():
            start = time.monotonic()
            function(recipe, run_folder, only)
            _add_seconds(workdir, name, time.monotonic() - start)


def _check_names(recipe: Recipe, stage: str, only: tuple[str, ...]) -> None:
    teachers, transfers = ([p.name for p in parts] for parts in (recipe.teachers, recipe.transfers))
    allowed = {"teacher": teachers, "label": teachers, "transfer": transfers}.get(
        stage, teachers + transfers
    )
    for name in only:
        if name not in allowed:
            raise UserError(f"--only={name}: {nearest(name, allowed)}")


def _record(recipe: Recipe, workdir: pathlib.Path, strategy: str) -> None:
    weights = {k: dataclasses.asdict(w) for k, w in student_weights(recipe).items()}
    value = {
        "recipe": describe(recipe),
        "seed": recipe.seed,
        "strategy": strategy,
        "loss_weights": weights,
        "versions": versions(),
        "git_commit": git_commit(),
    }
    write_json(workdir / RUN, value)


def _add_seconds(workdir: pathlib.Path, stage: str, seconds: float) -> None:
    """Adds to {stage: seconds}; a stage that continues adds to what it took before."""
    path = workdir / "seconds.json"
    times = json.loads(path.read_text()) if path.is_file() else {}
    times[stage] = round(times.get(stage, 0.0) + seconds, 1)
    write_json(path, times)
