"""Transfers of a recipe: the downstream sets, the rules for all starts, and what a start copies."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NoReturn, get_args

import keras

from must_keras.config.episodes import Episodes
from must_keras.config.teachers import AnyTeacher, named_by_task
from must_keras.data.splits import Splits
from must_keras.errors import UserError, expect, expect_each, nearest
from must_keras.runs.marks import RUN
from must_keras.runs.results import size_name
from must_keras.tasks.base import Task
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromCheckpoint, copy_parts
from must_keras.training.network import BACKBONE, NECK, Network

Aligned = Literal["none", "task", "images", "set"]
Mode = Literal["full", "frozen", "episodes"]
Neck = Literal["fpn", "backbone"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transfer:
    """A downstream set that no training run has seen.

    Attributes:
        task: with a fresh head.
        sets: its images.
        name: names its folder; default is the task's name.
        training: the same budget for every start.
        learning_rates: the better one on validation is taken, for each start; none: training's.
        rates_from: the folder of another run of the recipe, which has chosen: its choice is taken.
        aligned: {start: "images" (it saw these images, whatever the label) or "set"}; the kind of
            task need not be given (see Recipe.alignment).

    Example:
        mk.Transfer(
            task=mk.Classification(name="flowers", classes=("rose", "tulip")),
            sets=mk.Splits(train=train, validation=validation, test=test),
            training=training,
        )
    """

    task: Task
    sets: Splits
    name: str = ""
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    learning_rates: tuple[float, ...] = ()
    rates_from: str | None = None
    aligned: Mapping[str, Aligned] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        named_by_task(self, "transfer")
        where = f"transfer {self.name!r}"
        expect(where, self, task=Task, sets=Splits, training=TrainingConfig)
        expect(where, self, rates_from=str | None, aligned=Mapping, name=str)
        self.training.check_heads(where, [self.task])
        if self.training.keep_best is not None:
            problem = "every start has the same steps, whose last weights are compared; remove it"
            raise UserError.of(where, "keep_best", self.training.keep_best, problem)
        expect_each(where, self, learning_rates=float)
        for start, value in self.aligned.items():
            if value not in get_args(Aligned):
                allowed = nearest(str(value), get_args(Aligned))
                raise UserError(f"{where}: aligned[{start!r}]={value!r}; {allowed}")
        rates = self.learning_rates
        if len(set(rates)) < len(rates) or not all(rate > 0 for rate in rates):
            raise UserError.of(where, "learning_rates", rates, "positive and different ones needed")
        if self.rates_from is not None and len(rates) < 2:
            raise UserError(f"{where}: rates_from={self.rates_from!r} needs learning_rates")
        if self.rates_from is not None and not (pathlib.Path(self.rates_from) / RUN).is_file():
            raise UserError(f"{where}: rates_from={self.rates_from!r} is no folder of a run")

    def check_mode(self, mode: Mode, episodes: Episodes) -> None:
        """Raise UserError where a mode cannot be, or an option would have no effect in it."""
        where = f"transfer {self.name!r}"
        for name in ("mixing", "stochastic_depth") if mode == "frozen" else ():
            value = getattr(self.training, name)
            if value:
                problem = "mode='frozen' trains a head alone, on whole images; remove one of them"
                raise UserError.of(where, name, value, problem)
        if mode != "episodes":
            return
        num_classes = self.task.labels.num_groups
        if num_classes < episodes.ways:
            raise UserError(
                f"{where}: mode='episodes' needs ways={episodes.ways} classes, and the "
                f"{self.task.kind} task {self.task.name!r} has {num_classes}; take a set of "
                "classes, or lower ways"
            )
        if self.learning_rates:
            problem = "mode='episodes' has no learning rate to choose; remove them"
            raise UserError.of(where, "learning_rates", self.learning_rates, problem)

    def check_samples(self, samples: Sequence[int]) -> None:
        """Raise UserError where numbers of training images are larger than the set."""
        count = len(self.sets.train)
        for number in samples:
            if number > count:
                self.refuse_samples(number, count)

    def refuse_samples(self, samples: int, count: int) -> NoReturn:
        """Raise UserError: `samples` are asked for, and `count` training images have a label."""
        problem = f"its training set has {count} labeled images; lower it, or leave it out"
        raise UserError.of(f"transfer {self.name!r}", "samples", samples, problem)

    @property
    def rates(self) -> tuple[float, ...]:
        """The learning rates to choose from."""
        return tuple(self.learning_rates) or (self.training.learning_rate,)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
    """The rules that all starts of a comparison share.

    Attributes:
        mode: "full" trains all weights; "frozen" leaves those of the backbone, and of a pyramid
            that is copied, as they are: the head alone learns, on whole images and, where the
            augmentation mirrors, their mirror images. "episodes" trains nothing on the set: its
            test images are drawn into few-shot episodes on features of the backbone.
        neck: "fpn" copies the pyramid too where the start has one; "backbone" never does.
        shots: labeled images of each class for classification, in all for other tasks, and at
            most as many again for choosing a learning rate; None: all that there are.
        samples: labeled images in all, whatever their classes, and at most as many again for
            choosing a learning rate; None: as many as `shots` are. One of both is given at most.
        episodes: how those of the mode "episodes" are drawn, which needs shots.

    Example:
        >>> str(Protocol(mode="frozen", shots=5))
        'frozen-fpn-5'
    """

    mode: Mode = "full"
    neck: Neck = "fpn"
    shots: int | None = None
    samples: int | None = None
    episodes: Episodes = dataclasses.field(default_factory=Episodes)

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            allowed = f"allowed are {', '.join(get_args(Mode))}"
            raise UserError.of("", "mode", self.mode, allowed)
        if self.neck not in ("fpn", "backbone"):
            raise UserError.of("", "neck", self.neck, "allowed are fpn, backbone")
        for name in ("shots", "samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError.of("", name, value, "at least 1, or none for all")
        if self.samples is not None and self.shots is not None:
            problem = f"shots={self.shots} of each class exclude a number in all; give one of them"
            raise UserError.of("", "samples", self.samples, problem)
        if self.samples is not None and self.has_episodes:
            problem = "mode='episodes' takes shots of each class; remove samples"
            raise UserError.of("", "samples", self.samples, problem)
        if self.has_episodes and self.shots is None:
            raise UserError.of(
                "", "shots", None, "mode='episodes' needs a number of images a class"
            )

    def __str__(self) -> str:
        """Return the name of the folder of its transfer runs."""
        return f"{self.mode}-{self.neck}-{size_name(self.shots, self.samples)}"

    @property
    def is_low_shot(self) -> bool:
        """Whether images are chosen of the training set."""
        return self.shots is not None or self.samples is not None

    @property
    def has_episodes(self) -> bool:
        """Whether the set is drawn into episodes."""
        return self.mode == "episodes"

    def title(self) -> str:
        """Return the rules as text for people."""
        if self.has_episodes:
            one = self.episodes
            return (
                f"{one.count} episodes: {one.ways} ways, {self.shots} shots, {one.queries} queries "
                f"a class, {one.learner} on frozen features"
            )
        mode = {"full": "full fine-tuning", "frozen": "frozen backbone"}[self.mode]
        shots = "all images" if self.shots is None else f"{self.shots} shots"
        shots = shots if self.samples is None else f"{self.samples} images in all"
        neck = "pyramid copied where there is one" if self.neck == "fpn" else "fresh pyramid"
        return f"{mode}, {neck}, {shots}"

    def differs(self) -> dict[str, Any]:
        """Return what a transfer run depends on beyond full fine-tuning on all images."""
        usual = {"mode": "full", "shots": None, "samples": None}
        found = {name: value for name in usual if (value := getattr(self, name)) != usual[name]}
        return found | ({"episodes": self.episodes} if self.has_episodes else {})


@dataclasses.dataclass(frozen=True)
class TransferStart:
    """What the network of a transfer run starts from.

    Attributes:
        name: among a recipe's `starts`.
        folder: path of its artifact below the run's folder; (): the run does not make it.
        stage: the name of the stage that makes it.
        teachers: those whose tasks it has learned.
        copies: names of the parts of a network that it has weights of; (): random weights. Where
            the run does not make it, they are the backbone's checkpoint.

    Example:
        start = recipe.start("student")
        start.folder, start.parts("fpn")  # (("student",), ("backbone", "neck"))
    """

    name: str
    folder: tuple[str, ...] = ()
    stage: str = ""
    teachers: tuple[AnyTeacher, ...] = ()
    copies: tuple[str, ...] = (BACKBONE, NECK)

    @property
    def is_random(self) -> bool:
        """Whether its weights differ from seed to seed."""
        return not self.copies

    @property
    def _is_checkpoint(self) -> bool:
        return bool(self.copies) and not self.folder

    def parts(self, neck: Neck) -> tuple[str, ...]:
        """Return the names of the parts of a network that it initializes, where both have them."""
        return tuple(part for part in self.copies if part != NECK or neck == "fpn")

    def initialize(
        self,
        model: keras.Model,
        trained: keras.Model | None,
        parts: Sequence[str],
        network: Network,
    ) -> None:
        """Copy its weights into these parts of a freshly initialized model.

        Args:
            model: the network of the transfer run.
            trained: the model of its artifact; None where the run does not make it.
            parts: names of layers.
            network: of the recipe.
        """
        if trained is not None:
            copy_parts(model, trained, tuple(parts))
        elif self._is_checkpoint:
            FromCheckpoint().apply(model, network)

    def depends_on(self, network: Network) -> dict[str, Any] | None:
        """Return what it is, where the run does not make it; None: nothing but its name."""
        return FromCheckpoint().depends_on(network) if self._is_checkpoint else None

    def aligned(self, task: Task) -> Aligned:
        """Return how far its training is aligned with a downstream task: by kind, or not."""
        same = any(type(teacher.task) is type(task) for teacher in self.teachers)
        return "task" if same else "none"
