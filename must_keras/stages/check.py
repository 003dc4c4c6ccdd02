"""`--stage=check`: where the labels of 1,000 student examples come from."""

from __future__ import annotations

import collections
import json
import sys

import numpy as np

from must_keras.recipe import Recipe
from must_keras.stages import scoring
from must_keras.stages.student import training_set
from must_keras.workdir import Workdir

_EXAMPLES = 1000
# Under this share of labelled images a head learns little from the student's batches.
_LOW_SHARE = 0.25


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Prints {source: {head: {"true", "pseudo", "missing"}}} as JSON."""
    counts = count(recipe, workdir, num_examples=_EXAMPLES)
    for head in (task.name for task in recipe.tasks):
        total = sum((counts[s][head] for s in counts), collections.Counter())
        share = 1.0 - total["missing"] / total.total()
        if share < _LOW_SHARE:
            print(f"warning: only {share:.0%} of images have a label of {head}", file=sys.stderr)
    print(json.dumps(counts, indent=2))


def count(
    recipe: Recipe, workdir: Workdir, *, num_examples: int
) -> dict[str, dict[str, collections.Counter]]:
    """Counts of the labels' origins among examples drawn as the student draws them."""
    examples = training_set(recipe, workdir)
    random = np.random.default_rng(scoring.part_seed(recipe.seed, "check"))
    counts = {
        part.source.name: {
            task.name: collections.Counter(true=0, pseudo=0, missing=0) for task in recipe.tasks
        }
        for part in examples.parts
    }
    for index in random.integers(len(examples), size=num_examples):
        part, local = examples.locate(int(index))
        for head, origin in part.origins(local).items():
            counts[part.source.name][head][origin] += 1
    return counts
