"""report.json: every number of a run in one file."""

from __future__ import annotations

import json
import statistics
from typing import Any

from must_keras.recipe import Recipe
from must_keras.stages.label import sources_to_label
from must_keras.stages.transfer import starts
from must_keras.workdir import Workdir


def collect(recipe: Recipe, workdir: Workdir) -> dict[str, Any]:
    """The numbers of all finished parts; parts that are not finished are absent."""
    labels: dict[str, dict[str, Any]] = {}
    for teacher in recipe.teachers:
        for source in sources_to_label(recipe, teacher):
            result = workdir.labels(teacher.name, source.name).result()
            if result:
                kept = {k: v for k, v in result.items() if k != "teacher_sha256"}
                labels.setdefault(teacher.name, {})[source.name] = kept
    transfers = []
    for transfer in recipe.transfers:
        for seed in range(recipe.transfer_seeds):
            for start in starts(recipe):
                part = workdir.transfer(transfer.name, start, recipe.neck, seed)
                transfers.append(part.result())
    seconds = workdir.root / "seconds.json"
    teachers = {t.name: workdir.teacher(t.name).result() for t in recipe.teachers}
    return {
        "teachers": {name: result for name, result in teachers.items() if result},
        "labels": labels,
        "student": workdir.student.result(),
        "transfers": [row for row in transfers if row],
        "seconds": json.loads(seconds.read_text()) if seconds.is_file() else {},
    }


def table(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """{set: {start: the rows of all seeds}}."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        found.setdefault(row["set"], {}).setdefault(row["start"], []).append(row)
    return found


def lower_is_better(metric: str) -> bool:
    """Whether a smaller value of a metric is the better one."""
    return metric in ("abs_rel", "rmse", "mean_angle")


def verdict(rows: list[dict[str, Any]]) -> str:
    """One plain sentence about what the transfers show, and one about what they cannot."""
    cells = table(rows)
    comparisons = {"random": 0, "best teacher": 0}
    compared = {"random": 0, "best teacher": 0}
    for by_start in cells.values():
        means = {
            start: statistics.fmean(row["value"] for row in seeds)
            for start, seeds in by_start.items()
            if all(row["value"] is not None for row in seeds)
        }
        sign = -1.0 if lower_is_better(next(iter(by_start.values()))[0]["metric"]) else 1.0
        teachers = [sign * v for k, v in means.items() if k.startswith("teacher-")]
        if "student" not in means:
            continue
        student = sign * means["student"]
        if "random" in means:
            compared["random"] += 1
            comparisons["random"] += student > sign * means["random"]
        if teachers:
            compared["best teacher"] += 1
            comparisons["best teacher"] += student > max(teachers)
    said = [
        f"above the {name} start on {comparisons[name]} of {compared[name]}"
        for name in comparisons
        if compared[name]
    ]
    if not said:
        return "There is no student to compare with another start."
    seeds = max(len(seeds) for by_start in cells.values() for seeds in by_start.values())
    caution = (
        "One seed is too few to tell a small difference from noise."
        if seeds == 1
        else f"With {seeds} seeds a difference smaller than their spread cannot be told from noise."
    )
    return f"The student's backbone is {' and '.join(said)} downstream sets. {caution}"
