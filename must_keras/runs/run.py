"""A run: a recipe and a directory, and the answers to every question about the two."""

import dataclasses
import itertools
import pathlib
from collections.abc import Callable, Collection, Sequence
from typing import Any, Self

from must_keras.config.recipe import Recipe
from must_keras.config.teachers import AnyTeacher
from must_keras.data.examples import LabeledExamples
from must_keras.data.sources import Source
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError, argument, damaged, warn_once
from must_keras.inference.predictor import Predictor
from must_keras.inference.scoring import Scorer, labeled
from must_keras.inference.validation import ValidationMetric
from must_keras.json_files import find_json, write_json
from must_keras.ops.sampling import derived_seed
from must_keras.runs import export_results, results
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.runs.marks import PREDICTION_COUNTS, RUN
from must_keras.tasks.base import Task
from must_keras.tasks.thresholds import Choice, PredictionCounts
from must_keras.training.best import BestWeights
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromTeacher, Start
from must_keras.training.model import MultiTaskModel
from must_keras.versions import git_commit, versions

_SECONDS = "seconds.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Run:
    """A recipe and a directory.

    Attributes:
        recipe: the values of the run; its pools are as the run's lists have them (see runs.pools).
        path: the run's folder.
        others: folders of other runs, whose complete artifacts are reused where they are the same.
        strategy: the name of the tf.distribute strategy.
        make_labeler: returns what writes pseudo labels, called with (run, teachers); None: this
            process does. See pseudo_labels.labeler.
        experiment: the recipe as a command line names it, see must_keras.experiment; None for one
            that no file has.
        stand_ins: {folder of an artifact: the folder in another run that it is read from}, for a
            plan of what would be reused.

    Example:
        run = Run(recipe=recipe, path=pathlib.Path("runs/scenes"))
        run.student.result().parameters
        1183542
    """

    recipe: Recipe
    path: pathlib.Path
    others: tuple[pathlib.Path, ...] = ()
    strategy: str = "auto"
    make_labeler: Callable[..., Any] | None = dataclasses.field(default=None, compare=False)
    experiment: str | None = dataclasses.field(default=None, compare=False)
    stand_ins: dict[pathlib.Path, pathlib.Path] = dataclasses.field(
        default_factory=dict, compare=False, repr=False
    )

    # ---- where its artifacts are ----------------------------------------------------------------

    def teacher(self, name: str) -> Artifact:
        """teachers/<name>/."""
        return self.artifact("teachers", name, result_type=results.TeacherResult)

    def labels(self, teacher: str, source: str) -> Artifact:
        """labels/<teacher>/<source>/."""
        return self.artifact("labels", teacher, source, result_type=results.LabelsResult)

    def leakage(self, source: str) -> Artifact:
        """leaks/<source>/."""
        return self.artifact("leaks", source, result_type=results.LeakageResult)

    def calibration(self, teacher: str) -> Artifact:
        """gates/<teacher>/calibration/."""
        return self.artifact("gates", teacher, "calibration", result_type=results.CalibrationResult)

    def distances(self, teacher: str, source: str) -> Artifact:
        """gates/<teacher>/sources/<source>/."""
        names = ("gates", teacher, "sources", source)
        return self.artifact(*names, result_type=results.DistancesResult)

    @property
    def student(self) -> Artifact:
        """student/."""
        return self.artifact("student", result_type=results.StudentResult)

    @property
    def rounds(self) -> Artifact:
        """rounds/: the best student of all self-training rounds."""
        return self.artifact("rounds", result_type=results.RoundsResult)

    @property
    def supervised(self) -> Artifact:
        """supervised/."""
        return self.artifact("supervised", result_type=results.StudentResult)

    def self_supervised(self, name: str) -> Artifact:
        """selfsup/<name>/."""
        return self.artifact("selfsup", name, result_type=results.SelfSupervisedResult)

    def transfer(self, name: str, start: str, protocol: str, seed: int) -> Artifact:
        """transfers/<set>/<start>/<mode>-<neck>-<shots>/seed<k>/."""
        names = ("transfers", name, start, protocol, f"seed{seed}")
        return self.artifact(*names, result_type=results.TransferResult)

    @property
    def export(self) -> Artifact:
        """export/."""
        return self.artifact("export", result_type=export_results.ExportResult)

    def export_of(self, name: str) -> Artifact:
        """export/<name>/: the student in another format."""
        return self.artifact("export", name, result_type=export_results.FormatResult)

    def artifact(self, *names: str, result_type: type = dict) -> Artifact:
        """Return the artifact of a folder of the run, <path>/<name>/<name>/..."""
        folder = self.path.joinpath(*names)
        others = tuple(other.joinpath(*names) for other in self.others)
        folder = self.stand_ins.get(folder, folder)
        return Artifact(folder=folder, others=others, result_type=result_type)

    def round(self, number: int, recipe: Recipe) -> Self:
        """Return the run of a self-training round, in rounds/<number>/; round 1 is the run itself.

        What does not change from round to round is reused from this run.
        """
        if number == 1:
            return self
        folders = [root / "rounds" / str(number) for root in (self.path, *self.others)]
        others = (self.path, *folders[1:])
        return dataclasses.replace(self, recipe=recipe, path=folders[0], others=others)

    # ---- what the recipe means here -------------------------------------------------------------

    def seed(self, *names: str) -> int:
        """Return the seed of the artifact that these names identify."""
        return derived_seed(self.recipe.seed, *names)

    def prediction_counts(self, teacher: AnyTeacher) -> PredictionCounts | None:
        """Return a teacher's scored predictions on validation images; None before they are counted.

        They are counted when the teacher is scored, as its pseudo labels are made: with the same
        floor, suppression, number of boxes and bytes of confidence; a map larger than a stored one
        is not resized first.
        """
        path = self.teacher(teacher.name).folder / PREDICTION_COUNTS
        if not path.exists():
            return None
        counts, expected = PredictionCounts.load(path), len(teacher.task.classes)
        if len(counts) != expected:
            raise damaged(
                path,
                f"it counts {len(counts)} classes, the task has {expected}",
                remedy='delete it, then run stage="teacher" to count the predictions again',
            )
        return counts

    def choices(self, teacher: AnyTeacher) -> dict[str, Choice] | None:
        """Return {class: what AtPrecision chooses}; None where the recipe gives the threshold.

        Raises:
            UserError: the teacher's predictions are not counted yet, or have no scores.
        """
        if teacher.rule is None:
            return None
        where, counts = f"teacher {teacher.name!r}", self.prediction_counts(teacher)
        if counts is None or not self.teacher(teacher.name).is_there:
            raise UserError(
                f"{where} is not complete, or its predictions on validation images are not counted "
                'yet: run stage="teacher" first'
            )
        if counts.all_certain:
            raise UserError(
                f"{where} has no scores (all of its predictions on validation images have a score "
                "of 1): a threshold cannot be chosen"
            )
        chosen = teacher.rule.choose(counts, lowest=teacher.task.records.floor)
        return dict(zip(teacher.task.classes, chosen, strict=True))

    def weights_sha256(self, teacher: AnyTeacher) -> str | None:
        """Return the digest of what a teacher predicts with; None before it is there."""
        made = self.teacher(teacher.name)
        return teacher.sha256(made.model_path) if made.is_there else None

    def initialization(self, start: Start | FromTeacher) -> Start:
        """Return a student's initialization, whose weights may be those of a teacher of the run."""
        return start.of_run(lambda name: self.teacher(name).model_path)

    def can_start(self, start: Start | FromTeacher) -> bool:
        """Return whether a student's initialization is known."""
        return start.teacher is None or self.teacher(start.teacher).is_there

    def is_resolvable(self, teacher: AnyTeacher) -> bool:
        """Return whether a teacher's thresholds are given, or can be chosen."""
        path = self.teacher(teacher.name).folder / PREDICTION_COUNTS
        return teacher.rule is None or path.is_file()

    def resolved(self, teacher: AnyTeacher) -> AnyTeacher:
        """Return a teacher with a number for every class where a rule chooses its thresholds.

        Raises:
            UserError: see `choices`.
        """
        if teacher.rule is None:
            return teacher
        numbers = tuple(choice.threshold for choice in self.choices(teacher).values())
        return dataclasses.replace(teacher, threshold=numbers)

    def scorer(
        self, task: Task, sets: Splits, *, size: int, untaught: Collection[str] = ()
    ) -> Scorer:
        """Return what measures a head on a labeled set; see inference.scoring.Scorer."""
        recipe = self.recipe
        return Scorer(
            task,
            sets,
            size=size,
            batch=recipe.evaluation_batch,
            max_unreadable=recipe.max_unreadable,
            untaught=untaught,
        )

    def best_weights(
        self,
        model: MultiTaskModel,
        teachers: Sequence[AnyTeacher],
        training: TrainingConfig,
        *,
        title: str,
    ) -> BestWeights | None:
        """Return what keeps the best weights of a training; None where that is not asked for.

        Args:
            model: what is trained.
            teachers: of its heads; those with sets are evaluated on validation images.
            training: its config.
            title: of the training.
        """
        rule = training.keep_best
        if rule is None:
            return None
        scorers = {
            teacher.task.name: self.scorer(
                teacher.task,
                teacher.sets,
                size=model.size[0],
                untaught=model.untaught.get(teacher.task.name, ()),
            )
            for teacher in teachers
            if teacher.sets is not None
        }
        measure = ValidationMetric(Predictor(model), scorers, rule, title=title)
        return BestWeights(rule, measure, title=title)

    def labeled(self, source: Source, task: Task) -> LabeledExamples:
        """Return a labeled set for one task; see inference.scoring.labeled."""
        return labeled(source, task, max_unreadable=self.recipe.max_unreadable)

    def label_sets(self, teacher: AnyTeacher) -> list[tuple[Source, Artifact]]:
        """Return the sources that a teacher labels, each with its pseudo-label dataset."""
        return [
            (source, self.labels(teacher.name, source.name))
            for source in self.recipe.sources_labeled_by(teacher)
        ]

    # ---- seconds.json ---------------------------------------------------------------------------

    def seconds(self) -> dict[str, float]:
        """Return {stage: seconds that it took}; {} with a warning where the file is damaged."""
        path = self.path / _SECONDS
        try:
            found = find_json(path, dict, remedy="times are counted anew") or {}
        except DataError as error:
            warn_once(str(error))
            return {}
        odd = [name for name, value in found.items() if type(value) not in (int, float)]
        if odd:
            warn_once(f"{path}: {odd[0]} is {found[odd[0]]!r}, expected a number; it is left out")
        return {name: value for name, value in found.items() if name not in odd}

    def add_seconds(self, stage: str, seconds: float) -> None:
        """Add to the seconds of a stage; one that resumes adds to what it took before."""
        times = self.seconds()
        times[stage] = round(times.get(stage, 0.0) + seconds, 1)
        write_json(self.path / _SECONDS, times)

    # ---- run.json -------------------------------------------------------------------------------

    def record(self) -> None:
        """Write run.json: the recipe as resolved, versions, and the loss weights' sources.

        Of complete trainings whose length the recipe gives in epochs it has the steps.
        """
        weights = {k: dataclasses.asdict(w) for k, w in self.recipe.loss_weights().items()}
        student = self.student.result()
        for head, value in student.loss_weights.items() if student else ():
            if weights.get(head, {}).get("source") == "learned":
                weights[head]["final"] = value
        value = {
            "experiment": self.experiment,
            "recipe": describe(self.recipe, whole=True),
            "seed": self.recipe.seed,
            "strategy": self.strategy,
            "loss_weights": weights,
            "versions": versions(),
            "git_commit": git_commit(),
        }
        steps = self._steps()
        write_json(self.path / RUN, value | ({"steps": steps} if steps else {}))

    def _steps(self) -> dict[str, int]:
        """Return {folder of a complete artifact whose training is given in epochs: its steps}."""
        recipe = self.recipe
        found = [(self.teacher(t.name), t.training) for t in recipe.trained_teachers]
        found += [(self.student, recipe.student.training)]
        found += [(self.supervised, one) for one in (recipe.wanted_supervised,) if one]
        found += [(self.self_supervised(m.name), m.training) for m in recipe.wanted_selfsup]
        for transfer, protocol in itertools.product(recipe.transfers, recipe.protocols):
            for start, seed in itertools.product(recipe.start_names, range(recipe.transfer_seeds)):
                one = self.transfer(transfer.name, start, str(protocol), seed)
                found.append((one, transfer.training))
        in_epochs = (one for one, training in found if training.epochs)
        results = {one.folder.relative_to(self.path): one.result() for one in in_epochs}
        return {folder.as_posix(): made.steps for folder, made in results.items() if made}


def other_runs(path: pathlib.Path, reuse: pathlib.Path | None) -> tuple[pathlib.Path, ...]:
    """Return the runs that artifacts are reused from: `reuse`, and siblings below runs/.

    Raises:
        UserError: `reuse` is no run's folder.
    """
    if reuse is not None and not (reuse / RUN).is_file():
        raise UserError(f"{argument('reuse', reuse)} is no folder of a run: it has no {RUN}")
    siblings = []
    if path.resolve().parent.name == "runs":
        siblings = sorted(other.parent for other in path.resolve().parent.glob(f"*/{RUN}"))
    given = [] if reuse is None else [reuse.resolve()]
    return tuple(other for other in [*given, *siblings] if other != path.resolve())
