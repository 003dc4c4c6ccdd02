"""Every part of a run: where it lies, what it is made from, and which must be made again."""

from __future__ import annotations

import dataclasses
import enum
import itertools
import pathlib
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

from must_keras.errors import UserError
from must_keras.config.recipe import Recipe, Teacher
from must_keras.pseudo_labels import examples, leakage, thresholds
from must_keras.stages import export, label, rounds, selfsup, student, supervised, teacher, transfer
from must_keras.runs import pools
from must_keras.transfer.grid import cells
from must_keras.runs.workdir import Artifact, Workdir


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """A part and what the recipe says of it.

    Attributes:
        stage: what makes it.
        name: of the part within its stage.
        part: its folder.
        inputs: what it is made from; None: that cannot be known yet.
        needs: the parts that it is made from.
        is_renewed: whether its stage makes it again by itself where it is outdated.
        restarts: whether its stage starts it afresh where an interrupted process left it.
    """

    stage: str
    name: str
    part: Artifact
    inputs: dict[str, Any] | None
    needs: tuple[Artifact, ...] = ()
    is_renewed: bool = False
    restarts: bool = False


class Action(enum.Enum):
    """What a stage does with an artifact, in the words of status."""

    KEEP = "finished"
    REUSE = "reused"
    RENEW = "outdated, is made again"
    MAKE = "not begun, will be made"
    RESUME = "begun, will be resumed"
    BLOCK = "must be made again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """An artifact and what a stage does with it.

    Attributes:
        step: the artifact.
        action: what is done.
        why: why it must be made again, to follow its folder.
        without: the folder of what it was made from, where that alone is not there any more.
        other: the folder that it is reused from.
    """

    step: Step
    action: Action
    why: str = ""
    without: pathlib.Path | None = None
    other: pathlib.Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What a stage does.

    Attributes:
        items: every artifact that it makes or reads.
        obstacle: why it stops before anything is written, and the ways out; None where it runs.
    """

    items: tuple[Planned, ...]
    obstacle: str | None


def steps(recipe: Recipe, workdir: Workdir) -> Iterator[Step]:
    """All parts in the order in which they are made."""
    yield from _to_student(recipe, workdir)
    if recipe.wanted_rounds > 1:
        yield from _rounds(recipe, workdir)
    yield from _baselines(recipe, workdir)
    for cell in (cell for item in recipe.transfers for cell in cells(recipe, item)):
        origin = transfer.origin(workdir, cell.start)
        needs = () if origin is None else (origin,)
        inputs = transfer.inputs(recipe, workdir, cell) if _all_finished(needs) else None
        chooser = cell.chooser(workdir)
        needs += () if chooser is None else (chooser,)
        part = cell.part(workdir)
        yield Step(stage="transfer", name=str(cell), part=part, inputs=inputs, needs=needs)
    needs = (workdir.student,)
    inputs = export.inputs(workdir) if _all_finished(needs) else None
    yield Step(
        stage="export", name="", part=workdir.export, inputs=inputs, needs=needs, restarts=True
    )


def _to_student(recipe: Recipe, workdir: Workdir) -> Iterator[Step]:
    for item in recipe.teachers:
        part, inputs = workdir.teacher(item.name), teacher.inputs(recipe, item)
        is_trained = isinstance(item, Teacher) and item.training.steps > 0
        yield Step(
            stage="teacher", name=item.name, part=part, inputs=inputs, restarts=not is_trained
        )
    for source in leakage.sources(recipe):
        yield Step(
            stage="label",
            name=f"duplicates in {source.name}",
            part=workdir.leaks(source.name),
            inputs=leakage.inputs(recipe, source),
            is_renewed=True,
            restarts=True,
        )
    yield from _columns(recipe, workdir)
    # Looked up anew: columns may have been found in another run since.
    needs = tuple(
        workdir.labels(item.name, source.name)
        for item in recipe.teachers
        for source in label.sources_to_label(recipe, item)
    )
    sources = label.student_sources(recipe)
    known = _all_finished(needs) and examples.are_known(recipe, workdir, sources)
    known = known and all(thresholds.can_be_resolved(t, workdir) for t in recipe.teachers)
    inputs = student.inputs(recipe, workdir) if known else None
    yield Step(stage="student", name="", part=workdir.student, inputs=inputs, needs=needs)


