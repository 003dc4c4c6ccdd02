"""Stage 1: a specialized teacher for every task, each on the set that is labeled for it."""

from __future__ import annotations

from typing import Any

from must_keras.config.recipe import AnyTeacher, ExternalTeacher, ImportedLabels, Recipe, Teacher
from must_keras.data.examples import LabeledExamples, ReadableExamples, count_classes
from must_keras.data.examples import untaught as find_untaught
from must_keras.data.sources import TolerantSource
from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.inference import scoring, visualization
from must_keras.inference.external import ExternalPredictor
from must_keras.inference.predictor import Predictor
from must_keras.pseudo_labels.labeler import input_size
from must_keras.pseudo_labels.thresholds import ANSWERS
from must_keras.runs.workdir import Artifact, Workdir
from must_keras.training import untaught
from must_keras.training.fitting import fit_part, is_finished, load_part, save_part
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.model import build_model
from must_keras.training.strategy import chief_says, is_chief
from must_keras.training.summaries import Loggers
from must_keras.training.thresholds import AtPrecision

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


def _train(recipe: Recipe, teacher: Teacher, part: Artifact) -> None:
    task, training, sets = teacher.task, teacher.training, teacher.sets
    made_from, title = inputs(recipe, teacher), f"teacher {teacher.name}"
    seed = scoring.derived_seed(recipe.seed, "teacher", teacher.name)
    model = build_model(recipe.network, [task], seed=seed, **training.of_model())
    parts = teacher.start.apply(model, recipe.network)
    if not training.steps and task.name not in parts:
        raise UserError(
            f"{title}: {teacher.start} has no head {task.name!r} of the same kind and values "
            f"(it gave {', '.join(parts)}), and with steps=0 a new one would know nothing"
        )
    origin = teacher.start.tell(parts)
    images = scoring.labeled(sets.train, task, recipe)
    if training.steps:
        untaught.find(model, images, copied=parts, title=title, is_chief=is_chief())
        training.compile(model)
        feed = InputPipeline(images, [task], training, size=recipe.network.size, seed=seed)
        summaries = fit_part(part, made_from, model, feed, training, title=title, origin=origin)
    else:
        untaught.of_start(model, teacher.start, title=title, is_chief=is_chief())
        summaries = Loggers(part.begin(made_from) if is_chief() else None)
    left_out = model.untaught.get(task.name, ())
    trained = model.clean_copy()
    if not is_chief():
        return
    save_part(part, trained)
    predictor = Predictor(model)
    size, step = recipe.network.size, training.steps
    scorer = scoring.Scorer(task, sets, recipe, size=size, untaught=left_out)
    metrics = scorer.score(predictor, step=step, summaries=summaries)
    scorer.show(predictor, step=step, summaries=summaries)
    summaries.close()
    trivial = scorer.trivial()
    scorer.tell_warnings(title)
    result = _result(teacher, metrics, trivial) | _counts(teacher, scorer, part)
    result |= {
        "untaught": list(left_out),
        "parameters": model.count_params(),
        "images_seen": training.images_seen,
        "model_sha256": file_sha256(part.model_path),
    }
    part.finish(made_from, result)


def _score(recipe: Recipe, teacher: ExternalTeacher | ImportedLabels, part: Artifact) -> None:
    """There is nothing to train; where a set is given, it says how good a model is.

    Labels say nothing of the set's images: what they are worth shows in the student's head.
    """
    task, folder = teacher.task, part.begin(inputs(recipe, teacher))
    metrics: dict[str, float | None] = {}
    trivial: dict[str, float | None] = {}
    more: dict[str, Any] = {}
    title, size = f"teacher {teacher.name}", input_size(recipe, teacher)
    predictor = None
    if isinstance(teacher, ExternalTeacher):
        predictor = ExternalPredictor(teacher.model, task, (size, size))
    left_out = _left_out(teacher, predictor)
    if teacher.sets is not None:
        scorer = scoring.Scorer(task, teacher.sets, recipe, size=size, untaught=left_out)
        if predictor is not None:
            summaries = Loggers(folder)
            metrics = scorer.score(predictor, step=0, summaries=summaries)
            scorer.show(predictor, step=0, summaries=summaries)
            summaries.close()
            scorer.tell_warnings(title)
        trivial = scorer.trivial()
        more = _counts(teacher, scorer, part)
    result = _result(teacher, metrics, trivial) | {"parameters": None, "images_seen": None} | more
    part.finish(inputs(recipe, teacher), result | {"untaught": list(left_out)})


