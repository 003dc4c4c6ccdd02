"""`--stage=check`: where the labels of 1,000 student examples come from."""

from __future__ import annotations

import json

from must_keras.config.recipe import Recipe
from must_keras.data.examples import count_origins
from must_keras.inference import scoring
from must_keras.runs.workdir import Workdir
from must_keras.stages.student import tell_shares, training_set

_EXAMPLES = 1000


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Prints {source: {head: {"true", "pseudo", "missing"}}} as JSON."""
    seed = scoring.derived_seed(recipe.seed, "check")
    counts = count_origins(training_set(recipe, workdir), num_examples=_EXAMPLES, seed=seed)
    tell_shares(counts)
    print(json.dumps(counts, indent=2))
