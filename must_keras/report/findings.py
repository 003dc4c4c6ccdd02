"""What a report finds in a run's data beside the results of its artifacts."""

import dataclasses
from typing import Any

from must_keras.errors import DataError, UserError, warn_once
from must_keras.pseudo_labels import label_counts
from must_keras.pseudo_labels.label_counts import SourceCounts
from must_keras.report import evidence
from must_keras.report.results import saved_details
from must_keras.runs import set_counts
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run


def of(run: Run) -> dict[str, Any]:
    """Return values of report.json.

    Returns:
        {"shortfalls": heads of the student that learned little, see analysis.shortfalls,
        "label_counts": {source: origins of its labels}, see pseudo_labels.label_counts; None
        before the student is complete,
        "odd_sets": {source: images without a label, and copies}, see runs.set_counts,
        "details": {"teachers": {name: details of its head}, "student" and "supervised": {head:
        details}}, see runs.details; what has none is absent}.
    """
    counts, odd = _label_counts(run), set_counts.of_recipe(run.recipe)
    return {
        "shortfalls": [found.describe() for found in evidence.find(run, counts)],
        "label_counts": counts and {k: dataclasses.asdict(found) for k, found in counts.items()},
        "odd_sets": {name: dataclasses.asdict(found) for name, found in odd.items()},
        "details": _details(run),
    }


def _details(run: Run) -> dict[str, Any]:
    """Return the details of all evaluations on the teachers' own sets."""
    teachers = run.recipe.teachers
    found = {
        "teachers": {t.name: saved_details(run.teacher(t.name), t.task) for t in teachers},
        "student": {t.task.name: saved_details(run.student, t.task) for t in teachers},
        "supervised": {t.task.name: saved_details(run.supervised, t.task) for t in teachers},
    }
    return {
        group: {name: describe(one) for name, one in of_group.items() if one is not None}
        for group, of_group in found.items()
    }


def _label_counts(run: Run) -> dict[str, SourceCounts] | None:
    """Return the counts of the student's labels; None where they cannot be read."""
    if not run.student.is_there:
        return None
    try:
        return label_counts.count(run)
    except (UserError, DataError) as error:
        warn_once(f"the student's labels are not counted: {error}")
        return None
