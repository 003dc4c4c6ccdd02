"""Rounds: the student labels in its teachers' place for a next student, while that helps.

A further round is the same recipe: each teacher that was trained here is the last student's head,
as it is, and is scored and labels as any teacher does; models and labels of others stay. The next
student has the same first weights, images and order, so that only the pseudo labels are others.
True labels still win. It ends with the first student that is not better on the teachers' validation
splits than the one before; test images decide nothing.
"""

from __future__ import annotations

import dataclasses
import shutil
import statistics
from collections.abc import Sequence
from typing import Any

from must_keras.config.recipe import Recipe, Teacher
from must_keras.errors import DataError, UserError, damaged
from must_keras.files import appended_lines, replacing
from must_keras.inference.scoring import sign
from must_keras.runs.workdir import Workdir
from must_keras.training.initialization import FromModel

# Raised when the same inputs would give something else than before.
VERSION = 1

# What a round makes, in this order.
STAGES = ("teacher", "label", "student")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Round:
    """One student and what it learns from.

    Attributes:
        number: 1 is the run itself.
        recipe: with the teachers of the round.
        workdir: its folder.
    """

    number: int
    recipe: Recipe
    workdir: Workdir

    def validation(self) -> dict[str, float] | None:
        """{head: its headline on its teacher's validation split} of a finished student.

        Raises:
            DataError: its numbers are gone.
        """
        result = self.workdir.student.result()
        if result is None:
            return None
        path = self.workdir.student.folder / "metrics.jsonl"
        remedy = f"delete {path.parent} to train it again"
        lines = appended_lines(path, form={"split": str}, remedy=remedy)
        said = {key: row[key] for row in lines if row["split"] == "validation" for key in row}
        found = {}
        for head, scored in result["tasks"].items():
            metric = next(iter(scored["metrics"]), None)
            key = metric if len(result["tasks"]) == 1 else f"{head}_{metric}"
            if key in said:
                found[head] = said[key]
        if not found:
            raise DataError(f"{path} has no metric of a validation split: delete {path.parent}")
        return found

    def mean(self) -> float | None:
        """Of `validation`, over heads, so that more is better; None where it is not finished."""
        found = self.validation()
        if found is None:
            return None
        tasks = self.workdir.student.result()["tasks"]
        return statistics.fmean(
            sign(next(iter(tasks[head]["metrics"]))) * value for head, value in found.items()
        )


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Puts the best student into place when all rounds are made, and says why there are no more.

    Raises:
        UserError: a round is not finished.
    """
    del only
    rounds, part = begun(recipe, workdir), workdir.rounds
    made_from = inputs(rounds)
    if made_from is None:
        folder = rounds[-1].workdir.student.folder
        raise UserError(f"{folder} is not finished: run --stage=student first")
    best = rounds[-1] if _improves(rounds) else rounds[-2]
    if best is rounds[-1]:
        stopped = f"all {len(rounds)} rounds are made"
    else:
        means = " and ".join(f"{one.mean():.4f}" for one in rounds[-2:])
        stopped = (
            f"the student of round {len(rounds)} is not better on validation than the one before "
            f"({means})"
        )
    print(f"rounds: {stopped}; the best student is that of round {best.number}")
    if part.result_of(made_from) is not None:
        return
    origin = best.workdir.student
    if not origin.model_path.is_file():
        remedy = f"delete {origin.folder} to train it again"
        raise damaged(origin.model_path, "it is missing", remedy=remedy)
    part.folder.mkdir(parents=True, exist_ok=True)
    with replacing(part.model_path) as path:
        shutil.copyfile(origin.model_path, path)
    told = [
        {
            "round": one.number,
            "validation": one.validation(),
            "mean": one.mean(),
            "test": {
                head: scored["metrics"]
                for head, scored in one.workdir.student.result()["tasks"].items()
            },
        }
        for one in rounds
    ]
    result = best.workdir.student.result()
    part.finish(made_from, result | {"rounds": told, "best": best.number, "stopped": stopped})


def following(recipe: Recipe, workdir: Workdir) -> int:
    """The number of the round that is to be made next; 0: none."""
    last = begun(recipe, workdir)[-1]
    return last.number if last.number > 1 and last.mean() is None else 0


def begun(recipe: Recipe, workdir: Workdir) -> list[Round]:
    """The rounds whose teachers are known: those that are finished, and the one that comes next."""
    rounds = [of(recipe, workdir, 1)]
    while len(rounds) < recipe.rounds and rounds[-1].mean() is not None and _improves(rounds):
        rounds.append(of(recipe, workdir, len(rounds) + 1))
    return rounds


def inputs(rounds: Sequence[Round]) -> dict[str, Any] | None:
    """What the choice of a student depends on; None while not all rounds are finished."""
    if any(one.mean() is None for one in rounds):
        return None
    return {
        "version": VERSION,
        "rounds": rounds[0].recipe.rounds,
        "students": [one.workdir.student.result()["model_sha256"] for one in rounds],
        "validation": [one.validation() for one in rounds],
    }


def of(recipe: Recipe, workdir: Workdir, number: int) -> Round:
    """A round by its number; its teachers need not be there yet."""
    if number == 1:
        return Round(number=1, recipe=recipe, workdir=workdir)
    last = workdir if number == 2 else workdir.round(number - 1)
    start = FromModel(last.student.model_path)
    teachers = tuple(
        dataclasses.replace(
            teacher, start=start, training=dataclasses.replace(teacher.training, steps=0)
        )
        if isinstance(teacher, Teacher)
        else teacher
        for teacher in recipe.teachers
    )
    taught = dataclasses.replace(recipe, teachers=teachers)
    return Round(number=number, recipe=taught, workdir=workdir.round(number))


def _improves(rounds: Sequence[Round]) -> bool:
    """Whether the last of some finished rounds is better than the one before."""
    return len(rounds) == 1 or rounds[-1].mean() > rounds[-2].mean()
