"""Stage 3: one student with all heads, on ground truth where there is any and pseudo labels."""

import dataclasses
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from must_keras.config.student import Student as StudentConfig
from must_keras.config.teachers import AnyTeacher
from must_keras.data.examples import ConcatenatedExamples, count_origins, labeled_shares
from must_keras.errors import warn
from must_keras.files import file_sha256
from must_keras.inference import scoring, self_labeled
from must_keras.inference.predictor import Predictor
from must_keras.log import LOG
from must_keras.pseudo_labels import gates, leakage, training_set
from must_keras.runs.artifact import Artifact
from must_keras.runs.marks import RUN
from must_keras.runs.results import Origins, Scored, StudentResult
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.stages import gate, label
from must_keras.stages.teacher import artifact as artifact_of_teacher
from must_keras.tasks.self_labeled import SelfLabeledTask
from must_keras.training import untaught
from must_keras.training.building import build_model
from must_keras.training.config import TrainingConfig
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import Loggers
from must_keras.training.loop import fit, save_artifact
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import Network
from must_keras.training.self_labeled import limits_of
from must_keras.training.strategy import is_chief

# Examples whose label origins are counted.
_NUM_COUNTED_EXAMPLES = 1000
# Under this share of labeled images a head learns little from the student's batches.
_LOW_SHARE = 0.25

# Raised when the same inputs would give something else than before.
VERSION = 3


def artifact(run: Run) -> Artifact:
    """Declare the student."""
    recipe, sources, first = run.recipe, run.recipe.student_sources, run.recipe.first_student
    labels, gated = list(label.STAGE.artifacts(run)), gate.artifacts(run)

    def find_inputs() -> dict[str, Any] | None:
        is_known = all(one.is_there for one in labels) and leakage.is_known(run, sources)
        is_known = is_known and all(one.result_of(one.inputs) for one in gated)
        if not (is_known and run.can_start(first.start)) or not all(
            run.is_resolvable(t) for t in recipe.teachers
        ):
            return None
        resolved = [run.resolved(teacher) for teacher in recipe.teachers]
        return (
            {
                "version": VERSION,
                "seed": recipe.seed,
                "network": first.network,
                "tasks": recipe.tasks,
                "sources": sources,
                "student": {"training": recipe.student.training, "union": recipe.student.union}
                | recipe.student.options(),
                "start": run.initialization(first.start).depends_on(first.network),
                "loss_weights": recipe.loss_weights(),
                "thresholds": {teacher.name: teacher.threshold for teacher in resolved},
                "columns": {
                    "/".join(one.folder.parts[-2:]): one.result().teacher_sha256 for one in labels
                },
            }
            | _options(resolved)
            | training_set.inputs(run, sources)
            | gates.inputs(run)
            | validation_inputs(recipe.student.training, recipe.teachers)
        )

    needs = (*labels, *leakage.artifacts(run, sources), *gated, *starting_teacher(run))
    return run.student.declare(stage=Student.name, find_inputs=find_inputs, needs=needs)


def starting_teacher(run: Run) -> tuple[Artifact, ...]:
    """Declare the teacher that the student starts from, if it does."""
    name = run.recipe.first_student.start.teacher
    return () if name is None else (artifact_of_teacher(run, run.recipe.teacher(name)),)


def validation_inputs(training: TrainingConfig, teachers: Sequence[AnyTeacher]) -> dict[str, Any]:
    """Return the validation images of the heads where the best weights on them are kept."""
    if training.keep_best is None:
        return {}
    sets = {teacher.name: teacher.sets for teacher in teachers if teacher.sets is not None}
    return {"validation": {name: one.validation for name, one in sets.items()}}


def _options(teachers: Sequence[AnyTeacher]) -> dict[str, Any]:
    """Return {option: {teacher: value}} of options of reading their labels that are in use."""
    found: dict[str, Any] = {}
    for teacher in teachers:
        for name in ("ignore_from", "weight_by_score"):
            value = getattr(teacher, name)
            if value is not None and value is not False:
                found.setdefault(name, {})[teacher.name] = value
    return found


