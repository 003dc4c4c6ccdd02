"""Stages of a run, made in this process: what tests of several folders share. Not a test."""

from collections.abc import Sequence

from must_keras import stages
from must_keras.report.results import RunResults
from must_keras.runs import plan
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.stages.report import collect


def make(name: str, run: Run, only: Sequence[str] = ()) -> None:
    """Make a stage and the hidden ones that it needs, without preflight, plan, and frozen pools.

    So the sources of the run stay the objects that a test has made.
    """
    by_name = {stage.name: stage for stage in stages.load()}
    needed = {need.stage for artifact in by_name[name].artifacts(run) for need in artifact.needs}
    for stage in by_name.values():
        if not stage.is_shown and stage.name in needed:
            _make(stage, run, ())
    _make(by_name[name], run, only)


def _make(stage: Stage, run: Run, only: Sequence[str]) -> None:
    found = list(stage.artifacts(run))
    found = [artifact for artifact in found if artifact.group in only] or found
    complete = [artifact for artifact in found if artifact.is_complete()]
    for artifact in complete:
        stage.revisit(run, artifact)
    if pending := [artifact for artifact in found if artifact not in complete]:
        stage.make(run, pending)
    stage.conclude(run, stages.load())


def check(run: Run, name: str = "all") -> None:
    """Raise UserError where the plan of a stage has an obstacle."""
    plan.of(run, stages.load(), name).check()


def results(run: Run) -> RunResults:
    """Return what the sections of the report ask for, of what is complete."""
    return RunResults(run=run, report=collect(run, stages.load()))
