"""Every part of a run: where it lies, what it is made from, and which must be made again."""

from __future__ import annotations

import dataclasses
import enum
import functools
import itertools
import pathlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from must_keras.data.columns import Column
from must_keras.errors import DataError, UserError
from must_keras.recipe import Recipe
from must_keras.stages import (
    examples,
    export,
    label,
    leaks,
    pools,
    rounds,
    selfsup,
    student,
    supervised,
    teacher,
    thresholds,
    transfer,
)
from must_keras.stages.cells import cells
from must_keras.workdir import Part, Workdir


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
        look: reads what is read of it next, where it is finished; raises where it is damaged.
        note: what it found, for a person.
    """

    stage: str
    name: str
    part: Part
    inputs: dict[str, Any] | None
    needs: tuple[Part, ...] = ()
    is_renewed: bool = False

    look: Callable[[], object] | None = None
    note: str = ""


class Action(enum.Enum):
    """What `--stage=all` does with an artifact, in the words of status."""

    COMPLETE = "complete (skipped)"
    OPEN = "complete, compared again after the label stage"
    REUSE = "reused"
    RENEW = "outdated, made again"
    MAKE = "will be made"
    RESUME = "interrupted, resumed"
    BLOCK = "must be made again"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Planned:
    """An artifact and what `--stage=all` does with it.

    Attributes:
        step: the artifact.
        action: what is done.
        why: why it must be made again, to follow its folder.
        other: the folder that it is reused from.
    """

    step: Step
    action: Action
    why: str = ""
    other: pathlib.Path | None = None


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
    yield Step(stage="export", name="", part=workdir.export, inputs=inputs, needs=needs)


def _to_student(recipe: Recipe, workdir: Workdir) -> Iterator[Step]:
    for item in recipe.teachers:
        part, inputs = workdir.teacher(item.name), teacher.inputs(recipe, item)
        yield Step(stage="teacher", name=item.name, part=part, inputs=inputs)
    for source in leaks.sources(recipe):
        part, made_from = workdir.leaks(source.name), leaks.inputs(recipe, source)
        found = part.result_of(made_from)
        yield Step(
            stage="label",
            name=f"duplicates in {source.name}",
            part=part,
            inputs=made_from,
            is_renewed=True,
            note=f"{found['left_out']} of {found['images']} images left out" if found else "",
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
        is_renewed=True,
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
_OF_THE_POOL = ("all", "label", "student", "rounds", "supervised", "selfsup")


def plan(recipe: Recipe, workdir: Workdir, stage: str = "all") -> list[Planned]:
    """Return what a stage does with every artifact that it makes or reads; nothing is written.

    What another run has is read where it lies, as if it were taken.

    Args:
        recipe: the run's values.
        workdir: the run's folder.
        stage: what is to run: artifacts that it neither makes nor reads are left out.

    Raises:
        DataError: a file that says what an artifact was made from is damaged.
    """
    view = dataclasses.replace(workdir, stand_ins={})
    again: set[pathlib.Path] = set()
    found = []
    for step in steps(recipe, view):
        if step.stage not in _CONCERNED.get(stage, (step.stage,)):
            continue
        item = _planned(step, [part for part in step.needs if not _is_there(part, view, again)])
        if item.action is Action.BLOCK:
            again.add(step.part.folder)
        if item.other is not None:
            view.stand_ins[step.part.folder] = item.other
        found.append(item)
    return found


def _planned(step: Step, missing: list[Part]) -> Planned:
    """Return what is done with an artifact, of which needed parts are missing or made again."""
    part, inputs = step.part, step.inputs
    if part.result() is None:
        other = None if inputs is None else part.elsewhere(inputs)
        if other is not None:
            return Planned(step=step, action=Action.REUSE, other=other)
        difference = None if inputs is None else part.difference(inputs)
        if difference is not None:
            why = f"is unfinished, and was begun {difference}"
            return Planned(step=step, action=Action.BLOCK, why=why)
        begun = part.made_from() is not None or any(part.folder.glob("**/progress.json"))
        return Planned(step=step, action=Action.RESUME if begun else Action.MAKE)
    if step.is_renewed:
        is_outdated = part.result_of(inputs) is None
        return Planned(step=step, action=Action.RENEW if is_outdated else Action.COMPLETE)
    difference = None if inputs is None else part.difference(inputs)
    why = f"was made {difference}" if difference else _damage(step)
    if not why and missing:
        why = f"was made without {missing[0].folder}"
    if why:
        return Planned(step=step, action=Action.BLOCK, why=why)
    return Planned(step=step, action=Action.OPEN if inputs is None else Action.COMPLETE)


def _damage(step: Step) -> str:
    try:
        if step.look is not None:
            step.look()
    except (UserError, DataError) as error:
        return f"is damaged: {error}"
    return ""


def _is_there(part: Part, view: Workdir, again: set[pathlib.Path]) -> bool:
    if part.folder in again:
        return False
    return part.folder in view.stand_ins or part.result() is not None


def obstacle(
    recipe: Recipe, workdir: Workdir, planned: Sequence[Planned], stage: str = "all"
) -> str | None:
    """Return why a stage stops before it writes anything, and every way out; None where it runs.

    Args:
        recipe: the run's values, frozen (see stages.pools).
        workdir: the run's folder.
        planned: see `plan`.
        stage: what is to run.
    """
    if stage in _OF_THE_POOL:
        for change in pools.changes(recipe, workdir):
            if change.stops:
                return _grown(change, recipe, workdir)
    blocked = [item for item in planned if item.action is Action.BLOCK]
    if not blocked:
        return None
    folders = " ".join(str(item.step.part.folder) for item in blocked)
    first = blocked[0]
    return (
        f"{first.step.part.folder} {first.why}. Choose another --workdir "
        f"(--reuse={shlex.quote(str(workdir.root))} takes along what stays the same), or delete "
        f"what must be made again: {folders}"
    )


def _grown(change: pools.Change, recipe: Recipe, workdir: Workdir) -> str:
    """Return what a pool has that a finished network was trained without, and the ways out."""
    network, root = change.network, workdir.root
    made = {network.part.folder}
    dependent: dict[str, int] = {}
    for step in steps(recipe, workdir):
        if step.part.folder in made or made & {part.folder for part in step.needs}:
            made.add(step.part.folder)
            if step.part.result() is not None:
                dependent[step.stage] = dependent.get(step.stage, 0) + 1
    again = ", ".join(
        name if count == 1 else f"{name} ({count} artifacts)" for name, count in dependent.items()
    )
    back = "remove them from the pool"
    if change.replaced:
        back = "take new images out of the pool and put the former files of replaced ones back"
    flags = f"--stage=all --workdir={_free(root)} --reuse={shlex.quote(str(root))}"
    return (
        f"pool {change.name}: {'; '.join(change.parts())} since the {network.name} in {root} was "
        f"trained, which is finished and has not learned from these; with them it would have to be "
        f"made again: {again}. To label only what is new and train a new {network.name}, give the "
        f"same command with {flags}; or {back}: then this run is as before. Its --stage=report, "
        "export, transfer and check work without the new images"
    )


def _free(root: pathlib.Path) -> str:
    """Return a path beside a run's folder that nothing has yet, for a command line."""
    numbered = (root.with_name(f"{root.name}-{number}") for number in itertools.count(2))
    return shlex.quote(str(next(path for path in numbered if not path.exists())))


