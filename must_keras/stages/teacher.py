"""Stage 1: a specialized teacher for every task, each on the set that is labeled for it."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from must_keras.config.teachers import AnyTeacher, Teacher
from must_keras.data.examples import ConcatenatedExamples, LabeledExamples, count_classes
from must_keras.data.sources import TolerantSource
from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.inference import scoring, visualization
from must_keras.inference.predictor import Predictor
from must_keras.log import LOG
from must_keras.runs.artifact import Artifact
from must_keras.runs.marks import PREDICTION_COUNTS
from must_keras.runs.results import Metrics, Reliability, TeacherResult
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.tasks.base import Task
from must_keras.training import untaught
from must_keras.training.building import build_model
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import Loggers
from must_keras.training.loop import fit, save_artifact
from must_keras.training.strategy import broadcast_from_chief, is_chief

# Raised when the same inputs would give something else than before.
VERSION = 3
# Training images whose classes are counted.
_MAX_COUNTED_IMAGES = 512


def artifact(run: Run, teacher: AnyTeacher) -> Artifact:
    """Declare a teacher."""
    recipe = run.recipe
    return run.teacher(teacher.name).declare(
        stage=Teachers.name,
        name=teacher.name,
        group=teacher.name,
        find_inputs=lambda: {"version": VERSION} | teacher.depends_on(recipe.network, recipe.seed),
        restarts=not teacher.resumes,
    )


class Teachers(Stage):
    """The teachers: trained here, or external ones that are scored where a set is given.

    Example:
        [artifact.name for artifact in Teachers().artifacts(run)]  # ["shapes", "objects"]
    """

    name = "teacher"
    folder = "teachers"
    by_all_workers = True

    def artifacts(self, run: Run) -> Iterator[Artifact]:
        for teacher in run.recipe.teachers:
            yield artifact(run, teacher)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        for one in pending:
            teacher = run.recipe.teacher(one.name)
            if teacher.is_trained_here:
                _train(run, teacher, one)
            elif is_chief():
                _score(run, teacher, one)

    def revisit(self, run: Run, artifact: Artifact) -> None:
        """Predict from validation images again where thresholds are newly to be chosen."""
        teacher, path = run.recipe.teacher(artifact.name), artifact.folder / PREDICTION_COUNTS
        if teacher.rule is None or broadcast_from_chief(path.is_file):
            return
        LOG.info(f"teacher {teacher.name}: its predictions for validation images are counted")
        # Every process loads it: variables are made by all of them together.
        predictor = teacher.predictor(artifact.model_path)
        if is_chief():
            size = teacher.input_size(run.recipe.network)
            scorer = run.scorer(teacher.task, teacher.sets, size=size)
            scorer.score(predictor, step=0, loggers=Loggers(None), splits=("validation",))
            scorer.prediction_counts.save(path)

    def report(self, run: Run) -> dict[str, Any]:
        results = {t.name: run.teacher(t.name).result() for t in run.recipe.teachers}
        return {"teachers": {name: result for name, result in results.items() if result}}


STAGE = Teachers()


def _train(run: Run, teacher: Teacher, artifact: Artifact) -> None:
    recipe, task = run.recipe, teacher.task
    title, seed = f"teacher {teacher.name}", run.seed("teacher", teacher.name)
    images = run.labeled(teacher.sets.train, task)
    if teacher.repeat_factors is not None and not teacher.training.keeps_weights:
        options = {"seed": run.seed("repeat_factors", teacher.name), "title": title}
        once = ConcatenatedExamples([images])
        (images,) = teacher.repeat_factors.repeated(once, **options).parts
    training = teacher.training.for_images(len(images), title=title)
    network = teacher.network or recipe.network
    model = build_model(network, [task], seed=seed, **training.of_model())
    parts = teacher.start.apply(model, network)
    if not training.steps and task.name not in parts:
        raise UserError(
            f"{title}: {teacher.start} has no head {task.name!r} of the same kind and values "
            f"(it has {', '.join(parts)}), and with steps=0 a new one would stay untrained"
        )
    origin = teacher.start.tell(parts)
    if training.steps:
        untaught.find(model, images, copied=parts, title=title)
        training.compile(model)
        feed = InputPipeline(images, [task], training, size=network.size, seed=seed)
        best = run.best_weights(model, [teacher], training, title=title)
        told = {"title": title, "origin": origin, "best": best}
        loggers = fit(artifact, model, feed, training, **told)
    else:
        untaught.of_start(model, teacher.start, title=title)
        best = None
        loggers = Loggers(artifact.begin() if is_chief() else None, training.loggers)
        loggers.inputs(title, artifact.inputs or {})
    left_out = model.untaught.get(task.name, ())
    kept = None if best is None else best.kept()
    training = training if kept is None else dataclasses.replace(training, steps=kept.trained)
    trained = model.clean_copy()
    if not is_chief():
        return
    save_artifact(artifact, trained)
    scorer = run.scorer(task, teacher.sets, size=network.size, untaught=left_out)
    metrics = _measure(scorer, Predictor(model), training.steps, loggers, title)
    trivial = scorer.trivial()
    _print_scores(title, metrics, trivial)
    of_training = {
        "parameters": model.count_params(),
        "images_seen": training.images_seen,
        "model_sha256": file_sha256(artifact.model_path),
        "steps": training.steps if teacher.training.epochs else None,
        "kept": kept,
    }
    counts = _counts(teacher, scorer, artifact)
    artifact.finish(_result(task, metrics, trivial, left_out, counts | of_training))


def _score(run: Run, teacher: AnyTeacher, artifact: Artifact) -> None:
    """Score a teacher that is not trained here, where it predicts and a labeled set is given.

    Imported labels are not of the set's images: what they are worth shows in the student's head.
    """
    task, title = teacher.task, f"teacher {teacher.name}"
    artifact.begin()
    metrics: dict[str, float | None] = {}
    trivial: dict[str, float | None] = {}
    counts: dict[str, Any] = {"reliability": None, "class_counts": None, "counted": 0}
    predictor = teacher.predictor(artifact.model_path) if teacher.predicts else None
    left_out = teacher.unlabeled_outputs(predictor)
    for output, why in left_out.items():
        LOG.info(f"{title}: {output} of head {task.name!r} are not labeled: {why}")
    if teacher.sets is not None:
        size = teacher.input_size(run.recipe.network)
        scorer = run.scorer(task, teacher.sets, size=size, untaught=left_out)
        if predictor is not None:
            loggers = Loggers(artifact.folder)
            loggers.inputs(title, artifact.inputs or {})
            metrics = _measure(scorer, predictor, 0, loggers, title)
        trivial = scorer.trivial()
        counts = _counts(teacher, scorer, artifact)
    if metrics:
        _print_scores(title, metrics, trivial)
    elif teacher.origin is not None:
        LOG.info(f"{title}: imported labels, made by: {teacher.origin}")
    else:
        LOG.info(f"{title}: not scored, no labeled set is given")
    of_training = dict.fromkeys(("parameters", "images_seen", "model_sha256"))
    artifact.finish(_result(task, metrics, trivial, left_out, counts | of_training))


def _result(
    task: Task, metrics: Metrics, trivial: Metrics, left_out: Iterable[str], more: dict[str, Any]
) -> TeacherResult:
    return TeacherResult(
        task=task.name,
        kind=task.kind,
        metrics=metrics,
        trivial=trivial,
        untaught=list(left_out),
        **more,
    )


def _measure(
    scorer: scoring.Scorer, predictor: Any, step: int, loggers: Loggers, title: str
) -> dict[str, float | None]:
    metrics = scorer.score(predictor, step=step, loggers=loggers, details=loggers.folder)
    scorer.visualize(predictor, step=step, loggers=loggers)
    loggers.close()
    scorer.print_warnings(title)
    return metrics


def _counts(teacher: AnyTeacher, scorer: scoring.Scorer, artifact: Artifact) -> dict[str, Any]:
    """Return how reliable its scores are and what its set contains; keep scored predictions."""
    if scorer.prediction_counts is not None:
        scorer.prediction_counts.save(artifact.folder / PREDICTION_COUNTS)
    images, task = teacher.sets.train, teacher.task
    indices = visualization.spread(_MAX_COUNTED_IMAGES, len(images))
    examples = LabeledExamples(TolerantSource(images, labels=True), [task])
    found = scorer.reliability.result()
    return {
        "reliability": Reliability(**found) if found else None,
        "class_counts": count_classes(examples, task, indices=indices),
        "counted": len(indices),
    }


def _print_scores(title: str, metrics: Mapping, trivial: Mapping) -> None:
    LOG.info(
        f"{title}: {scoring.headline(metrics)} on test "
        f"(trivial baseline: {scoring.headline(trivial)})"
    )
