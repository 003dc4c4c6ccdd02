"""`--stage=check`: where the labels of 1,000 student examples come from."""

from __future__ import annotations

import json

from must_keras.data.labelled import count_origins
from must_keras.recipe import Recipe
from must_keras.stages import scoring
from must_keras.stages.student import tell_shares, training_set
from must_keras.workdir import Workdir

_EXAMPLES = 1000


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Prints {source: {head: {"true", "pseudo", "missing"}}} as JSON."""
    seed = scoring.part_seed(recipe.seed, "check")
    counts = count_origins(training_set(recipe, workdir), num_examples=_EXAMPLES, seed=seed)
    tell_shares(counts)
    print(json.dumps(counts, indent=2))
