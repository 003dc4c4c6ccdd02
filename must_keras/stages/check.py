"""The check of a run: the origin of the labels of 1,000 student examples."""

import logging
from collections.abc import Mapping

from must_keras.data.examples import count_origins
from must_keras.pseudo_labels import training_set
from must_keras.runs.run import Run
from must_keras.stages.student import Student, repeated, warned_shares

_NUM_EXAMPLES = 1000
_ORIGINS = ("true", "pseudo", "missing")

Counts = Mapping[str, Mapping[str, Mapping[str, int]]]
"""{source: {head: {"true", "pseudo", "missing": images}}}."""


def check(run: Run) -> Counts:
    """Return how many of the student's examples have a label of each head, by its origin."""
    examples, seed = training_set.of_student(run), run.seed("check")
    # What is printed may be read as JSON: no line of a log.
    examples = repeated(run, run.recipe.student, examples, title=Student.name, level=logging.DEBUG)
    counts = count_origins(
        examples, num_examples=_NUM_EXAMPLES, seed=seed, **run.recipe.student.shares
    )
    warned_shares(counts)
    return counts


def print_table(counts: Counts) -> None:
    """Print a line for every source and head.

    Example:
        >>> print_table({"garden": {"objects": {"true": 700, "pseudo": 0, "missing": 300}}})
        source  head     ground truth  pseudo  missing
        garden  objects           700       0      300
    """
    lines = [("source", "head", "ground truth", "pseudo", "missing")]
    for source, heads in counts.items():
        for head, found in heads.items():
            lines.append((source, head, *(f"{found[origin]:,}" for origin in _ORIGINS)))
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    for source, head, *numbers in lines:
        cells = [source.ljust(widths[0]), head.ljust(widths[1])]
        cells += [number.rjust(width) for number, width in zip(numbers, widths[2:], strict=True)]
        print("  ".join(cells))