def _left_out(
    teacher: ExternalTeacher | ImportedLabels, predictor: ExternalPredictor | None
) -> tuple[str, ...]:
    """Return the outputs that a model does not give, or labels do not contain; prints which.

    Raises:
        UserError: labels contain nothing at all.
    """
    task, title = teacher.task, f"teacher {teacher.name}"
    if predictor is not None:
        given = predictor.check()
        found = tuple(part for part in task.teachable if part not in given)
        why = "the model predicts none"
    else:
        examples = ReadableExamples(teacher.labels, [task])
        found = find_untaught(examples, [task]).get(task.name, ())
        untaught.refuse(task, found, title=title, count=len(examples))
        why = "no label has any"
    for part in found:
        print(f"{title}: {part} of head {task.name!r} are not labeled: {why}")
    return found


def _counts(teacher: AnyTeacher, scorer: scoring.Scorer, part: Artifact) -> dict:
    """How sure its answers were, and what its set holds."""
    _keep_answers(scorer, part)
    images, task = teacher.sets.train, teacher.task
    counted = visualization.spread(_COUNTED, len(images))
    examples = LabeledExamples(TolerantSource(images, labels=True), [task])
    return {
        "reliability": scorer.reliability.result(),
        "class_counts": count_classes(examples, task, indices=counted),
        "counted": len(counted),
    }


def _keep_answers(scorer: scoring.Scorer, part: Artifact) -> None:
    """Writes what thresholds are chosen by, and the report draws."""
    if scorer.answers is not None:
        scorer.answers.save(part.folder / ANSWERS)


def _count_answers(recipe: Recipe, teacher: AnyTeacher, part: Artifact) -> None:
    """Sees validation images again, where thresholds are to be chosen and nobody has counted."""
    if not isinstance(teacher.threshold, AtPrecision) or chief_says(
        (part.folder / ANSWERS).is_file
    ):
        return
    task, size = teacher.task, input_size(recipe, teacher)
    print(f"teacher {teacher.name}: its answers to validation images are counted")
    predictor: Predictor | ExternalPredictor
    if isinstance(teacher, ExternalTeacher):
        predictor = ExternalPredictor(teacher.model, task, (size, size))
    else:
        # Every process loads it: variables are made by all of them together.
        predictor = Predictor(load_part(part))
    if is_chief():
        scorer = scoring.Scorer(task, teacher.sets, recipe, size=size)
        scorer.score(predictor, step=0, summaries=Loggers(None), splits=("validation",))
        _keep_answers(scorer, part)


def _result(teacher: AnyTeacher, metrics: dict, trivial: dict) -> dict:
    """What every kind of teacher says of themselves; told on stdout too."""
    if metrics:
        print(
            f"teacher {teacher.name}: {scoring.headline(metrics)} on test "
            f"(without looking: {scoring.headline(trivial)})"
        )
    elif isinstance(teacher, ImportedLabels):
        print(f"teacher {teacher.name}: labels that exist. Who made them: {teacher.origin}")
    else:
        print(f"teacher {teacher.name}: not scored, no labeled set is given")
    return {
        "task": teacher.task.name,
        "kind": teacher.task.kind,
        "metrics": metrics,
        "trivial": trivial,
    }
