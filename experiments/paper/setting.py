"""The network and the schedules of the paper's experiments, as far as they are known."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Literal

from must_keras.data.augmentation import Augmentation
from must_keras.modeling.backbone import Backbone, ResNet
from must_keras.self_supervised import MoCo, SelfSupervised, SimCLR
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import Start
from must_keras.training.network import Network, Precision
from must_keras.training.optimizers import SGD

BackboneName = Literal["resnet50", "resnet152", "small"]
HeadsName = Literal["published", "narrow"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Widths:
    """How wide everything behind the backbone is; values left out are the task's own defaults.

    Attributes:
        channels: of the pyramid.
        detection: of every Detection.
        pixels: of every head of maps, depth or normals.
    """

    channels: int = 256
    detection: dict[str, Any] = dataclasses.field(default_factory=dict)
    pixels: dict[str, Any] = dataclasses.field(default_factory=dict)


# The defaults of the tasks are the paper's heads: an RPN of 2 convolutions, 4 convolutions and a
# dense layer for regions, 3 convolutions for maps. Their 256 channels are a proxy.
_PUBLISHED = Widths()

# For a look at whether all stages run on your files. They learn little.
_NARROW = Widths(
    channels=32,
    detection={
        "rpn_channels": 16,
        "num_sampled_anchors": 32,
        "num_candidates": 64,
        "num_proposals": 16,
        "num_regions": 8,
        "box_region": 3,
        "box_channels": 16,
        "box_convs": 1,
        "box_units": 32,
        "mask_region": 4,
        "mask_channels": 16,
        "mask_convs": 1,
        "num_mask_regions": 4,
        "max_detections": 16,
    },
    pixels={"channels": 16, "num_convs": 1},
)


def resnet(name: BackboneName) -> Backbone:
    """The paper's main backbone is ResNet-152."""
    if name == "small":
        return ResNet.small()
    return ResNet.of_depth(50 if name == "resnet50" else 152)


_MOMENTUM = 0.9


@dataclasses.dataclass(frozen=True, kw_only=True)
class Schedule:
    """A batch and what belongs to it.

    Attributes:
        batch: images of a step.
        learning_rate: the peak at that batch.
        weight_decay: of kernels, as a penalty in the loss, which momentum gathers.
        warmup: share of the steps.
    """

    batch: int
    learning_rate: float
    weight_decay: float
    warmup: float = 0.05

    @property
    def optimizer(self) -> SGD:
        """With the proxies' momentum, and a decay as strong as theirs.

        A penalty's gradient acts 1 / (1 - momentum) times in all; SGD's own decay acts once.
        """
        decay = self.weight_decay / (1.0 - _MOMENTUM)
        return SGD(momentum=_MOMENTUM, weight_decay=decay)

    def rate(self, batch: int) -> float:
        """The peak at another batch, in proportion to it (Goyal et al., arXiv 1706.02677)."""
        return self.learning_rate * batch / self.batch


# All proxies: the authors' ResNet classification, Mask R-CNN from scratch, and segmentation of
# PASCAL in their self-training. Warm-up is 5 of 90 epochs in the first; of the others only that
# there is one is known, or nothing: 0.05 is this project's default. SGD with momentum 0.9.
CLASSIFICATION = Schedule(batch=4096, learning_rate=1.6, weight_decay=1e-4, warmup=5 / 90)
DETECTION = Schedule(batch=256, learning_rate=0.32, weight_decay=4e-5)
SEGMENTATION = Schedule(batch=256, learning_rate=0.08, weight_decay=1e-5)
# The student's is not known: it is taken from detection, the proxy with all of its views.
STUDENT = DETECTION
# A student that starts from a checkpoint, and transfers: not known either; taken from the proxy
# for segmentation, which starts from a trained backbone as they do.
FROM_TRAINED = SEGMENTATION

# MoCo v2's own, for SimCLR too, whose optimizer is for batches of 4096 (arXiv 2003.04297).
SELF_SUPERVISED = Schedule(batch=256, learning_rate=0.03, weight_decay=1e-4, warmup=0.0)

# Scale jitter of the proxy for detection. That teachers and student share one augmentation is the
# paper's; that it is this one is not known. No colors are changed.
VIEWS = Augmentation(scale=(0.1, 2.0), brightness=0.0)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
    """What the arguments of a recipe say of all of its trainings.

    Attributes:
        backbone: of teachers, student and transfers.
        size: pixels a side.
        heads: how wide what is behind the backbone is.
        batch: images of every step, with rates in proportion; None: each schedule's own.
        part: images that are computed at once, over all replicas; larger batches in such parts.
        precision: of layers; losses and weights are float32.
    """

    backbone: Backbone
    size: int
    heads: HeadsName
    batch: int | None
    part: int
    precision: Precision

    @property
    def widths(self) -> Widths:
        """Of pyramid and heads."""
        return _PUBLISHED if self.heads == "published" else _NARROW

    @property
    def network(self) -> Network:
        """Backbone and pyramid."""
        return Network(backbone=self.backbone, size=self.size, channels=self.widths.channels)

    def training(
        self, schedule: Schedule, steps: int, *, views: Augmentation = VIEWS, **changes: Any
    ) -> TrainingConfig:
        """A run by a schedule; half a cosine, which is a proxy for classification alone."""
        batch = self.batch or schedule.batch
        values = {
            "steps": steps,
            "batch": batch,
            "learning_rate": schedule.rate(batch),
            "optimizer": schedule.optimizer,
            "warmup": schedule.warmup,
            "augmentation": views,
            "accumulate": math.ceil(batch / self.part),
            "precision": self.precision,
        }
        return TrainingConfig(**(values | changes))

    def selfsup(
        self, student: TrainingConfig, *, start: Start
    ) -> tuple[SelfSupervised, SelfSupervised]:
        """SimCLR and MoCo v2 on as many images as the student draws; no batch is in parts.

        Args:
            student: its run.
            start: where their backbones begin.
        """
        batch = min(self.batch or SELF_SUPERVISED.batch, self.part)
        training = self.training(
            SELF_SUPERVISED,
            math.ceil(student.images_seen / batch),
            batch=batch,
            learning_rate=SELF_SUPERVISED.rate(batch),
            accumulate=1,
        )
        return SimCLR(training=training, start=start), MoCo(training=training, start=start)
