"""The kinds of teachers that a recipe can name: what the other stages ask of each."""

import abc
import dataclasses
import pathlib
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np

from must_keras.config.domain_gate import DomainGate, check_gate
from must_keras.data.examples import PseudoLabels, Records
from must_keras.data.repeat_factors import RepeatFactors
from must_keras.data.sources import Source
from must_keras.data.splits import Splits
from must_keras.errors import DataError, UserError, expect
from must_keras.files import file_sha256, json_sha256
from must_keras.inference.external import AnyExternalModel, ExternalPredictor
from must_keras.inference.predictor import Predictor
from must_keras.modeling.loading import load_model
from must_keras.runs.fingerprint import describe
from must_keras.tasks.base import Task
from must_keras.tasks.thresholds import AtPrecision, Threshold, check_threshold, rule_of
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromScratch, Start
from must_keras.training.network import Network

AnyPredictor = Predictor | ExternalPredictor


class AnyTeacher(abc.ABC):
    """What labels images for one head of the student: the interface of all kinds of teachers.

    Attributes:
        name: names its folder and its pseudo-label datasets.
        task: what it predicts; the student has a head for the same task.
        sets: labeled images to train or score it on; None: there are none.
        threshold: pseudo labels below it are dropped as the task defines; None: all are used. One
            for all classes, one for each, or AtPrecision(0.8).
        ignore_from: predictions with a score from this up to the threshold are ignored where they
            would be background (of boxes alone); None: they are background.
        weight_by_score: whether the student's loss of each pseudo box, or of each pixel of a
            pseudo map, is multiplied by its score (see tasks/detection/loss.py and, for maps, the
            head of Segmentation); classes, depth and normals refuse it.
        labels_of: names of the sources that it labels; None: all that it can label; (): none, so
            that the student has the head's ground truth alone.
        gate: where its labels are missing, far from its own training images, which only a teacher
            that is trained here has; None: nowhere.
        loss_weight: of the student's head; None: the student's rule gives it.
        network: its own; None: the recipe's, or no network that a run builds.
        is_trained_here: whether a run trains it.
        predicts: whether it is a model that predicts from images; False: its labels exist.
        has_scores: whether its labels have scores, as a model's do.
        origin: who made its labels, where they were imported.

    Example:
        teacher = recipe.teacher("shapes")
        teacher.task.name, teacher.is_trained_here, teacher.limits()
    """

    name: str
    task: Task
    sets: Splits | None
    threshold: Threshold | AtPrecision
    ignore_from: float | None
    weight_by_score: bool
    labels_of: tuple[str, ...] | None = None
    gate: DomainGate | None = None
    loss_weight: float | None
    network: Network | None = None
    is_trained_here: ClassVar[bool] = False
    predicts: ClassVar[bool] = True
    has_scores: ClassVar[bool] = True
    origin: str | None = None

    # ---- the teacher itself --------------------------------------------------------------------

    @abc.abstractmethod
    def depends_on(self, network: Network, seed: int) -> dict[str, Any]:
        """Return what the teacher is made from, as inputs of its artifact."""

    @abc.abstractmethod
    def sha256(self, model_path: pathlib.Path) -> str | None:
        """Return the digest of what labels; None while it does not exist.

        Args:
            model_path: of the model that a run trained.
        """

    @property
    def resumes(self) -> bool:
        """Whether an interrupted artifact of it continues where it stopped."""
        return False

    @property
    def rule(self) -> AtPrecision | None:
        """The rule that chooses its thresholds; None where the recipe gives them."""
        return rule_of(self.threshold)

    def limits(self) -> np.ndarray:
        """Return the threshold of each class, [K] float64, where they are given."""
        given = self.task.records.floor if self.threshold is None else self.threshold
        return np.broadcast_to(np.asarray(given, np.float64), (len(self.task.classes),))

    def pseudo_labels(self, reader: Records) -> PseudoLabels:
        """Return a pseudo-label dataset of it, to be read at its thresholds."""
        threshold, ignore_from = self.threshold, self.ignore_from
        return PseudoLabels(reader=reader, threshold=threshold, ignore_from=ignore_from)

    @property
    def student_task(self) -> Task:
        """The task of the student's labels, which have weights where scores are weights."""
        return dataclasses.replace(self.task, weighted=True) if self.weight_by_score else self.task

    def predictor(
        self, model_path: pathlib.Path, map_size: tuple[int, int] | None = None
    ) -> AnyPredictor:
        """Load the model.

        Args:
            model_path: of the model that a run trained.
            map_size: (H, W) of predicted maps; None: the input's.
        """
        raise NotImplementedError(f"{type(self).__name__} does not predict")

    def input_size(self, network: Network) -> int:
        """Return the side in pixels of the images that it predicts from."""
        return network.size

    def unlabeled_outputs(self, predictor: AnyPredictor | None) -> dict[str, str]:
        """Return {output of its head that it never labels: why}, if it is not trained here.

        Args:
            predictor: its own; None where it does not predict.

        Raises:
            UserError: its labels contain nothing at all.
        """
        return {}

    def preflight(self) -> None:  # noqa: B027
        """Check before a run what can be checked without training.

        Raises:
            UserError: its model or its labels cannot be read, or do not fit the task.
        """

    # ---- its labels ----------------------------------------------------------------------------

    @abc.abstractmethod
    def labels_source(self, source: Source, *, is_pool: bool) -> bool:
        """Return whether it can label a source of the student; see `labels_of`."""

    def label_inputs(self, network: Network, batch: int) -> dict[str, Any]:
        """Return what its labels depend on beside its digest, its task and the images."""
        return {"size": self.input_size(network), "batch": batch}

    def provenance(self) -> dict[str, Any] | None:
        """Return what the ledger records of labels made elsewhere; None of a model's."""
        return None

    def check_pools(self, pools: Sequence[Source]) -> None:  # noqa: B027
        """Raise UserError unless its labels are of images of a pool, and it is clear of which."""

    def why_empty(self, source: Source, index: int) -> str:
        """Return why an image has no label, for a person."""
        try:
            source.image(index)
        except (UserError, DataError) as error:
            return str(error)
        return "it could not be read when it was labeled"

    # ---- its sets ------------------------------------------------------------------------------

    def sources(self) -> list[Source]:
        """Return every source that it reads."""
        sets = self.sets
        return [] if sets is None else [sets.train, sets.validation, sets.test]

    def largest_scale(self) -> float:
        """Return the largest scale of an image in its training."""
        return 1.0

    def replaced_by(self, start: Start, network: Network | None) -> Self:
        """Return the teacher of the next round: a student's head in place of a trained one.

        Args:
            start: the student's weights.
            network: of the student; None: the recipe's.
        """
        return self


