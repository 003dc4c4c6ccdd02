"""The check of a run: the origin of the labels of 1,000 student examples."""

import json

from must_keras.data.examples import count_origins
from must_keras.pseudo_labels import training_set
from must_keras.runs.run import Run
from must_keras.stages.student import warned_shares

_NUM_EXAMPLES = 1000


def check(run: Run) -> None:
    """Print {source: {head: {"true", "pseudo", "missing"}}} as JSON."""
    examples, seed = training_set.of_student(run), run.seed("check")
    counts = count_origins(
        examples, num_examples=_NUM_EXAMPLES, seed=seed, **run.recipe.student.shares
    )
    warned_shares(counts)
    print(json.dumps(counts, indent=2))