def _rounds(recipe: Recipe, workdir: Workdir) -> Iterator[Step]:
    """The parts of every round after the first whose teachers are known, and the best student."""
    begun = rounds.begun(recipe, workdir)
    for last, one in itertools.pairwise(begun):
        for step in _to_student(one.recipe, one.workdir):
            name = f"{one.number}: {step.stage} {step.name}".rstrip()
            needs = (last.workdir.student, *step.needs)
            yield dataclasses.replace(step, stage="rounds", name=name, needs=needs)
    yield Step(
        stage="rounds",
        name="the best student",
        part=workdir.rounds,
        inputs=rounds.inputs(begun),
        needs=tuple(one.workdir.student for one in begun if one.workdir.student.result()),
        is_renewed=True,
        restarts=True,
    )


# The stages whose parts another stage makes or reads; the others need all of them.
_CONCERNED = {
    "teacher": ("teacher",),
    "label": ("teacher", "label"),
    "student": ("teacher", "label", "student"),
    "rounds": ("teacher", "label", "student", "rounds"),
    "supervised": ("supervised",),
    "selfsup": ("selfsup",),
    "export": ("teacher", "label", "student", "export"),
}
# The stages that label the pools or train on them.
_OF_THE_POOLS = ("all", "label", "student", "rounds", "supervised", "selfsup")


def plan(
    recipe: Recipe, workdir: Workdir, stage: str = "all", *, growth_stops: bool = True
) -> Plan:
    """Return what a stage does with every artifact that it makes or reads; nothing is written.

    What another run has is read where it lies, as if it were taken.

    Args:
        recipe: the run's values, frozen (see runs.pools).
        workdir: the run's folder.
        stage: what is to run.
        growth_stops: whether a pool that grew stops the stages that label or learn from it.

    Raises:
        DataError: a file that says what an artifact was made from is damaged.
    """
    looks_up = growth_stops and stage in _OF_THE_POOLS
    changes = pools.changes(recipe, workdir) if looks_up else []
    grown = [change for change in changes if change.stops]
    view = dataclasses.replace(workdir, stand_ins={})
    again: set[pathlib.Path] = set()
    items = []
    for step in steps(recipe, view):
        if step.stage not in _CONCERNED.get(stage, (step.stage,)):
            continue
        missing = [part for part in step.needs if not _is_there(part, view, again)]
        item = _planned(step, grown, missing)
        if item.action is Action.BLOCK or (item.action is Action.RENEW and missing):
            again.add(step.part.folder)
        if item.other is not None:
            view.stand_ins[step.part.folder] = item.other
        items.append(item)
    obstacle = _grown(grown, workdir) if grown else _blocked(items, workdir)
    return Plan(items=tuple(items), obstacle=obstacle)


def _planned(step: Step, grown: Sequence[pools.Change], missing: Sequence[Artifact]) -> Planned:
    """Return what is done with an artifact.

    Args:
        step: the artifact.
        grown: pools that have images which finished networks were trained without.
        missing: what it is made from and is not there, or must be made again.
    """
    part, inputs = step.part, step.inputs
    if part.result() is None:
        difference = None if inputs is None or step.restarts else part.difference(inputs)
        if difference is not None:
            why = f"contains unfinished work that was begun {difference}"
            return Planned(step=step, action=Action.BLOCK, why=why)
        other = None if inputs is None else part.elsewhere(inputs)
        if other is not None:
            return Planned(step=step, action=Action.REUSE, other=other)
        if step.restarts:
            return Planned(step=step, action=Action.MAKE)
        is_begun = part.made_from() is not None or any(part.folder.glob("**/progress.json"))
        return Planned(step=step, action=Action.RESUME if is_begun else Action.MAKE)
    if step.is_renewed:
        is_outdated = missing or part.result_of(inputs) is None
        return Planned(step=step, action=Action.RENEW if is_outdated else Action.KEEP)
    difference = None if inputs is None else part.difference(inputs)
    if difference is not None:
        return Planned(step=step, action=Action.BLOCK, why=f"was made {difference}")
    if part.folder in {network.part.folder for change in grown for network in change.networks}:
        why = f"was made before {' and '.join(change.sentence() for change in grown)}"
        return Planned(step=step, action=Action.BLOCK, why=why)
    if not missing:
        return Planned(step=step, action=Action.KEEP)
    folder = missing[0].folder
    if missing[0].result() is None:
        why = f"was made without {folder}"
        return Planned(step=step, action=Action.BLOCK, why=why, without=folder)
    why = f"was made from {folder}, which must be made again"
    return Planned(step=step, action=Action.BLOCK, why=why)


def _is_there(part: Artifact, view: Workdir, again: set[pathlib.Path]) -> bool:
    if part.folder in again:
        return False
    return part.folder in view.stand_ins or part.result() is not None