class Student(Stage):
    """The student.

    Example:
        (artifact,) = Student().artifacts(run)
        artifact.result().tasks["objects"].metrics["box_ap50"]
    """

    name = "student"
    by_all_workers = True
    reads_pools = True

    def artifacts(self, run: Run) -> Iterator[Artifact]:
        yield artifact(run)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        images, recipe, first = training_set.of_student(run), run.recipe, run.recipe.first_student
        student = dataclasses.replace(recipe.student, start=run.initialization(first.start))
        named = {"network": first.network, "teachers": recipe.teachers, "title": self.name}
        if is_chief():
            label.print_choices(run, recipe.teachers)
        for one in pending:
            fit_heads(run, one, images, student, **named)

    def conclude(self, run: Run, stages: Sequence[Stage]) -> None:
        # It may have learned its loss weights. A round within a run has no run.json of its own.
        if (run.path / RUN).is_file():
            run.record()

    def report(self, run: Run) -> dict[str, Any]:
        return {"student": run.student.result()}


STAGE = Student()


def repeated(
    run: Run,
    student: StudentConfig,
    images: ConcatenatedExamples,
    *,
    title: str,
    level: int = logging.INFO,
) -> ConcatenatedExamples:
    """Return the images of a training of the student, those with rare classes several times.

    Args:
        run: the run.
        student: how it is trained.
        images: each once.
        title: of the training; its random numbers are its own.
        level: of the line that is logged.
    """
    if student.repeat_factors is None:
        return images
    seed = run.seed("repeat_factors", title)
    return student.repeat_factors.repeated(images, seed=seed, title=title, level=level)


def fit_heads(
    run: Run,
    artifact: Artifact,
    images: ConcatenatedExamples,
    student: StudentConfig,
    *,
    network: Network,
    teachers: Sequence[AnyTeacher],
    title: str,
) -> None:
    """Train one network with the heads of some teachers, score it and complete its artifact.

    The loss weights are those of the recipe's student.

    Args:
        run: the run.
        artifact: what is made.
        images: what it learns from.
        student: how it is trained.
        network: its network.
        teachers: whose tasks are learned, and on whose sets they are scored.
        title: of the training; its random numbers are its own.
    """
    recipe, size = run.recipe, network.size
    images = repeated(run, student, images, title=title)
    training = student.training.for_images(len(images), title=title)
    tasks, heads = [teacher.task for teacher in teachers], recipe.on_blocks(student.self_labeled)
    sourced, seed = recipe.loss_weights(), run.seed(title)
    weights = {task.name: sourced[task.name].value for task in (*tasks, *heads)}
    origins = count_origins(images, num_examples=_NUM_COUNTED_EXAMPLES, seed=seed, **student.shares)
    limits = limits_of(heads, images)
    shares = {h.name: float(limits[h.name].mean()) if h.sources else 1.0 for h in heads}
    shares |= warned_shares(origins)
    for name, value in weights.items():
        LOG.info(
            f"{title}: loss weight of {name}: {value:.4g} ({sourced[name].source}), "
            f"{shares[name]:.0%} of images labeled"
        )
    options = {"strong_views": student.strong_views, "self_labeled": heads} | student.shares
    feed = InputPipeline(images, images.tasks, training, size=size, seed=seed, **options)
    own = [head.task.prepared((size, size), feed.inputs()) for head in heads]
    model = build_model(
        network, tasks, seed=seed, loss_weights=weights, **training.of_model(), self_labeled=own
    )
    model.learned_weights = student.weighting.learner((*tasks, *own))
    model.drop_heads = student.drop_heads
    copied = student.start.apply(model, network)
    origin = student.start.tell(copied)
    left_out = untaught.find(model, images, copied=copied, title=title)
    training.compile(model)
    best = run.best_weights(model, teachers, training, title=title)
    loggers = fit(artifact, model, feed, training, title=title, origin=origin, best=best)
    kept = None if best is None else best.kept()
    training = training if kept is None else dataclasses.replace(training, steps=kept.trained)
    trained = model.clean_copy()
    if not is_chief():
        return
    save_artifact(artifact, trained)
    predictor, scores = Predictor(model), {}
    for teacher in teachers:
        task, step = teacher.task, training.steps
        if teacher.sets is None:
            scores[task.name] = Scored(metrics={}, trivial={})
            LOG.info(f"{title}, {task.name}: not scored, no labeled set is given")
            continue
        outputs = left_out.get(task.name, ())
        scorer = run.scorer(task, teacher.sets, size=size, untaught=outputs)
        metrics = scorer.score(predictor, step=step, loggers=loggers, details=artifact.folder)
        scorer.visualize(predictor, step=step, loggers=loggers)
        scorer.print_warnings(f"{title}, {task.name}")
        trivial = _trivial(run, teacher, scorer, metrics)
        scores[task.name] = Scored(metrics=metrics, trivial=trivial)
        LOG.info(f"{title}, {task.name}: {scoring.headline(metrics)} on test")
    of_own = score_self_labeled(
        run, model, teachers, step=training.steps, loggers=loggers, title=title
    )
    loggers.close()
    artifact.finish(
        StudentResult(
            loss_weights={task.name: model.task_weights[task.name] for task in tasks},
            loss_weight_sources={task.name: sourced[task.name].source for task in tasks},
            parameters=model.count_params() - _parameters_of(model, own),
            images_seen=training.images_seen,
            model_sha256=file_sha256(artifact.model_path),
            tasks=scores,
            origins={
                source: {head: Origins(**counts) for head, counts in heads.items()}
                for source, heads in origins.items()
            },
            untaught=left_out,
            steps=training.steps if student.training.epochs else None,
            self_labeled=of_own or None,
            kept=kept,
        )
    )


