"""The status of a run: what `stage="all"` would do with every artifact of a run."""

from collections.abc import Sequence

from must_keras.errors import argument
from must_keras.log import LOG
from must_keras.runs import plan, pools
from must_keras.runs.marks import FINISHED
from must_keras.runs.plan import Action, Plan, Planned
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage

_KEEP = Action.KEEP


def status(run: Run, stages: Sequence[Stage], *, command: str | None = None) -> None:
    """Print a line for every pool and artifact, what comes next, and what stands in its way.

    Args:
        run: with frozen pools (see runs.pools).
        stages: all of them, in order.
        command: a command line that makes what is left; None: there is none to state.
    """
    _print_pools(run)
    found = plan.of(run, stages)
    for item in found.items:
        _print(item.artifact.stage, item.artifact.name, _state(item))
    report = _report(run, found)
    _print("report", "", report)
    coming = [item for item in found.items if item.action is not _KEEP]
    # A hidden stage is made for the next one that is shown.
    shown = {
        stage.name: next(later.name for later in stages[index:] if later.is_shown)
        for index, stage in enumerate(stages)
    }
    following = [shown[item.artifact.stage] for item in coming]
    if report != _KEEP.value:
        following.append("report")
    if not following and found.obstacle is None:
        LOG.info("all stages are complete")
    if following and not (coming and coming[0].action is Action.BLOCK):
        LOG.info(f"next: {argument('stage', following[0])}")
        if command is not None:
            LOG.info(f"all that is left: {command}")
    if found.obstacle is not None:
        LOG.info(f'stage="all" stops: {found.obstacle}')


def _print(stage: str, name: str, state: str) -> None:
    LOG.info(f"{stage:<9} {name:<40} {state}")


def _print_pools(run: Run) -> None:
    """Print how the files of pools differ from their lists."""
    for change in pools.changes(run):
        sentence = change.sentence().removeprefix(f"pool {change.name} ")
        names = " and ".join(network.name for network in change.networks)
        if change.stops:
            sentence += ': stage="all" stops, see below'
        elif names:
            sentence += f": {names} trained without these changes"
        elif change.gone:
            sentence += ": they have no label any more"
        _print("pool", change.name, sentence)


def _state(item: Planned) -> str:
    if item.action is Action.BLOCK:
        return f"{item.action.value}: it {item.why}"
    if item.action is Action.REUSE:
        return f"{item.action.value} from {item.other}"
    if item.action is Action.RESUME:
        progress = item.artifact.progress()
        done = "begun" if progress is None else f"begun, {progress}"
        return f"{done}, {item.artifact.resumption()}"
    if item.action is _KEEP and item.artifact.inputs is None:
        return f"{item.action.value}; the label stage comes before its check"
    return item.action.value


def _report(run: Run, found: Plan) -> str:
    """Return the state of report.json and report.html."""
    files = [run.path / name for name in ("report.json", "report.html")]
    if not all(path.is_file() for path in files):
        return Action.MAKE.value
    made = [item.artifact.folder / FINISHED for item in found.items]
    newest = max((path.stat().st_mtime_ns for path in made if path.is_file()), default=0)
    if min(path.stat().st_mtime_ns for path in files) < newest:
        return "older than an artifact, is written again"
    if any(item.action is Action.BLOCK for item in found.items):
        return "of artifacts that must be made again"
    if any(item.action is not _KEEP for item in found.items):
        return "is written again after the artifacts above"
    return _KEEP.value