def _blocked(items: Sequence[Planned], workdir: Workdir) -> str | None:
    """Return what must be made again and the ways out; None where nothing must be."""
    blocked = [item for item in items if item.action is Action.BLOCK]
    if not blocked:
        return None
    folders = " ".join(shlex.quote(str(item.step.part.folder)) for item in blocked)
    first, stages = blocked[0], {item.step.part.folder: item.step.stage for item in items}
    ways = "Undo the change, choose"
    if first.without is not None:
        made_by, stage = stages.get(first.without), first.step.stage
        # A stage that minds what is blocked would stop, too.
        is_alone = made_by is not None and stage not in _CONCERNED.get(made_by, (stage,))
        ways = f"Make that alone again by --stage={made_by}, choose" if is_alone else "Choose"
    return (
        f"{first.step.part.folder} {first.why}. {ways} another --workdir "
        f"({_flag('reuse', workdir.root)} takes along what stays the same), or delete what must be "
        f"made again: {folders}"
    )


def _grown(grown: Sequence[pools.Change], workdir: Workdir) -> str:
    """Return what pools have that finished networks were trained without, and the ways out."""
    networks = dict.fromkeys(network.name for change in grown for network in change.networks)
    names, root = " and ".join(networks), workdir.root
    # The name of "." is none.
    old = root if root.name not in ("", "..") else root.resolve()
    free = (old.with_name(f"{old.name}-{number}") for number in itertools.count(2))
    new = next(path for path in free if not path.exists())
    return (
        f"{' and '.join(change.sentence() for change in grown)} after {names} of {root} had been "
        "trained; nothing was changed. To label what is new and to train anew, run the same "
        f"command with --stage=all {_flag('workdir', new)} {_flag('reuse', root)}, which takes "
        "along the teachers and their labels; to keep this run, take the new images out of the "
        "pool again, and put replaced or renamed ones back. --stage=transfer, export, report and "
        "check work on this run as it is"
    )


def _flag(name: str, path: pathlib.Path) -> str:
    return shlex.quote(f"--{name}={path}")


def runnable(
    recipe: Recipe, workdir: Workdir, stage: str = "all", *, growth_stops: bool = True
) -> Plan:
    """Return the plan of a stage that nothing stops; see `plan`.

    Raises:
        UserError: finished artifacts are not what the recipe asks for, or need others that are not
            made, or that must be made again; or a pool has images that a finished network was
            trained without.
    """
    found = plan(recipe, workdir, stage, growth_stops=growth_stops)
    if found.obstacle is not None:
        raise UserError(found.obstacle)
    return found


def take(found: Plan) -> bool:
    """Take what other runs have; return whether they have anything."""
    reused = [item.step for item in found.items if item.action is Action.REUSE]
    for step in reused:
        if step.restarts and step.part.made_from():
            step.part.begin()  # What an interrupted process left is in nobody's way.
        step.part.is_finished(step.inputs)
    return bool(reused)


def check(
    recipe: Recipe, workdir: Workdir, stage: str = "all", *, growth_stops: bool = True
) -> None:
    """Look whether what is finished is what is asked for, and take what other runs have.

    Args:
        recipe: the run's values, frozen (see runs.pools).
        workdir: the run's folder.
        stage: what is to run: artifacts that it neither makes nor reads may be outdated.
        growth_stops: whether a pool that grew stops the stages that label or learn from it.

    Raises:
        UserError: see `runnable`. Then nothing is taken or written.
    """
    take(runnable(recipe, workdir, stage, growth_stops=growth_stops))


def _columns(recipe: Recipe, workdir: Workdir) -> Iterator[Step]:
    for item in recipe.teachers:
        origin = workdir.teacher(item.name)
        known = origin.result() is not None
        sha256 = label.weights_sha256(workdir, item) if known else None
        for source in label.sources_to_label(recipe, item):
            yield Step(
                stage="label",
                name=f"{item.name} for {source.name}",
                part=workdir.labels(item.name, source.name),
                inputs=label.inputs(recipe, item, source, sha256) if sha256 else None,
                needs=(origin,),
            )


def _baselines(recipe: Recipe, workdir: Workdir) -> Iterator[Step]:
    """Those that transfers start from."""
    if recipe.wanted_supervised:
        known = examples.are_known(recipe, workdir, recipe.labeled_sources)
        inputs = supervised.inputs(recipe, workdir) if known else None
        yield Step(stage="supervised", name="", part=workdir.supervised, inputs=inputs)
    known = examples.are_known(recipe, workdir, label.student_sources(recipe))
    for method in recipe.wanted_selfsup:
        yield Step(
            stage="selfsup",
            name=method.name,
            part=workdir.selfsup(method.name),
            inputs=selfsup.inputs(recipe, workdir, method) if known else None,
        )


def _all_finished(parts: tuple[Artifact, ...]) -> bool:
    return all(part.result() is not None for part in parts)
