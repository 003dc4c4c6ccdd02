"""Stage 3: one student with all heads, on true labels where there are any and pseudo labels."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from must_keras.config.recipe import AnyTeacher, Recipe, student_weights
from must_keras.data.examples import (
    ConcatenatedExamples,
    PseudoLabels,
    count_origins,
    labeled_shares,
)
from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.inference import scoring
from must_keras.inference.predictor import Predictor
from must_keras.pseudo_labels import examples, thresholds
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.workdir import Artifact, Workdir
from must_keras.stages.label import sources_to_label, student_sources
from must_keras.training import untaught
from must_keras.training.config import TrainingConfig
from must_keras.training.fitting import fit_part, is_finished, save_part
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.model import build_model
from must_keras.training.strategy import is_chief

# Examples of which the origins are counted before training.
_COUNTED = 1000
# Under this share of labeled images a head learns little from the student's batches.
_LOW_SHARE = 0.25

# Raised when the same inputs would give something else than before.
VERSION = 3


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains the student if it is not finished."""
    del only
    images = training_set(recipe, workdir)
    if is_chief():
        thresholds.tell(recipe.teachers, workdir)
    fit_heads(
        recipe,
        workdir,
        workdir.student,
        inputs(recipe, workdir),
        images,
        recipe.student.training,
        teachers=recipe.teachers,
        title="student",
    )


def fit_heads(
    recipe: Recipe,
    workdir: Workdir,
    part: Artifact,
    made_from: dict,
    images: ConcatenatedExamples,
    training: TrainingConfig,
    *,
    teachers: Sequence[AnyTeacher],
    title: str,
) -> None:
    """Trains one network with these teachers' heads, scores it and finishes its part.

    Loss weights, their way of learning and start are the student's. A part that is finished stays.

    Args:
        recipe: the run's values.
        workdir: the run's folder.
        part: what is made.
        made_from: what it depends on.
        images: what it learns from.
        training: its run.
        teachers: whose tasks are learned and on whose sets they are scored.
        title: what it is called on the way; its random numbers are its own.
    """
    if is_finished(part, made_from):
        print(f"{title}: finished before, {part.folder}")
        return
    tasks, start = [teacher.task for teacher in teachers], recipe.student.start
    sourced = student_weights(recipe)
    weights = {task.name: sourced[task.name].value for task in tasks}
    seed = scoring.derived_seed(recipe.seed, title)
    origins = count_origins(images, num_examples=_COUNTED, seed=seed)
    shares = tell_shares(origins)
    for name, value in weights.items():
        print(
            f"{title}: loss weight of {name}: {value:.4g} ({sourced[name].source}), "
            f"{shares[name]:.0%} of images labeled"
        )
    model = build_model(
        recipe.network,
        tasks,
        seed=seed,
        loss_weights=weights,
        **training.of_model(),
    )
    model.learned_weights = recipe.student.weighting.learner(tasks)
    copied = start.apply(model, recipe.network)
    origin = start.tell(copied)
    left_out = untaught.find(model, images, copied=copied, title=title, is_chief=is_chief())
    training.compile(model)
    feed = InputPipeline(images, tasks, training, size=recipe.network.size, seed=seed)
    summaries = fit_part(part, made_from, model, feed, training, title=title, origin=origin)
    trained = model.clean_copy()
    if not is_chief():
        return
    save_part(part, trained)
    predictor = Predictor(model)
    heads = {}
    for teacher in teachers:
        task, step = teacher.task, training.steps
        if teacher.sets is None:
            heads[task.name] = {"metrics": {}, "trivial": {}}
            print(f"{title}, {task.name}: not scored, no labeled set is given")
            continue
        size, parts = recipe.network.size, left_out.get(task.name, ())
        scorer = scoring.Scorer(task, teacher.sets, recipe, size=size, untaught=parts)
        metrics = scorer.score(predictor, step=step, summaries=summaries)
        scorer.show(predictor, step=step, summaries=summaries)
        known = workdir.teacher(teacher.name).result()
        scorer.tell_warnings(f"{title}, {task.name}")
        # What the teacher was not scored on, its baseline was not either.
        trivial = known["trivial"] if known else {}
        if set(trivial) >= set(metrics):
            trivial = {metric: value for metric, value in trivial.items() if metric in metrics}
        else:
            trivial = scorer.trivial()
        heads[task.name] = {"metrics": metrics, "trivial": trivial}
        print(f"{title}, {task.name}: {scoring.headline(metrics)} on test")
    summaries.close()
    part.finish(
        made_from,
        {
            "loss_weights": model.task_weights,
            "loss_weight_sources": {name: sourced[name].source for name in weights},
            "parameters": model.count_params(),
            "images_seen": training.images_seen,
            "model_sha256": file_sha256(part.model_path),
            "tasks": heads,
            "origins": origins,
            "untaught": left_out,
        },
    )


def tell_shares(counts: Mapping) -> dict[str, float]:
    """The shares of labeled images by head, with a warning on stderr where one is low."""
    shares = labeled_shares(counts)
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
    sources = student_sources(recipe)
    return {
        "version": VERSION,
        "seed": recipe.seed,
        "network": recipe.network,
        "tasks": recipe.tasks,
        "sources": sources,
        "student": {"training": training, "union": recipe.student.union},
        "start": recipe.student.start.depends_on(recipe.network),
        "loss_weights": student_weights(recipe),
        "thresholds": {teacher.name: teacher.threshold for teacher in recipe.teachers},
        "columns": columns,
    } | examples.as_inputs(examples.left_out(recipe, workdir, sources))


def training_set(recipe: Recipe, workdir: Workdir) -> ConcatenatedExamples:
    """All that the student learns from: images of the test splits are not among it.

    Raises:
        UserError: a label column is not finished, a threshold cannot be chosen yet, a pool is not
            compared with the test splits, or nothing is left to learn from.
    """
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
                column=PseudoLabelReader(part.folder, source, teacher.task),
                threshold=thresholds.resolved(teacher, workdir).threshold,
            )
    sources = student_sources(recipe)
    left_out = examples.left_out(recipe, workdir, sources)
    return examples.union(
        sources, recipe.tasks, left_out=left_out, who="the student", columns=columns
    )
