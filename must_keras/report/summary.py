"""report.json: every number of a run in one file."""

from __future__ import annotations

import copy
import statistics
from typing import Any

from must_keras.analysis import comparison
from must_keras.config.recipe import ImportedLabels, Recipe
from must_keras.inference.scoring import sign
from must_keras.pseudo_labels import leakage, thresholds
from must_keras.runs import seconds
from must_keras.runs.workdir import Workdir
from must_keras.stages.label import sources_to_label
from must_keras.transfer.grid import cells


def collect(recipe: Recipe, workdir: Workdir) -> dict[str, Any]:
    """The numbers of all finished parts; parts that are not finished are absent."""
    labels: dict[str, dict[str, Any]] = {}
    for teacher in recipe.teachers:
        for source in sources_to_label(recipe, teacher):
            result = workdir.labels(teacher.name, source.name).result()
            if result:
                kept = copy.copy(result)
                kept.pop("teacher_sha256", None)
                if isinstance(teacher, ImportedLabels):
                    kept["origin"] = teacher.origin
                labels.setdefault(teacher.name, {})[source.name] = kept
    found = [cell.part(workdir) for item in recipe.transfers for cell in cells(recipe, item)]
    transfers = [row for part in found if (row := part.result())]
    teachers = {t.name: workdir.teacher(t.name).result() for t in recipe.teachers}
    methods = {m.name: workdir.selfsup(m.name).result() for m in recipe.wanted_selfsup}
    return {
        "teachers": {name: result for name, result in teachers.items() if result},
        "labels": labels,
        "leaks": leakage.results(recipe, workdir),
        "thresholds": {
            teacher.name: found
            for teacher in recipe.teachers
            if (found := thresholds.table(teacher, workdir))
        },
        "student": workdir.student.result(),
        "rounds": workdir.rounds.result() if recipe.wanted_rounds > 1 else None,
        "supervised": workdir.supervised.result() if recipe.wanted_supervised else None,
        "selfsup": {name: result for name, result in methods.items() if result},
        "transfers": transfers,
        "comparisons": {
            name: comparison.compare(rows)
            for name, rows in comparison.by_protocol(transfers).items()
        },
        "seconds": seconds.read(workdir.root),
    }


def table(rows: list[dict[str, Any]]) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """{set: {start: the rows of all seeds}}."""
    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for row in rows:
        found.setdefault(row["set"], {}).setdefault(row["start"], []).append(row)
    return found


def known_values(rows: list[dict[str, Any]]) -> list[float]:
    """The values of some seeds' rows, without those of seeds that could not be scored."""
    return [row["value"] for row in rows if row["value"] is not None]


def verdict(rows: list[dict[str, Any]]) -> str:
    """What transfers show in plain words, what was left out of it, and what they cannot show.

    They are of one protocol. A set counts only where neither the student nor the starts that it
    is compared with saw its images.
    """
    cells = table(rows)
    teachers = {row["start"] for row in rows if row["start"].startswith("teacher-")}
    every = f"all {len(teachers)} teacher starts" if len(teachers) > 1 else "the one teacher start"
    said, seen_by_student, seen_by_other = [], [], []
    for name, starts in {"the random start": {"random"}, every: teachers}.items():
        wins = compared = 0
        for downstream, by_start in cells.items():
            student = by_start.get("student", [])
            rivals = [seeds for start, seeds in by_start.items() if start in starts]
            rivals = [seeds for seeds in rivals if known_values(seeds)]
            if not known_values(student) or not rivals:
                continue
            if _saw_images(student):
                seen_by_student.append(downstream)
            elif any(map(_saw_images, rivals)):
                seen_by_other.append(downstream)
            else:
                better = sign(student[0]["metric"])
                best = max(better * statistics.fmean(known_values(seeds)) for seeds in rivals)
                compared += 1
                wins += better * statistics.fmean(known_values(student)) > best
        if compared:
            said.append(f"above {name} on {wins} of {compared}")
    left_out = [
        _left_out(seen_by_student, "", "the student"),
        _left_out(seen_by_other, " of the comparison with the teachers", "a teacher"),
    ]
    if said:
        sentences = [f"The student's backbone is {' and '.join(said)} downstream sets."]
    elif seen_by_student or seen_by_other:
        sentences = ["The student cannot be compared with another start on any downstream set."]
    else:
        return "There is no student to compare with another start."
    sentences += [sentence for sentence in left_out if sentence]
    if said:
        sentences.append(
            _caution(max(len(r) for by_start in cells.values() for r in by_start.values()))
        )
    return " ".join(sentences)


def _left_out(sets: list[str], of: str, who: str) -> str:
    names = list(dict.fromkeys(sets))
    if not names:
        return ""
    count, its = (f"{len(names)} sets are", "their") if len(names) > 1 else ("1 set is", "its")
    return f"{count} left out{of}, because {who} was trained on {its} images: {', '.join(names)}."


def _caution(num_seeds: int) -> str:
    if num_seeds == 1:
        return "One seed is too few to tell a difference from noise."
    return (
        f"Its {num_seeds} seeds share one student and its teachers, so they are one trial: runs "
        "with other seeds, and must_keras.compare, tell a difference from noise."
    )


def _saw_images(rows: list[dict[str, Any]]) -> bool:
    return any(row["aligned"] in ("images", "set") for row in rows)
