"""The values of a training run."""

from __future__ import annotations

import dataclasses
from typing import Any

from must_keras.data.augmentation import Augmentation, WholeImages
from must_keras.errors import UserError
from must_keras.modeling.normalization import averaging_momentum
from must_keras.training.fitted import FittedModel
from must_keras.training.network import BACKBONE, Precision
from must_keras.training.optimizers import SGD, AdamW
from must_keras.training.recompute import recompute
from must_keras.training.schedules import Cosine, Steps
from must_keras.training.stochastic_depth import StochasticDepth
from must_keras.training.strategy import local_replicas, num_replicas

# Limits of the momenta of running averages, for long runs.
_STATISTICS, _WEIGHTS = 0.997, 0.9999

# Options that came when there were finished runs already: unused, they are not told.
_LATER = {"schedule": Cosine(), "stochastic_depth": 0.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How long, how fast and on what views a model is trained.

    Attributes:
        steps: optimizer steps; 0: the weights stay those of the start.
        batch: images of a step, over all replicas.
        learning_rate: the peak.
        optimizer: AdamW(...) or SGD(...).
        warmup: share of the steps in which the rate rises.
        schedule: how it falls then: Cosine() or Steps(at=...).
        clip_norm: largest global norm of the gradients; None: unlimited.
        ema: whether the result is a running average of the weights over the last steps.
        augmentation: views and colors.
        stochastic_depth: how often the backbone's last residual branch is left out, [0, 1); earlier
            ones less often, see stochastic_depth.py.
        accumulate: parts of a batch that are computed one after the other, to save memory;
            BatchNormalization sees a part at a time.
        precision: "mixed_bfloat16" halves the memory of features, and is fast on newer GPUs.
        recompute: whether the backbone's features are computed twice instead of kept.
        jit_compile: whether XLA compiles the step; for one GPU.
        log_every: steps between two log lines.
        diagnose_every: steps between two looks at which head moves the network, where there are
            several heads (see diagnostics.py); 0: none.
        save_seconds: least time between two checkpoints; large networks, which take longer to
            write, have fewer.
    """

    steps: int
    batch: int
    learning_rate: float
    optimizer: AdamW | SGD
    warmup: float = 0.05
    schedule: Cosine | Steps = dataclasses.field(default_factory=Cosine)
    clip_norm: float | None = 10.0
    ema: bool = False
    augmentation: Augmentation | WholeImages = dataclasses.field(default_factory=Augmentation)
    stochastic_depth: float = 0.0
    accumulate: int = 1
    precision: Precision | None = None
    recompute: bool = False
    jit_compile: bool = False
    log_every: int = 20
    diagnose_every: int = 250
    save_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name in ("batch", "learning_rate", "log_every", "accumulate"):
            if not getattr(self, name) > 0:
                raise UserError(f"{name} must be positive, received {getattr(self, name)}")
        for name in ("steps", "diagnose_every"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} must be 0 or more, received {getattr(self, name)}")
        if not 0.0 <= self.stochastic_depth < 1.0:
            raise UserError(f"stochastic_depth must be in [0, 1), received {self.stochastic_depth}")
        if not isinstance(self.optimizer, AdamW | SGD):
            raise UserError(
                f"optimizer must be AdamW(...) or SGD(...), received {self.optimizer!r}"
            )
        if not isinstance(self.schedule, Cosine | Steps):
            raise UserError(f"schedule must be Cosine() or Steps(...), received {self.schedule!r}")
        if self.precision not in (None, "float32", "mixed_bfloat16"):
            raise UserError(
                f"precision must be 'float32' or 'mixed_bfloat16', received {self.precision!r}"
            )

    def describe(self) -> dict[str, Any]:
        """What the result depends on."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del fields["log_every"], fields["diagnose_every"], fields["save_seconds"]
        for name, unused in _LATER.items():
            if fields[name] == unused:
                del fields[name]
        return fields

    @property
    def images_seen(self) -> int:
        """Images drawn in the whole run, repetitions counted."""
        return self.steps * self.batch

    def norm(self) -> dict[str, float | bool]:
        """The keyword arguments of every BatchNormalization of a model trained so.

        The momentum follows the number of updates: with the usual 0.997 the statistics of a short
        run would still be those of the initial weights.
        """
        updates = max(self.steps, 1) * self.accumulate
        return {
            "momentum": averaging_momentum(updates, _STATISTICS),
            "epsilon": 1e-4,
            "synchronized": num_replicas() > 1,
        }

    def of_model(self) -> dict[str, Any]:
        """The keyword arguments of `build_model` for a model trained so."""
        return {"norm": self.norm(), "clip_norm": self.clip_norm, "precision": self.precision}

    def check_devices(self) -> None:
        """Looks whether the current strategy can train so.

        Raises:
            UserError: it cannot.
        """
        replicas = num_replicas()
        if self.batch % (replicas * self.accumulate):
            parts = f" in {self.accumulate} parts" if self.accumulate > 1 else ""
            over = f"over {replicas} replicas{parts}"
            raise UserError(
                f"batch={self.batch} cannot be split {over}: choose a multiple of "
                f"{replicas * self.accumulate}" + (", or --strategy=one" if replicas > 1 else "")
            )
        if self.jit_compile and replicas > 1:
            raise UserError(
                f"jit_compile=True is for one device, and {local_replicas()} of {replicas} "
                "replicas are here: leave it out, or choose --strategy=one"
            )

    def compile(self, model: FittedModel) -> None:
        """Gives a model its optimizer and its way of computing a step.

        Raises:
            UserError: the current strategy cannot train so, or this backbone cannot be recomputed
                or has no residual branches.
        """
        self.check_devices()
        model.accumulate = self.accumulate
        if self.stochastic_depth:
            backbone = model.get_layer(BACKBONE)
            model.stochastic_depth = StochasticDepth(backbone, self.stochastic_depth)
        if self.recompute:
            recompute(model.get_layer(BACKBONE))
        schedule = self.schedule.build(self.learning_rate, self.steps, self.warmup)
        ema = averaging_momentum(max(self.steps, 1), _WEIGHTS) if self.ema else None
        model.compile(optimizer=self.optimizer.build(schedule, ema), jit_compile=self.jit_compile)
