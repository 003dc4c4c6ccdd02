"""`--stage=status`: what is finished, and what comes next."""

from __future__ import annotations

from must_keras.errors import DataError
from must_keras.files import read_json, warn_once
from must_keras.recipe import Recipe
from must_keras.stages import parts
from must_keras.stages.sweep import SWEEP
from must_keras.workdir import FINISHED, Part, Workdir


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Prints a line for every part, the stage that comes next, and what stands in its way."""
    following, obstacle = None, None
    steps = list(parts.steps(recipe, workdir))
    for step in steps:
        difference = step.difference()
        state = "made with another recipe" if difference else _state(step.part)
        if step.is_outdated():
            state = "outdated, is made again"
        if state != "finished":
            following = following or step.stage
        if step.stage == following:
            obstacle = obstacle or difference
        print(f"{step.stage:<9} {step.name:<40} {state}")
    state = _report_state(workdir, [step.part for step in steps])
    if state != "finished":
        following = following or "report"
    print(f"{'report':<9} {'':<40} {state}")
    print(f"next: --stage={following}" if following else "all stages are finished")
    if obstacle:
        print(f"but {obstacle}")


def _state(part: Part) -> str:
    if part.result() is not None:
        return "finished"
    found = [part.folder / "progress.json", *part.folder.glob(f"{SWEEP}/*/progress.json")]
    found = sorted((p for p in found if p.is_file()), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        return "not begun"
    try:
        remedy = "the next log step of the training writes it anew"
        state = read_json(found[-1], form={"step": int, "of": int}, remedy=remedy)
    except DataError as error:
        warn_once(str(error))
        return "begun"
    rate = "" if found[-1].parent == part.folder else f" at learning rate {found[-1].parent.name}"
    return f"begun, {state['step']} of {state['of']}{rate}"


def _report_state(workdir: Workdir, made_of: list[Part]) -> str:
    """Finished where both of its files are at least as new as the newest finished part."""
    files = [workdir.root / name for name in ("report.json", "report.html")]
    if not all(path.is_file() for path in files):
        return "not begun"
    made = [path for part in made_of if (path := part.folder / FINISHED).is_file()]
    newest = max((path.stat().st_mtime_ns for path in made), default=0)
    oldest = min(path.stat().st_mtime_ns for path in files)
    return "finished" if oldest >= newest else "older than a part"
