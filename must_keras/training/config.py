"""The values of one training, as a recipe states them."""

import dataclasses
import fractions
import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, Self

from must_keras.data.augmentation import Augmentation, WholeImages
from must_keras.data.mixing import Mixing, check_all
from must_keras.errors import UserError, expect, expect_each
from must_keras.log import LOG
from must_keras.tasks.base import Task
from must_keras.training.best import KeepBest
from must_keras.training.fitted import FittedModel
from must_keras.training.layer_calls import StochasticDepth, recompute
from must_keras.training.loggers import LoggerFactory
from must_keras.training.network import BACKBONE, Precision
from must_keras.training.optimizers import AdamW, Cosine, Optimizer, Schedule
from must_keras.training.strategy import is_chief, local_replicas, num_replicas

# Steps of a training without a length.
_STEPS = 1000
# Momenta of running averages in long trainings: BatchNormalization's statistics, and weights.
_MAX_STATISTICS_MOMENTUM, _MAX_WEIGHTS_MOMENTUM = 0.997, 0.9999
# Fields that `describe` returns where they have a value.
_ALWAYS = ("steps", "batch", "learning_rate", "optimizer")
# Fields on which no result depends.
_NO_INPUTS = ("log_every", "diagnose_every", "save_seconds", "loggers")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Length, learning rate, optimizer and augmentation of one training.

    Attributes:
        steps: number of optimizer steps; 0 keeps the initial weights. 1000 where there are no
            epochs; None where there are.
        epochs: passes over the training images, above 0, in place of steps: see `for_images`.
        batch: images of a step, over all replicas.
        learning_rate: the peak.
        optimizer: AdamW(...), SGD(...) or another Optimizer.
        warmup: share of the steps in which the learning rate rises, [0, 1).
        schedule: of the learning rate after the warm-up: Cosine(), Steps(at=...) or another
            Schedule.
        clip_norm: largest global norm of the gradients; None: unlimited.
        keep_best: evaluation of the model on validation images meanwhile, whose best weights are
            the result, and early stopping; for teachers, the student and the supervised baseline.
            None: the result is the last weights.
        ema: whether the result is a running average of the weights over the last steps.
        augmentation: views and colors.
        mixing: ways to combine an image with another one, of which each image gets one at most:
            see data.mixing; () for none.
        stochastic_depth: probability, [0, 1), with which the backbone's last residual branch is
            dropped; earlier ones are dropped less often: see StochasticDepth.
        accumulate: number of microbatches, computed one after the other to save memory, whose
            gradients a step accumulates; BatchNormalization normalizes each by itself.
        precision: "mixed_bfloat16" halves the memory of features and is fast on newer GPUs.
        recompute: whether the backbone's features are computed twice instead of stored.
        jit_compile: whether XLA compiles the step; for one GPU.
        log_every: steps between two log lines.
        diagnose_every: steps between two measurements of the heads' gradients, where there are
            several heads (see diagnostics.measure); 0: never.
        save_seconds: shortest time between two checkpoints; networks that take longer to write are
            saved less often.
        loggers: Logger classes, or functions that return a Logger, of the path of a folder for
            their files; they receive what metrics.jsonl and TensorBoard receive.

    Raises:
        UserError: a value is of another type or range, or there are both steps and epochs.

    Example:
        mk.TrainingConfig(steps=4000, batch=32, optimizer=mk.SGD(), learning_rate=0.05, ema=True)

    """

    steps: int | None = None
    epochs: float | None = None
    batch: int = 16
    learning_rate: float = 1e-3
    optimizer: Optimizer = dataclasses.field(default_factory=AdamW)
    warmup: float = 0.05
    schedule: Schedule = dataclasses.field(default_factory=Cosine)
    clip_norm: float | None = 10.0
    keep_best: KeepBest | None = None
    ema: bool = False
    augmentation: Augmentation | WholeImages = dataclasses.field(default_factory=Augmentation)
    mixing: tuple[Mixing, ...] = ()
    stochastic_depth: float = 0.0
    accumulate: int = 1
    precision: Precision | None = None
    recompute: bool = False
    jit_compile: bool = False
    log_every: int = 20
    diagnose_every: int = 250
    save_seconds: float = 10.0
    loggers: Sequence[LoggerFactory] = ()

    def __post_init__(self) -> None:
        self._check_length()
        for name in ("batch", "learning_rate", "log_every", "accumulate"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be positive, received {getattr(self, name)}")
        for name in ("steps", "diagnose_every"):
            if (getattr(self, name) or 0) < 0:
                raise UserError(f"{name} must be 0 or more, received {getattr(self, name)}")
        if not 0.0 <= self.stochastic_depth < 1.0:
            raise UserError(f"stochastic_depth must be in [0, 1), received {self.stochastic_depth}")
        expect("the training", self, optimizer=Optimizer, schedule=Schedule)
        expect("the training", self, keep_best=KeepBest | None)
        expect_each("the training", self, mixing=Mixing)
        check_all("the training", self.mixing)
        if self.precision not in (None, "float32", "mixed_bfloat16"):
            raise UserError(
                f"precision must be 'float32' or 'mixed_bfloat16', received {self.precision!r}"
            )

    def _check_length(self) -> None:
        """Set the default number of steps.

        Raises:
            UserError: there are steps and epochs, or epochs are not above 0.
        """
        expect("the training", self, epochs=Real | None)
        if self.epochs is None:
            object.__setattr__(self, "steps", _STEPS if self.steps is None else self.steps)
        elif self.steps is not None:
            problem = f"there are {self.steps} steps, too: give one of them, and steps=None"
            raise UserError.of("the training", "epochs", self.epochs, problem)
        elif not 0.0 < self.epochs < math.inf:
            raise UserError.of("the training", "epochs", self.epochs, "expected a number above 0")

    @property
    def keeps_weights(self) -> bool:
        """Whether there is no step: the weights stay the initial ones."""
        return self.steps == 0

    def for_images(self, num_images: int, *, title: str | None = None) -> Self:
        """Return the training with a number of steps: of its epochs, rounded up.

        Args:
            num_images: of the training set, repetitions of `Student.repeats` counted.
            title: begins a log line on the steps; None: there is none.

        Example:
            TrainingConfig(epochs=3, batch=16).for_images(900).steps  # 169
        """
        if self.epochs is None:
            return self
        exact = fractions.Fraction(repr(float(self.epochs))) * num_images / self.batch
        found = dataclasses.replace(self, steps=math.ceil(exact), epochs=None)
        if title is not None and is_chief():
            LOG.info(
                f"{title}: {self.epochs:g} epochs of {num_images} images are {found.steps} steps "
                f"of {self.batch}"
            )
        return found

    @property
    def _known_steps(self) -> int:
        if self.steps is None:
            remedy = "call for_images(...) first"
            problem = f"its steps are not known before its images are counted; {remedy}"
            raise UserError.of("the training", "epochs", self.epochs, problem, remedy=remedy)
        return self.steps

    def describe(self) -> dict[str, Any]:
        """Return {field: value} of what a result depends on.

        Of all but length, batch, learning rate and optimizer, where it differs from the default.
        """
        found = {}
        for field in dataclasses.fields(self):
            value, default = getattr(self, field.name), field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            is_input = field.name not in _NO_INPUTS and value is not None
            if (is_input and field.name in _ALWAYS) or (is_input and value != default):
                found[field.name] = value
        return found

    @property
    def images_seen(self) -> int:
        """Number of images in all steps, repetitions counted."""
        return self._known_steps * self.batch

    def norm(self) -> dict[str, float | bool]:
        """Return the keyword arguments of every BatchNormalization of the trained model.

        The momentum follows the number of updates: see averaging_momentum.
        """
        updates = max(self._known_steps, 1) * self.accumulate
        momentum = averaging_momentum(updates, _MAX_STATISTICS_MOMENTUM)
        return {"momentum": momentum, "epsilon": 1e-4, "synchronized": num_replicas() > 1}

    def of_model(self) -> dict[str, Any]:
        """Return the keyword arguments of `build_model` that this training determines."""
        return {"norm": self.norm(), "clip_norm": self.clip_norm, "precision": self.precision}

    def check_heads(
        self, where: str, tasks: Sequence[Task], *, measured: Sequence[Task] | None = None
    ) -> None:
        """Raise UserError where values do not fit any of the heads that are trained.

        A mixing leaves no label for any of them, or none reports the metric of `keep_best`.

        Args:
            where: begins the message.
            tasks: the heads.
            measured: those with validation images; None: all.
        """
        for mixing in self.mixing:
            mixing.check(where, tasks)
        if self.keep_best is not None:
            self.keep_best.check(where, tasks if measured is None else measured)
            if self.steps == 0:
                problem = "without a step there are no weights to choose from; remove it"
                raise UserError.of(where, "keep_best", self.keep_best, problem)

    def check_devices(self) -> None:
        """Raise UserError where the current distribution strategy cannot run this training."""
        replicas = num_replicas()
        if self.batch % (replicas * self.accumulate):
            microbatches = f" in {self.accumulate} microbatches" if self.accumulate > 1 else ""
            raise UserError(
                f"batch={self.batch} cannot be split over {replicas} replicas{microbatches}: "
                f"choose a multiple of {replicas * self.accumulate}"
                + (', or strategy="one"' if replicas > 1 else "")
            )
        if self.jit_compile and replicas > 1:
            raise UserError(
                f"jit_compile=True is for one device, and {local_replicas()} of {replicas} "
                'replicas are here: remove it, or choose strategy="one"'
            )

    def compile(self, model: FittedModel) -> None:
        """Compile a model: its optimizer, microbatches, stochastic depth and recomputation.

        Raises:
            UserError: the current strategy cannot run this training, or the backbone cannot be
                recomputed or has no residual branches.
        """
        self.check_devices()
        model.accumulate = self.accumulate
        if self.stochastic_depth:
            backbone = model.get_layer(BACKBONE)
            model.stochastic_depth = StochasticDepth(backbone, self.stochastic_depth)
        if self.recompute:
            recompute(model.get_layer(BACKBONE))
        schedule = self.schedule.build(self.learning_rate, self._known_steps, self.warmup)
        averaging: dict[str, Any] = {}
        if self.ema:
            momentum = averaging_momentum(max(self.steps, 1), _MAX_WEIGHTS_MOMENTUM)
            averaging = {"use_ema": True, "ema_momentum": momentum}
        optimizer = self.optimizer.build(schedule, **averaging)
        model.compile(optimizer=optimizer, jit_compile=self.jit_compile)


def averaging_momentum(num_steps: int, limit: float) -> float:
    """Return the momentum of a running average that forgets its initial value in a training.

    max(0, min(limit, 1 - 10 / num_steps)): the initial value keeps a weight of at most e^-10. With
    a momentum of 0.997 the statistics of 300 steps would keep 41 % of their initial value.

    Args:
        num_steps: number of updates, at least 1.
        limit: momentum of a long training.

    Example:
        averaging_momentum(100, 0.997)  # 0.9

    """
    return max(0.0, min(limit, 1.0 - 10.0 / num_steps))