def check(recipe: Recipe, workdir: Workdir, stage: str = "all") -> None:
    """Look whether what is finished is what is asked for, and take what other runs have.

    Args:
        recipe: the run's values.
        workdir: the run's folder.
        stage: what is to run: artifacts that it neither makes nor reads may be outdated.

    Raises:
        UserError: finished artifacts are not what the recipe asks for, or need others that are not
            made, or that must be made again; or a pool has images that a finished network was
            trained without. Then nothing is taken or written.
    """
    planned = plan(recipe, workdir, stage)
    reason = obstacle(recipe, workdir, planned, stage)
    if reason is not None:
        raise UserError(reason)
    for item in planned:
        if item.action is Action.REUSE:
            item.step.part.is_finished(item.step.inputs)


def _columns(recipe: Recipe, workdir: Workdir) -> Iterator[Step]:
    # A finished student's columns are read no more.
    is_read = workdir.student.result() is None
    for item in recipe.teachers:
        origin = workdir.teacher(item.name)
        known = origin.result() is not None
        sha256 = label.weights_sha256(workdir, item) if known else None
        for source in label.sources_to_label(recipe, item):
            part = workdir.labels(item.name, source.name)
            yield Step(
                stage="label",
                name=f"{item.name} for {source.name}",
                part=part,
                inputs=label.inputs(recipe, item, source, sha256) if sha256 else None,
                needs=(origin,),
                look=functools.partial(Column, part.folder, source, item.task) if is_read else None,
            )


def _baselines(recipe: Recipe, workdir: Workdir) -> Iterator[Step]:
    """Those that transfers start from."""
    if recipe.wanted_supervised:
        known = examples.are_known(recipe, workdir, recipe.labelled_sources)
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


def _all_finished(parts: tuple[Part, ...]) -> bool:
    return all(part.result() is not None for part in parts)
