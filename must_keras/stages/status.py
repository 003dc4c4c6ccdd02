"""`--stage=status`: what is finished, and what comes next."""

from __future__ import annotations

import json

from must_keras.recipe import Recipe
from must_keras.stages.label import sources_to_label
from must_keras.stages.transfer import starts
from must_keras.workdir import Part, Workdir


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Prints a line for every part, and the stage that comes next."""
    following = None
    for stage, name, part in _parts(recipe, workdir):
        state = _state(part)
        if state != "finished" and following is None:
            following = stage
        print(f"{stage:<9} {name:<40} {state}")
    print(f"next: --stage={following}" if following else "all stages are finished")


def _parts(recipe: Recipe, workdir: Workdir) -> list[tuple[str, str, Part]]:
    parts = [("teacher", t.name, workdir.teacher(t.name)) for t in recipe.teachers]
    for teacher in recipe.teachers:
        for source in sources_to_label(recipe, teacher):
            name = f"{teacher.name} for {source.name}"
            parts.append(("label", name, workdir.labels(teacher.name, source.name)))
    parts.append(("student", "", workdir.student))
    for transfer in recipe.transfers:
        for start in starts(recipe):
            for seed in range(recipe.transfer_seeds):
                part = workdir.transfer(transfer.name, start, recipe.neck, seed)
                parts.append(("transfer", f"{transfer.name} from {start}, seed {seed}", part))
    parts.append(("export", "", workdir.export))
    return parts


def _state(part: Part) -> str:
    if part.result() is not None:
        return "finished"
    progress = part.folder / "progress.json"
    if progress.is_file():
        state = json.loads(progress.read_text())
        return f"begun, {state['step']} of {state['of']}"
    return "not begun"
