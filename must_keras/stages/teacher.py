"""Stage 1: a specialised teacher for every task, each on the set that is labelled for it."""

from __future__ import annotations

from typing import Any

from must_keras.data.labelled import Labelled, count_classes
from must_keras.data.sources import TolerantSource
from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.recipe import AnyTeacher, ForeignLabels, ForeignTeacher, Recipe, Teacher
from must_keras.stages import scoring
from must_keras.stages.fitting import fit_part, is_finished, load_part
from must_keras.stages.labelling import input_size
from must_keras.stages.thresholds import ANSWERS
from must_keras.training import pictures
from must_keras.training.feed import Feed
from must_keras.training.foreign import ForeignPredictor
from must_keras.training.inference import Predictor
from must_keras.training.model import build_model
from must_keras.training.strategy import chief_says, is_chief
from must_keras.training.summaries import Summaries
from must_keras.training.thresholds import AtPrecision
from must_keras.workdir import Part, Workdir

# Raised when the same inputs would give something else than before.
VERSION = 3
# Training images whose classes are counted.
_COUNTED = 512


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Trains the teachers that are not finished."""
    for teacher in selected(recipe.teachers, only):
        part = workdir.teacher(teacher.name)
        if is_finished(part, inputs(recipe, teacher)):
            print(f"teacher {teacher.name}: finished before, {part.folder}")
            _count_answers(recipe, teacher, part)
        elif isinstance(teacher, Teacher):
            _train(recipe, teacher, part)
        elif is_chief():
            _score(recipe, teacher, part)


def selected(items: tuple, only: tuple[str, ...]) -> tuple:
    """Those that `only` names; all of them where it names none of their kind."""
    return tuple(item for item in items if item.name in only) or items


def inputs(recipe: Recipe, teacher: AnyTeacher) -> dict:
    """What a teacher depends on."""
    return {"version": VERSION} | teacher.depends_on(recipe)


def _train(recipe: Recipe, teacher: Teacher, part: Part) -> None:
    task, training, sets = teacher.task, teacher.training, teacher.sets
    made_from, title = inputs(recipe, teacher), f"teacher {teacher.name}"
    seed = scoring.part_seed(recipe.seed, "teacher", teacher.name)
    model = build_model(recipe.network, [task], seed=seed, **training.of_model())
    parts = teacher.start.apply(model, recipe.network)
    if not training.steps and task.name not in parts:
        raise UserError(
            f"{title}: {teacher.start} has no head {task.name!r} of the same kind and values "
            f"(it gave {', '.join(parts)}), and with steps=0 a new one would know nothing"
        )
    origin = teacher.start.tell(parts)
    if training.steps:
        training.compile(model)
        images = scoring.labelled(sets.train, task, recipe)
        feed = Feed(images, [task], training, size=recipe.network.size, seed=seed)
        summaries = fit_part(part, made_from, model, feed, training, title=title, origin=origin)
    else:
        summaries = Summaries(part.begin() if is_chief() else None)
    trained = model.clean_copy()
    if not is_chief():
        return
    trained.save(part.model_path)
    predictor = Predictor(model)
    scorer, step = scoring.Scorer(task, sets, recipe, size=recipe.network.size), training.steps
    metrics = scorer.score(predictor, step=step, summaries=summaries)
    scorer.show(predictor, step=step, summaries=summaries)
    summaries.close()
    trivial = scorer.trivial()
    result = _result(teacher, metrics, trivial) | _counts(teacher, scorer, part)
    result |= {
        "parameters": model.count_params(),
        "images_seen": training.images_seen,
        "model_sha256": file_sha256(part.model_path),
    }
    part.finish(made_from, result)


def _score(recipe: Recipe, teacher: ForeignTeacher | ForeignLabels, part: Part) -> None:
    """There is nothing to train; where a set is given, it says how good a model is.

    Labels say nothing of the set's images: what they are worth shows in the student's head.
    """
    task, folder = teacher.task, part.begin()
    metrics: dict[str, float | None] = {}
    trivial: dict[str, float | None] = {}
    more: dict[str, Any] = {}
    if teacher.sets is not None:
        size = input_size(recipe, teacher)
        scorer = scoring.Scorer(task, teacher.sets, recipe, size=size)
        if isinstance(teacher, ForeignTeacher):
            predictor = ForeignPredictor(teacher.model, task, (size, size))
            summaries = Summaries(folder)
            metrics = scorer.score(predictor, step=0, summaries=summaries)
            scorer.show(predictor, step=0, summaries=summaries)
            summaries.close()
        trivial = scorer.trivial()
        more = _counts(teacher, scorer, part)
    result = _result(teacher, metrics, trivial) | {"parameters": None, "images_seen": None} | more
    part.finish(inputs(recipe, teacher), result)


def _counts(teacher: AnyTeacher, scorer: scoring.Scorer, part: Part) -> dict:
    """How sure its answers were, and what its set holds."""
    _keep_answers(scorer, part)
    images, task = teacher.sets.train, teacher.task
    counted = pictures.spread(_COUNTED, len(images))
    examples = Labelled(TolerantSource(images, labels=True), [task])
    return {
        "reliability": scorer.reliability.result(),
        "class_counts": count_classes(examples, task, indices=counted),
        "counted": len(counted),
    }


def _keep_answers(scorer: scoring.Scorer, part: Part) -> None:
    """Writes what thresholds are chosen by, and the report draws."""
    if scorer.answers is not None:
        scorer.answers.save(part.folder / ANSWERS)


def _count_answers(recipe: Recipe, teacher: AnyTeacher, part: Part) -> None:
    """Sees validation images again, where thresholds are to be chosen and nobody has counted."""
    if not isinstance(teacher.threshold, AtPrecision) or chief_says(
        (part.folder / ANSWERS).is_file
    ):
        return
    task, size = teacher.task, input_size(recipe, teacher)
    print(f"teacher {teacher.name}: its answers to validation images are counted")
    predictor: Predictor | ForeignPredictor
    if isinstance(teacher, ForeignTeacher):
        predictor = ForeignPredictor(teacher.model, task, (size, size))
    else:
        # Every process loads it: variables are made by all of them together.
        predictor = Predictor(load_part(part))
    if is_chief():
        scorer = scoring.Scorer(task, teacher.sets, recipe, size=size)
        scorer.score(predictor, step=0, summaries=Summaries(None), splits=("validation",))
        _keep_answers(scorer, part)


def _result(teacher: AnyTeacher, metrics: dict, trivial: dict) -> dict:
    """What every kind of teacher says of themselves; told on stdout too."""
    if metrics:
        print(
            f"teacher {teacher.name}: {scoring.headline(metrics)} on test "
            f"(without looking: {scoring.headline(trivial)})"
        )
    elif isinstance(teacher, ForeignLabels):
        print(f"teacher {teacher.name}: labels that exist. Who made them: {teacher.origin}")
    else:
        print(f"teacher {teacher.name}: not scored, no labelled set is given")
    return {
        "task": teacher.task.name,
        "kind": teacher.task.kind,
        "metrics": metrics,
        "trivial": trivial,
    }
