"""The fully supervised baseline: the student's network, trained on ground truth alone."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from must_keras.pseudo_labels import leakage, training_set
from must_keras.runs.artifact import Artifact
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.stages.student import fit_heads, starting_teacher, validation_inputs

# Raised when the same inputs would give something else than before.
VERSION = 2


def artifact(run: Run) -> Artifact:
    """Declare the baseline: it depends on ground truth, and on no teacher's weights."""
    recipe, sources = run.recipe, run.recipe.labeled_sources

    def find_inputs() -> dict[str, Any] | None:
        if not leakage.is_known(run, sources) or not run.can_start(recipe.student.start):
            return None
        tasks, weights = [t.task for t in recipe.labeled_teachers], recipe.loss_weights()
        validation = validation_inputs(recipe.supervised, recipe.labeled_teachers)
        return (
            validation
            | {
                "version": VERSION,
                "seed": recipe.seed,
                "network": recipe.network,
                "tasks": [task.before_reading() for task in tasks],
                "sources": sources,
                "training": recipe.supervised,
                "start": run.initialization(recipe.student.start).depends_on(recipe.network),
                "loss_weights": {task.name: weights[task.name] for task in tasks},
            }
            | training_set.inputs(run, sources)
        )

    needs = (*leakage.artifacts(run, sources), *starting_teacher(run))
    return run.supervised.declare(stage=Supervised.name, find_inputs=find_inputs, needs=needs)


class Supervised(Stage):
    """The baseline, where a transfer starts from it.

    Heads, loss weights and start are the student's; a head without ground truth in any source, as
    that of an external teacher, is left out. The student's options are those of its pseudo labels
    or its own: see `Student.on_ground_truth`.

    Example:
        Supervised().is_wanted(run)  # whether "supervised" is among the recipe's starts
    """

    name = "supervised"
    by_all_workers = True
    reads_pools = True

    def is_wanted(self, run: Run) -> bool:
        return run.recipe.wanted_supervised is not None

    def artifacts(self, run: Run) -> Iterator[Artifact]:
        yield artifact(run)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        recipe, teachers = run.recipe, run.recipe.labeled_teachers
        tasks = [teacher.task for teacher in teachers]
        images = training_set.examples(
            run, recipe.labeled_sources, tasks, title="the supervised baseline"
        )
        student = recipe.student.on_ground_truth(recipe.supervised)
        student = dataclasses.replace(student, start=run.initialization(student.start))
        named = {"network": recipe.network, "teachers": teachers, "title": self.name}
        for one in pending:
            fit_heads(run, one, images, student, **named)

    def report(self, run: Run) -> dict[str, Any]:
        return {"supervised": run.supervised.result() if self.is_wanted(run) else None}


STAGE = Supervised()
