"""What a report finds in a run's data beside the results of its artifacts."""

import dataclasses
from typing import Any

from must_keras.errors import DataError, UserError, warn_once
from must_keras.pseudo_labels import label_counts
from must_keras.pseudo_labels.label_counts import SourceCounts
from must_keras.report import evidence
from must_keras.runs import set_counts
from must_keras.runs.run import Run


def of(run: Run) -> dict[str, Any]:
    """Return values of report.json.

    Returns:
        {"shortfalls": heads of the student that learned little, see analysis.shortfalls,
        "label_counts": {source: origins of its labels}, see pseudo_labels.label_counts; None
        before the student is complete,
        "odd_sets": {source: images without a label, and copies}, see runs.set_counts}.
    """
    counts, odd = _label_counts(run), set_counts.of_recipe(run.recipe)
    return {
        "shortfalls": [found.describe() for found in evidence.find(run, counts)],
        "label_counts": counts and {k: dataclasses.asdict(found) for k, found in counts.items()},
        "odd_sets": {name: dataclasses.asdict(found) for name, found in odd.items()},
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
