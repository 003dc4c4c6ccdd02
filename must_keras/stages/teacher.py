"""Stage 1: a specialised teacher for every task, each on the set that is labelled for it."""

from __future__ import annotations

from must_keras.data.labelled import Labelled
from must_keras.recipe import Recipe, Teacher
from must_keras.stages import scoring
from must_keras.training.inference import Predictor
from must_keras.training.model import build_model
from must_keras.training.summaries import Summaries
from must_keras.training.trainer import compile_model, fit
from must_keras.workdir import Part, Workdir


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains the teachers that are not finished."""
    for teacher in selected(recipe.teachers, only):
        part = workdir.teacher(teacher.name)
        if part.is_finished(inputs(recipe, teacher)):
            print(f"teacher {teacher.name}: finished before, {part.folder}")
        else:
            _train(recipe, teacher, part)


def selected(items: tuple, only: tuple[str, ...]) -> tuple:
    """Those that `only` names; all of them where it names none of their kind."""
    return tuple(item for item in items if item.name in only) or items


def inputs(recipe: Recipe, teacher: Teacher) -> dict:
    """What a teacher depends on."""
    return {
        "seed": recipe.seed,
        "network": recipe.network,
        "task": teacher.task,
        "sets": teacher.sets,
        "training": teacher.training,
    }


def _train(recipe: Recipe, teacher: Teacher, part: Part) -> None:
    task, training, sets = teacher.task, teacher.training, teacher.sets
    folder = part.begin()
    seed = scoring.part_seed(recipe.seed, "teacher", teacher.name)
    model = build_model(
        recipe.network, [task], seed=seed, norm=training.norm(), clip_norm=training.clip_norm
    )
    compile_model(model, training)
    summaries = Summaries(folder)
    fit(
        model,
        Labelled(sets.train, [task]),
        training,
        seed=seed,
        title=f"teacher {teacher.name}",
        folder=folder,
        summaries=summaries,
    )
    model.clean_copy().save(part.model_path)
    predictor = Predictor(model)
    metrics = scoring.score(predictor, task, sets, recipe, step=training.steps, summaries=summaries)
    scoring.show(predictor, task, sets.validation, recipe, step=training.steps, summaries=summaries)
    summaries.close()
    trivial = scoring.trivial(task, sets, recipe)
    part.finish(
        inputs(recipe, teacher),
        {
            "task": task.name,
            "kind": task.kind,
            "parameters": model.count_params(),
            "images_seen": training.images_seen,
            "metrics": metrics,
            "trivial": trivial,
        },
    )
    print(
        f"teacher {teacher.name}: {scoring.headline(metrics)} on test "
        f"(without looking: {scoring.headline(trivial)})"
    )
