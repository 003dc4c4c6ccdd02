"""Every part of a run: where it lies, what it is made from, and which must be made again."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from must_keras.errors import UserError
from must_keras.recipe import Recipe
from must_keras.stages import (
    examples,
    export,
    label,
    leaks,
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
    """

    stage: str
    name: str
    part: Part
    inputs: dict[str, Any] | None
    needs: tuple[Part, ...] = ()
    is_renewed: bool = False

    def difference(self) -> str | None:
        """Why a finished part is not what the recipe asks for; None where it is, or unfinished.

        Also None where the part is renewed: then nobody has to do anything about it.
        """
        try:
            is_made = self.part.result() is not None  # Looking takes nothing from another run.
            if is_made and self.inputs is not None and not self.is_renewed:
                self.part.is_finished(self.inputs)
        except UserError as error:
            return str(error)
        return None

    def is_outdated(self) -> bool:
        """Whether the part is there, and will be renewed."""
        was_made = self.is_renewed and self.part.result() is not None
        return was_made and self.part.result_of(self.inputs) is None


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
        yield Step(
            stage="label",
            name=f"duplicates in {source.name}",
            part=workdir.leaks(source.name),
            inputs=leaks.inputs(recipe, source),
            is_renewed=True,
        )
    columns = list(_columns(recipe, workdir))
    yield from columns
    needs = tuple(column.part for column in columns)
    known = _all_finished(needs) and leaks.are_known(recipe, workdir)
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


def check(recipe: Recipe, workdir: Workdir, stage: str = "all") -> None:
    """Takes what other runs have, and looks whether what is finished is what is asked for.

    Args:
        recipe: the run's values.
        workdir: the run's folder.
        stage: what is to run: parts that it neither makes nor reads may be outdated.

    Raises:
        UserError: finished parts are not what the recipe asks for, or need parts that are not
            made, or that must be made again; names all of them.
    """
    again: list[Part] = []
    reason = None
    for step in steps(recipe, workdir):
        if step.stage not in _CONCERNED.get(stage, (step.stage,)):
            continue
        if step.part.result() is None and (
            step.inputs is None or not step.part.is_finished(step.inputs)
        ):
            continue
        difference = step.difference()
        missing = [n for n in step.needs if n.result() is None or n in again]
        if difference or missing:
            again.append(step.part)
            without = f"{step.part.folder} was made without {missing[0].folder}" if missing else ""
            reason = reason or difference or without
    if again:
        folders = " ".join(str(part.folder) for part in again)
        raise UserError(
            f"{reason}. Choose another --workdir (--reuse={workdir.root} takes along what stays "
            f"the same), or delete what must be made again: {folders}"
        )


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
