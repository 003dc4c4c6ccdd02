"""`--stage=status`: what `--stage=all` would do with every artifact of a run."""

from __future__ import annotations

from collections.abc import Sequence

from must_keras.data.sources import ListedFiles
from must_keras.errors import DataError
from must_keras.files import read_json, warn_once
from must_keras.recipe import Recipe
from must_keras.stages import parts, pools
from must_keras.stages.parts import Action, Planned
from must_keras.stages.sweep import SWEEP
from must_keras.workdir import FINISHED, Part, Workdir

_DONE = (Action.COMPLETE, Action.OPEN)


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Print a line for every pool and artifact, what comes next, and what stands in its way.

    Args:
        recipe: the run's values, frozen (see stages.pools).
        workdir: the run's folder.
    """
    for name, state in _pools(recipe, workdir).items():
        _print("pool", name, state)
    planned = parts.plan(recipe, workdir)
    for item in planned:
        _print(item.step.stage, item.step.name, _state(item))
    state, is_current = _report_state(workdir, planned)
    _print("report", "", state)
    obstacle = parts.obstacle(recipe, workdir, planned)
    stages = [item.step.stage for item in planned if item.action not in _DONE]
    if not is_current:
        stages.append("report")
    if stages:
        print(f"next: --stage={stages[0]}")
    elif obstacle is None:
        print("all stages are finished")
    if obstacle is not None:
        print(f"but --stage=all stops: {obstacle}")


def _print(stage: str, name: str, state: str) -> None:
    print(f"{stage:<9} {name:<40} {state}")


def _pools(recipe: Recipe, workdir: Workdir) -> dict[str, str]:
    """{pool: how its files differ from its list} of the pools that are listed."""
    found: dict[str, str] = {}
    for pool in recipe.pools:
        if isinstance(pool.source, ListedFiles):
            found[pool.source.of] = "as listed"
    for change in pools.changes(recipe, workdir):
        if change.stops:
            then = "--stage=all stops, see below"
        elif change.network is not None:
            then = f"the {change.network.name} is trained without these"
        else:
            then = "new ones are labeled next"
        found[change.name] = f"{', '.join(change.parts())}: {then}"
    return found


def _state(item: Planned) -> str:
    if item.action is Action.BLOCK:
        return f"{item.action.value}: it {item.why}"
    if item.action is Action.REUSE:
        return f"reused from {item.other}"
    if item.action is Action.RESUME:
        return _progress(item.step.part)
    note = f", {item.step.note}" if item.action in _DONE and item.step.note else ""
    return item.action.value + note


def _progress(part: Part) -> str:
    found = [part.folder / "progress.json", *part.folder.glob(f"{SWEEP}/*/progress.json")]
    found = sorted((p for p in found if p.is_file()), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        return Action.RESUME.value
    try:
        remedy = "the next log step of the training writes it anew"
        state = read_json(found[-1], form={"step": int, "of": int}, remedy=remedy)
    except DataError as error:
        warn_once(str(error))
        return Action.RESUME.value
    rate = "" if found[-1].parent == part.folder else f" at learning rate {found[-1].parent.name}"
    return f"interrupted at {state['step']} of {state['of']}{rate}, resumed"


def _report_state(workdir: Workdir, planned: Sequence[Planned]) -> tuple[str, bool]:
    """Return the state of the report, and whether it is of the artifacts as they are."""
    files = [workdir.root / name for name in ("report.json", "report.html")]
    if not all(path.is_file() for path in files):
        return "not written", False
    made = [item.step.part.folder / FINISHED for item in planned]
    newest = max((path.stat().st_mtime_ns for path in made if path.is_file()), default=0)
    if min(path.stat().st_mtime_ns for path in files) < newest:
        return "older than an artifact, written again", False
    if any(item.action is Action.BLOCK for item in planned):
        return "of artifacts that must be made again", False
    if any(item.action not in _DONE for item in planned):
        return "written again after the artifacts above", False
    return "current (written again)", True
