"""Stage 3: one student with all heads, on true labels where there are any and pseudo labels."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from must_keras.data.columns import Column
from must_keras.data.labelled import (
    Labelled,
    PseudoLabels,
    Union,
    count_origins,
    labelled_shares,
)
from must_keras.data.sources import TolerantSource
from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.recipe import Recipe, student_weights
from must_keras.stages import leaks, scoring, thresholds
from must_keras.stages.fitting import fit_part, is_finished
from must_keras.stages.label import sources_to_label, student_sources
from must_keras.training.feed import Feed
from must_keras.training.inference import Predictor
from must_keras.training.model import build_model
from must_keras.training.strategy import is_chief
from must_keras.workdir import Workdir

# Examples of which the origins are counted before training.
_COUNTED = 1000
# Under this share of labelled images a head learns little from the student's batches.
_LOW_SHARE = 0.25

# Raised when the same inputs would give something else than before.
VERSION = 2


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains the student if it is not finished."""
    del only
    part, student = workdir.student, recipe.student
    examples = training_set(recipe, workdir)
    if is_chief():
        thresholds.tell(recipe.teachers, workdir)
    made_from = inputs(recipe, workdir)
    if is_finished(part, made_from):
        print(f"student: finished before, {part.folder}")
        return
    training = student.training
    sourced = student_weights(recipe)
    weights = {name: weight.value for name, weight in sourced.items()}
    seed = scoring.part_seed(recipe.seed, "student")
    origins = count_origins(examples, num_examples=_COUNTED, seed=seed)
    shares = tell_shares(origins)
    for name, weight in sourced.items():
        print(
            f"student: loss weight of {name}: {weight.value:.4g} ({weight.source}), "
            f"{shares[name]:.0%} of images labelled"
        )
    model = build_model(
        recipe.network,
        recipe.tasks,
        seed=seed,
        loss_weights=weights,
        **training.of_model(),
    )
    model.learned_weights = student.weighting.learner(recipe.tasks)
    origin = student.start.tell(student.start.apply(model, recipe.network))
    training.compile(model)
    feed = Feed(examples, recipe.tasks, training, size=recipe.network.size, seed=seed)
    summaries = fit_part(part, made_from, model, feed, training, title="student", origin=origin)
    trained = model.clean_copy()
    if not is_chief():
        return
    trained.save(part.model_path)
    predictor = Predictor(model)
    heads = {}
    for teacher in recipe.teachers:
        task, step = teacher.task, training.steps
        if teacher.sets is None:
            heads[task.name] = {"metrics": {}, "trivial": {}}
            print(f"student, {task.name}: not scored, no labelled set is given")
            continue
        scorer = scoring.Scorer(task, teacher.sets, recipe, size=recipe.network.size)
        metrics = scorer.score(predictor, step=step, summaries=summaries)
        scorer.show(predictor, step=step, summaries=summaries)
        trivial = workdir.teacher(teacher.name).result()["trivial"]
        heads[task.name] = {"metrics": metrics, "trivial": trivial}
        print(f"student, {task.name}: {scoring.headline(metrics)} on test")
    summaries.close()
    part.finish(
        made_from,
        {
            "loss_weights": model.task_weights,
            "loss_weight_sources": {name: weight.source for name, weight in sourced.items()},
            "parameters": model.count_params(),
            "images_seen": training.images_seen,
            "model_sha256": file_sha256(part.model_path),
            "tasks": heads,
            "origins": origins,
        },
    )


def tell_shares(counts: Mapping) -> dict[str, float]:
    """The shares of labelled images by head, with a warning on stderr where one is low."""
    shares = labelled_shares(counts)
    for head, share in shares.items():
        if share < _LOW_SHARE:
            print(f"warning: only {share:.0%} of images have a label of {head}", file=sys.stderr)
    return shares


def inputs(recipe: Recipe, workdir: Workdir) -> dict:
    """What the student depends on: its own values and the columns as they were read.

    Raises:
        UserError: a threshold is to be chosen, and cannot be yet.
    """
    recipe = thresholds.all_resolved(recipe, workdir)
    columns, training = {}, recipe.student.training
    for teacher in recipe.teachers:
        for source in sources_to_label(recipe, teacher):
            part = workdir.labels(teacher.name, source.name)
            columns[f"{teacher.name}/{source.name}"] = part.result()["teacher_sha256"]
    left_out = leaks.left_out(recipe, workdir)
    ids = {name: list(images.values()) for name, images in left_out.items()}
    return {
        "version": VERSION,
        "seed": recipe.seed,
        "network": recipe.network,
        "tasks": recipe.tasks,
        "sources": student_sources(recipe),
        "student": {"training": training, "union": recipe.student.union},
        "start": recipe.student.start.depends_on(recipe.network),
        "loss_weights": student_weights(recipe),
        "thresholds": {teacher.name: teacher.threshold for teacher in recipe.teachers},
        "columns": columns,
        # Only where there are some: what was made without the leak guard stays valid.
        **({"left_out": ids} if ids else {}),
    }


def training_set(recipe: Recipe, workdir: Workdir) -> Union:
    """All that the student learns from: images of the test splits are not among it.

    Raises:
        UserError: a label column is not finished, a threshold cannot be chosen yet, a pool is not
            compared with the test splits, or nothing is left to learn from.
    """
    parts = []
    columns: dict[str, dict[str, PseudoLabels]] = {}
    for teacher in recipe.teachers:
        for source in sources_to_label(recipe, teacher):
            part = workdir.labels(teacher.name, source.name)
            if part.result() is None:
                raise UserError(
                    f"{part.folder} has no finished labels of teacher {teacher.name!r}: "
                    "run --stage=label first"
                )
            columns.setdefault(source.name, {})[teacher.task.name] = PseudoLabels(
                column=Column(part.folder, source),
                threshold=thresholds.resolved(teacher, workdir).threshold,
            )
    left_out = leaks.left_out(recipe, workdir)
    for source in student_sources(recipe):
        readable = TolerantSource(source)
        out = left_out.get(source.name)
        indices = [i for i in range(len(source)) if i not in out] if out else None
        parts.append(
            Labelled(readable, recipe.tasks, columns.get(source.name, {}), indices=indices)
        )
    examples = Union(parts)
    if not len(examples):
        raise UserError("the student has no image to learn from: all are in test splits")
    return examples
