"""`--stage=status`: what `--stage=all` would do with every artifact of a run."""

from __future__ import annotations

from must_keras.errors import DataError
from must_keras.files import read_json, warn_once
from must_keras.config.recipe import Recipe
from must_keras.runs import graph, pools
from must_keras.runs.graph import Action, Plan, Planned
from must_keras.transfer.learning_rate_sweep import SWEEP
from must_keras.runs.workdir import FINISHED, Artifact, Workdir

_KEEP = Action.KEEP


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Print a line for every pool and artifact, what comes next, and what stands in its way.

    Args:
        recipe: the run's values, frozen (see runs.pools).
        workdir: the run's folder.
    """
    for name, state in _pools(recipe, workdir).items():
        _print("pool", name, state)
    plan = graph.plan(recipe, workdir)
    for item in plan.items:
        _print(item.step.stage, item.step.name, _state(item))
    report = _report(workdir, plan)
    _print("report", "", report)
    coming = [(item.step.stage, item.action) for item in plan.items if item.action is not _KEEP]
    if report != _KEEP.value:
        coming.append(("report", Action.MAKE))
    if not coming and plan.obstacle is None:
        print("all stages are finished")
    if coming and coming[0][1] is not Action.BLOCK:
        print(f"next: --stage={coming[0][0]}")
    if plan.obstacle is not None:
        print(f"--stage=all stops: {plan.obstacle}")


def _print(stage: str, name: str, state: str) -> None:
    print(f"{stage:<9} {name:<40} {state}")


def _pools(recipe: Recipe, workdir: Workdir) -> dict[str, str]:
    """{pool: how its files differ from its list} of the pools whose files do."""
    found = {}
    for change in pools.changes(recipe, workdir):
        told = change.sentence().removeprefix(f"pool {change.name} ")
        names = " and ".join(network.name for network in change.networks)
        if change.stops:
            told += ": --stage=all stops, see below"
        elif names:
            told += f": {names} trained without these changes"
        elif change.gone:
            told += ": they have no label any more"
        found[change.name] = told
    return found


def _state(item: Planned) -> str:
    if item.action is Action.BLOCK:
        return f"{item.action.value}: it {item.why}"
    if item.action is Action.REUSE:
        return f"{item.action.value} from {item.other}"
    if item.action is Action.RESUME:
        return _progress(item.step.part)
    if item.action is _KEEP and item.step.inputs is None:
        return f"{item.action.value}; the label stage comes before its check"
    return item.action.value


def _progress(part: Artifact) -> str:
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
    return f"begun, {state['step']} of {state['of']}{rate}, will be resumed"


def _report(workdir: Workdir, plan: Plan) -> str:
    """Return the state of report.json and report.html."""
    files = [workdir.root / name for name in ("report.json", "report.html")]
    if not all(path.is_file() for path in files):
        return Action.MAKE.value
    made = [item.step.part.folder / FINISHED for item in plan.items]
    newest = max((path.stat().st_mtime_ns for path in made if path.is_file()), default=0)
    if min(path.stat().st_mtime_ns for path in files) < newest:
        return "older than a part, is written again"
    if any(item.action is Action.BLOCK for item in plan.items):
        return "of parts that must be made again"
    if any(item.action is not _KEEP for item in plan.items):
        return "is written again after the parts above"
    return _KEEP.value
