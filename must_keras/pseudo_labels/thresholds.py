"""Thresholds that a recipe leaves to be chosen, from the answers to validation images.

A teacher's answers are counted when it is scored, before any column is made: as its columns are
(the same floor, suppression and number of boxes; bytes of confidence), but that a map larger than
a stored one is not resized first.
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from must_keras.config.recipe import AnyTeacher, Recipe
from must_keras.errors import UserError, damaged, listed
from must_keras.runs.workdir import Workdir
from must_keras.tasks.thresholds import DROPPED
from must_keras.training.thresholds import AtPrecision, Choice, PredictionCounts

# In a teacher's folder.
ANSWERS = "answers.npz"
# Dropped classes that a line names.
_NAMED = 20


def counted(teacher: AnyTeacher, workdir: Workdir) -> PredictionCounts | None:
    """A teacher's answers to validation images; None where nobody has counted them."""
    path = _answers_of(teacher, workdir)
    if not path.exists():
        return None
    counts, expected = PredictionCounts.load(path), len(teacher.task.classes)
    if len(counts) != expected:
        raise damaged(
            path,
            f"it counts {len(counts)} classes, the task has {expected}",
            remedy="delete it, then run --stage=teacher to count the answers again",
        )
    return counts


def _answers_of(teacher: AnyTeacher, workdir: Workdir) -> pathlib.Path:
    return workdir.teacher(teacher.name).folder / ANSWERS


def choices(teacher: AnyTeacher, workdir: Workdir) -> dict[str, Choice] | None:
    """{class: what AtPrecision makes of it}; None where the recipe itself gives the threshold.

    Raises:
        UserError: the teacher's answers are not counted yet, or have no scores.
    """
    rule, where = teacher.threshold, f"teacher {teacher.name!r}"
    if not isinstance(rule, AtPrecision):
        return None
    counts = counted(teacher, workdir)
    if counts is None or workdir.teacher(teacher.name).result() is None:
        raise UserError(
            f"{where} is not finished, or nobody has counted its answers to validation images "
            "yet: run --stage=teacher first"
        )
    if counts.says_only_one:
        raise UserError(
            f"{where} has no scores (all of its answers to validation images have a score of 1): "
            "a threshold cannot be chosen"
        )
    chosen = rule.choose(counts, lowest=teacher.task.floor)
    return dict(zip(teacher.task.classes, chosen, strict=True))


def resolved(teacher: AnyTeacher, workdir: Workdir) -> AnyTeacher:
    """A teacher with a number for every class where its recipe says how they are chosen.

    Raises:
        UserError: see `choices`.
    """
    chosen = choices(teacher, workdir)
    if chosen is None:
        return teacher
    numbers = tuple(choice.threshold for choice in chosen.values())
    return dataclasses.replace(teacher, threshold=numbers)


def all_resolved(recipe: Recipe, workdir: Workdir) -> Recipe:
    """A recipe with numbers for all thresholds.

    Raises:
        UserError: see `choices`.
    """
    if not any(isinstance(teacher.threshold, AtPrecision) for teacher in recipe.teachers):
        return recipe
    teachers = tuple(resolved(teacher, workdir) for teacher in recipe.teachers)
    return dataclasses.replace(recipe, teachers=teachers)


def can_be_resolved(teacher: AnyTeacher, workdir: Workdir) -> bool:
    """Whether the answers are counted, where a threshold is to be chosen from them."""
    return not isinstance(teacher.threshold, AtPrecision) or _answers_of(teacher, workdir).is_file()


def tell(teachers: Iterable[AnyTeacher], workdir: Workdir) -> None:
    """Prints what is chosen; a warning where classes are dropped."""
    for teacher in teachers:
        chosen = choices(teacher, workdir)
        if chosen is None:
            continue
        kept = chosen_numbers(chosen)
        title = f"thresholds of {teacher.name} at precision {teacher.threshold.value:g}"
        if kept:
            print(f"{title}: {span(kept)}, for {len(kept)} of {len(chosen)} classes")
        if len(kept) < len(chosen):
            print(f"warning: {title}: {dropped(chosen)}", file=sys.stderr)


def chosen_numbers(chosen: dict[str, Choice]) -> list[float]:
    """The thresholds of the classes that are not dropped."""
    return [choice.threshold for choice in chosen.values() if choice.threshold != DROPPED]


def span(numbers: list[float]) -> str:
    """The lowest and the highest of them, for a person."""
    low, high = f"{min(numbers):g}", f"{max(numbers):g}"
    return low if low == high else f"{low} to {high}"


def dropped(chosen: dict[str, Choice]) -> str:
    """Which classes are dropped, and why; "" where none is."""
    why = [f"{name} ({choice.why})" for name, choice in chosen.items() if choice.why]
    if not why:
        return ""
    told = listed(why, limit=_NAMED)
    classes = "1 class is" if len(why) == 1 else f"{len(why)} classes are"
    every = ", that is all of them" if len(why) == len(chosen) > 1 else ""
    return f"{classes} dropped{every}: {told}"


def table(teacher: AnyTeacher, workdir: Workdir) -> dict[str, Any] | None:
    """What report.json says of a teacher's thresholds; None where nothing is counted.

    Returns:
        {"value", "minimum" of AtPrecision, or None, "classes": {class: {"threshold": None where it
        is dropped, "answers", "precision", "recall" of it on validation, None where there is
        nothing, "dropped": why, or None}}}.
    """
    counts = counted(teacher, workdir)
    if counts is None or workdir.teacher(teacher.name).result() is None:
        return None
    rule = teacher.threshold if isinstance(teacher.threshold, AtPrecision) else None
    chosen = choices(teacher, workdir) or {}
    each = limits(resolved(teacher, workdir))
    rows = {}
    for index, (name, limit) in enumerate(zip(teacher.task.classes, each, strict=True)):
        standing = counts.at(index, limit)
        rows[name] = {
            "threshold": None if limit == DROPPED else float(limit),
            "answers": standing.answers,
            "precision": _known(standing.precision),
            "recall": _known(standing.recall),
            "dropped": (chosen[name].why if name in chosen else "") or None,
        }
    return {
        "value": rule.value if rule else None,
        "minimum": rule.minimum if rule else None,
        "classes": rows,
    }


def limits(teacher: AnyTeacher) -> np.ndarray:
    """[K] float64, the threshold of each class of a resolved teacher."""
    given = teacher.task.floor if teacher.threshold is None else teacher.threshold
    return np.broadcast_to(np.asarray(given, np.float64), (len(teacher.task.classes),))


def _known(value: float) -> float | None:
    return None if value != value else round(value, 4)