def named_by_task(item: Any, what: str) -> None:
    """Give a frozen object without a name that of its task, when it is made."""
    if item.name == "":
        expect(what, item, task=Task)
        object.__setattr__(item, "name", item.task.name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Teacher(AnyTeacher):
    """A specialist: one task, trained on the set that is labeled for it.

    Attributes:
        task: what it learns; the student has a head for the same task.
        sets: its images.
        name: names its folder and its pseudo-label datasets; default is the task's name.
        training: its training config.
        threshold: see AnyTeacher.
        ignore_from: see AnyTeacher.
        weight_by_score: see AnyTeacher.
        labels_of: see AnyTeacher.
        gate: see AnyTeacher.
        loss_weight: of the student's head; None: the student's rule (training/loss_weights).
        start: initialization of its weights; with training.steps=0 they stay as they are.
        network: its own; None: the recipe's. A transfer cannot start from another one.
        repeat_factors: images with rare classes come more often in an epoch: see RepeatFactors.

    Raises:
        UserError: a value is of another type, or training.steps=0 without weights to keep.

    Example:
        mk.Teacher(
            name="shapes",
            task=mk.Classification(name="shapes", classes=("box", "ball")),
            sets=mk.Splits(train=train, validation=validation, test=test),
            training=mk.TrainingConfig(
                steps=800, batch=32, learning_rate=1e-3, optimizer=mk.AdamW()
            ),
        )
    """

    task: Task
    sets: Splits
    name: str = ""
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    threshold: Threshold | AtPrecision = None
    ignore_from: float | None = None
    weight_by_score: bool = False
    labels_of: tuple[str, ...] | None = None
    gate: DomainGate | None = None
    loss_weight: float | None = None
    start: Start = dataclasses.field(default_factory=FromScratch)
    network: Network | None = None
    repeat_factors: RepeatFactors | None = None
    is_trained_here: ClassVar[bool] = True

    def __post_init__(self) -> None:
        named_by_task(self, "teacher")
        where = f"teacher {self.name!r}"
        expect(where, self, task=Task, sets=Splits, training=TrainingConfig, start=Start)
        expect(where, self, name=str, loss_weight=Real | None, ignore_from=Real | None)
        expect(where, self, weight_by_score=bool, network=Network | None)
        check_threshold(self)
        check_gate(self)
        self.training.check_heads(where, [self.task])
        expect(where, self, repeat_factors=RepeatFactors | None)
        if self.repeat_factors is not None:
            self.repeat_factors.check(where, [self.task])
        if self.training.keeps_weights and not self.start.has_heads:
            raise UserError(f"{where}: steps=0 needs a start with a trained head: FromModel(...)")

    def depends_on(self, network: Network, seed: int) -> dict[str, Any]:
        return {
            "seed": seed,
            "network": self.network or network,
            "task": self.task.before_reading(),
            "sets": self.sets,
            "training": self.training,
            "start": self.start.depends_on(self.network or network),
        } | ({"repeat_factors": self.repeat_factors} if self.repeat_factors else {})

    def sha256(self, model_path: pathlib.Path) -> str | None:
        return file_sha256(model_path) if model_path.is_file() else None

    @property
    def resumes(self) -> bool:
        return not self.training.keeps_weights

    def predictor(
        self, model_path: pathlib.Path, map_size: tuple[int, int] | None = None
    ) -> AnyPredictor:
        remedy = f"delete {model_path.parent} to have it made again"
        return Predictor(load_model(model_path, remedy=remedy), map_size)

    def input_size(self, network: Network) -> int:
        return (self.network or network).size

    def labels_source(self, source: Source, *, is_pool: bool) -> bool:
        """Return True for all but its own training set, which has ground truth."""
        return source.name != self.sets.train.name

    def largest_scale(self) -> float:
        return self.training.augmentation.largest_scale

    def replaced_by(self, start: Start, network: Network | None) -> Self:
        training = dataclasses.replace(self.training, steps=0, epochs=None)
        return dataclasses.replace(self, start=start, training=training, network=network)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExternalTeacher(AnyTeacher):
    """A model that was trained elsewhere; it labels, and is not trained here.

    Attributes:
        name: names its folder and its pseudo-label datasets.
        task: what it predicts; the student has a head for the same task.
        model: the model, its input and its outputs.
        loss_weight: of the student's head, since no rule fits a training that is not known.
        threshold: see AnyTeacher.
        ignore_from: see AnyTeacher.
        weight_by_score: see AnyTeacher.
        labels_of: see AnyTeacher.
        gate: see AnyTeacher.
        sets: a labeled set to score it on; None: it is not scored.

    Raises:
        UserError: a value is of another type, or the task cannot read the model's outputs.

    Example:
        mk.ExternalTeacher(
            name="depth", task=mk.Depth(name="distance"), loss_weight=1.0,
            model=mk.ExternalModel(model="midas", size=256, form="relative_inverse"),
        )
    """

    name: str
    task: Task
    model: AnyExternalModel
    loss_weight: float
    threshold: Threshold | AtPrecision = None
    ignore_from: float | None = None
    weight_by_score: bool = False
    labels_of: tuple[str, ...] | None = None
    gate: DomainGate | None = None
    sets: Splits | None = None

    def __post_init__(self) -> None:
        where = f"teacher {self.name!r}"
        expect(where, self, task=Task, model=AnyExternalModel, sets=Splits | None)
        expect(where, self, name=str, loss_weight=Real, ignore_from=Real | None)
        expect(where, self, weight_by_score=bool)
        check_threshold(self)
        check_gate(self)
        self.task.external.check_form(self.model.form)
        if self.model.class_ids is not None:
            self.task.external.check_class_ids(self.model.class_ids)

    def depends_on(self, network: Network, seed: int) -> dict[str, Any]:
        return {"task": self.task.before_reading(), "sets": self.sets, "model": self.model}

    def sha256(self, model_path: pathlib.Path) -> str:
        """Return the digest of the model, its input form and the reading of its outputs."""
        return json_sha256(describe(self.model))

    def predictor(
        self, model_path: pathlib.Path, map_size: tuple[int, int] | None = None
    ) -> AnyPredictor:
        size = self.model.size
        return ExternalPredictor(self.model, self.task, map_size or (size, size))

    def input_size(self, network: Network) -> int:
        return self.model.size

    def unlabeled_outputs(self, predictor: AnyPredictor | None) -> dict[str, str]:
        given = predictor.check()
        missing = [output for output in self.task.labels.teachable if output not in given]
        return dict.fromkeys(missing, "the model predicts none")

    def preflight(self) -> None:
        self.predictor(pathlib.Path()).check()

    def labels_source(self, source: Source, *, is_pool: bool) -> bool:
        """Return True: it labels every source."""
        return True

    def label_inputs(self, network: Network, batch: int) -> dict[str, Any]:
        return {"model": self.model} | super().label_inputs(network, batch)
