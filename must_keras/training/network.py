"""The layers of the multi-task network: one backbone, one pyramid, a head for every task.

They are the same on every Keras backend.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal

import keras

from must_keras.errors import UserError, expect
from must_keras.modeling.backbone import Backbone
from must_keras.modeling.fpn import build_neck
from must_keras.tasks.base import Task

Tensor = Any
BACKBONE, NECK = "backbone", "neck"
Precision = Literal["float32", "mixed_bfloat16"]
_PYRAMID = ("P2", "P3", "P4", "P5", "P6", "P7")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """What teachers, student and transfers have in common.

    Attributes:
        backbone: ResNet(...), EfficientNetLite0(...) or KerasBackbone(...).
        size: height and width of the input in pixels, a multiple of 32.
        channels: width of the feature pyramid.
    """

    backbone: Backbone
    size: int
    channels: int = 256

    def __post_init__(self) -> None:
        expect("the network", self, backbone=Backbone, size=Integral, channels=Integral)
        if self.size < 32 or self.size % 32:
            raise UserError(f"size must be a multiple of 32 pixels, received {self.size}")


def connect(
    network: Network, tasks: Sequence[Task], norm: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """New layers with random weights, from symbolic inputs to symbolic outputs.

    Args:
        network: backbone, pyramid and size.
        tasks: a head for each.
        norm: keyword arguments of every BatchNormalization.

    Returns:
        inputs {"image": [B, H, W, 3] RGB in [0, 255], "area": [B, 4] the picture without padding,
        in pixels}, and outputs {task name: the head's prediction}; a head is the layer of its
        task's name.
    """
    size = (network.size, network.size)
    image = keras.Input((*size, 3), name="image")
    area = keras.Input((4,), name="area")
    backbone = network.backbone.build(size, norm, name=BACKBONE)
    features = dict(backbone(image))
    if any(level in _PYRAMID for task in tasks for level in task.features):
        neck = build_neck(features, channels=network.channels, norm=norm, name=NECK)
        features |= neck({level: features[level] for level in ("C3", "C4", "C5")})
    outputs = {}
    for task in tasks:
        head = task.build_head(size, norm)
        outputs[task.name] = head({key: features[key] for key in task.features} | {"area": area})
    return {"image": image, "area": area}, outputs
