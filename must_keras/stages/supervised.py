"""A baseline: the student's network, trained on true labels alone."""

from __future__ import annotations

from must_keras.config.recipe import Recipe, student_weights
from must_keras.pseudo_labels import examples
from must_keras.runs.workdir import Workdir
from must_keras.stages.student import fit_heads

# Raised when the same inputs would give something else than before.
VERSION = 2


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains it if a transfer starts from it and it is not finished.

    Heads, loss weights and start are the student's; a head of which no source has a true label,
    as that of a teacher that somebody else trained, is left out.
    """
    del only
    training = recipe.wanted_supervised
    if training is None:
        return
    sources, teachers = recipe.labeled_sources, recipe.labeled_teachers
    fit_heads(
        recipe,
        workdir,
        workdir.supervised,
        inputs(recipe, workdir),
        examples.union(
            sources,
            [teacher.task for teacher in teachers],
            left_out=examples.left_out(recipe, workdir, sources),
            who="the supervised baseline",
        ),
        training,
        teachers=teachers,
        title="supervised",
    )


def inputs(recipe: Recipe, workdir: Workdir) -> dict:
    """What it depends on: sources with their true labels, and nothing of the teachers' weights.

    Raises:
        UserError: a pool with true labels is not compared with the test splits yet.
    """
    sources, teachers = recipe.labeled_sources, recipe.labeled_teachers
    weights = student_weights(recipe)
    return {
        "version": VERSION,
        "seed": recipe.seed,
        "network": recipe.network,
        "tasks": [teacher.task.before_reading() for teacher in teachers],
        "sources": sources,
        "training": recipe.supervised,
        "start": recipe.student.start.depends_on(recipe.network),
        "loss_weights": {teacher.task.name: weights[teacher.task.name] for teacher in teachers},
    } | examples.as_inputs(examples.left_out(recipe, workdir, sources))