def score_self_labeled(
    run: Run,
    model: MultiTaskModel,
    teachers: Sequence[AnyTeacher],
    *,
    step: int,
    loggers: Loggers,
    title: str,
) -> dict[str, Scored]:
    """Return {self-labeled head with metrics: its scores} on the images of the teachers' sets.

    Args:
        run: the run.
        model: trained, with its self-labeled heads.
        teachers: on whose sets they are scored.
        step: of the log.
        loggers: of the model's artifact.
        title: begins log lines.
    """
    sets, found = [teacher.sets for teacher in teachers if teacher.sets is not None], {}
    shared = {"batch": run.recipe.evaluation_batch, "max_unreadable": run.recipe.max_unreadable}
    for name, task in model.self_labeled.items():
        if task.metrics is None:
            continue
        scored = self_labeled.score(model, task, sets, step=step, loggers=loggers, **shared)
        LOG.info(
            f"{title}, {name}: {scoring.headline(scored.metrics)} on test "
            f"(trivial baseline: {scoring.headline(scored.trivial)})"
        )
        found[name] = scored
    return found


def _parameters_of(model: MultiTaskModel, tasks: Sequence[SelfLabeledTask]) -> int:
    """Return the number of parameters of some heads."""
    return sum(model.get_layer(task.name).count_params() for task in tasks)


def _trivial(
    run: Run, teacher: AnyTeacher, scorer: scoring.Scorer, metrics: Mapping[str, float | None]
) -> dict[str, float | None]:
    """Return the scores of the trivial baseline: the teacher's, if it was scored as much."""
    known = run.teacher(teacher.name).result()
    trivial = known.trivial if known else {}
    if set(trivial) >= set(metrics):
        return {metric: value for metric, value in trivial.items() if metric in metrics}
    return scorer.trivial()


def warned_shares(counts: Mapping) -> dict[str, float]:
    """Return the share of labeled images of each head, with a warning where one is low."""
    shares = labeled_shares(counts)
    for head, share in shares.items():
        if share < _LOW_SHARE:
            warn(f"only {share:.0%} of images have a label of {head}")
    return shares
