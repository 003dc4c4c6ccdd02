"""The multi-task network on every Keras backend: its layers, and its losses over a batch."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any, Literal

import keras
from keras import ops

from must_keras.errors import UserError, expect, reason
from must_keras.modeling.backbone import Backbone, ResNet
from must_keras.modeling.fpn import build_neck
from must_keras.ops.precision import full, to_full
from must_keras.tasks.base import Task
from must_keras.tasks.self_labeled import SelfLabeledTask

Tensor = Any
AnyTask = Task | SelfLabeledTask
BACKBONE, NECK = "backbone", "neck"
Precision = Literal["float32", "mixed_bfloat16"]
_PYRAMID = ("P2", "P3", "P4", "P5", "P6", "P7")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Network:
    """Backbone, input size and pyramid width, which teachers, student and transfers share.

    Attributes:
        backbone: ResNet(...), Pretrained(...), TorchResNet(...), KerasBackbone(...) or another
            Backbone.
        size: height and width of the input in pixels, a multiple of 32.
        channels: width of the feature pyramid.

    Example:
        mk.Network(backbone=mk.ResNet.of_depth(50), size=512)

    """

    backbone: Backbone = dataclasses.field(default_factory=lambda: ResNet.of_depth(18))
    size: int = 224
    channels: int = 256

    def __post_init__(self) -> None:
        expect("the network", self, backbone=Backbone, size=Integral, channels=Integral)
        if self.size < 32 or self.size % 32:
            raise UserError(f"size must be a multiple of 32 pixels, received {self.size}")


class NetworkLayers:
    """The layers of a network, each built with random weights when it is first needed.

    Args:
        network: backbone, pyramid and size.
        norm: keyword arguments of every BatchNormalization.

    Attributes:
        heads: {task name: layer}, those that are built.

    Example:
        layers = NetworkLayers(network, norm)
        model = keras.Model(*layers.connect(tasks))
        same_weights = keras.Model(*layers.connect([task]))

    """

    def __init__(self, network: Network, norm: Mapping[str, Any]):
        self._network, self._norm = network, norm
        self._size = (network.size, network.size)
        self._backbone: keras.Model | None = None
        self._neck: keras.Model | None = None
        self.heads: dict[str, keras.Layer] = {}

    def connect(self, tasks: Sequence[AnyTask]) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return symbolic inputs and outputs, connected by the layers: see `connect`.

        Without tasks the outputs are the backbone's features, {"C2", ..., "C5"}.

        Raises:
            UserError: the backbone cannot be called again.
        """
        image = keras.Input((*self._size, 3), name="image")
        area = keras.Input((4,), name="area")
        features = self._features(image)
        inputs = {"image": image, "area": area}
        if any(level in _PYRAMID for task in tasks for level in task.head.features):
            if self._neck is None:
                options = {"channels": self._network.channels, "norm": self._norm, "name": NECK}
                self._neck = build_neck(features, **options)
            features |= self._neck({level: features[level] for level in ("C3", "C4", "C5")})
        outputs = {}
        for task in tasks:
            if task.name not in self.heads:
                self.heads[task.name] = task.head.build(self._size, self._norm)
            head = self.heads[task.name]
            outputs[task.name] = head(
                {key: features[key] for key in task.head.features} | {"area": area}
            )
        return inputs, outputs or features

    def _features(self, image: Tensor) -> dict[str, Tensor]:
        if self._backbone is None:
            self._backbone = self._network.backbone.build(self._size, self._norm, name=BACKBONE)
            return dict(self._backbone(image))
        weights = len(self._backbone.weights)
        try:
            features = dict(self._backbone(image))
        except Exception as error:  # Of a layer of anybody.
            raise self._cannot_be_called_again(reason(error)) from error
        if len(self._backbone.weights) != weights:
            raise self._cannot_be_called_again("each call makes weights of its own")
        return features

    def _cannot_be_called_again(self, why: str) -> UserError:
        return UserError(
            f"the network: {type(self._network.backbone).__name__} cannot be called for a second "
            f"stream ({why}); remove the self-labeled heads that have one"
        )


def connect(
    network: Network, tasks: Sequence[AnyTask], norm: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Connect new layers with random weights, from symbolic inputs to symbolic outputs.

    Args:
        network: backbone, pyramid and size.
        tasks: one head is built for each.
        norm: keyword arguments of every BatchNormalization.

    Returns:
        inputs {"image": [B, H, W, 3] RGB in [0, 255], "area": [B, 4] the image without padding, in
        pixels}, and outputs {task name: the head's prediction}; a head is the layer of its task's
        name.

    Example:
        inputs, outputs = connect(network, tasks, norm)
        model = keras.Model(inputs, outputs)

    """
    return NetworkLayers(network, norm).connect(tasks)


def valid_counts(tasks: Iterable[AnyTask], y: Mapping[str, Any]) -> Tensor:
    """Return each task's number of valid label elements in a batch: [tasks].

    Args:
        tasks: the heads.
        y: {"labels": {task name: label}, "keys": [B] int32}; and with heads that are dropped (see
            head_dropping.py) or do not learn from all sources {"kept": {task name: [B] bool}}.
    """
    labels = [(task, to_full(y["labels"][task.name])) for task in tasks]
    counts = [ops.sum(of_kept(y, task, task.labels.weight(label))) for task, label in labels]
    return ops.stack([ops.cast(count, full()) for count in counts])


def of_kept(y: Mapping[str, Any], task: AnyTask, values: Tensor) -> Tensor:
    """Return one value of each image, [B]; 0 for an image from which the head does not learn.

    Args:
        y: see `valid_counts`.
        task: the head.
        values: [B].
    """
    kept = y.get("kept", {}).get(task.name)
    return values if kept is None else ops.where(kept, values, ops.zeros_like(values))


def losses_over(
    model: keras.Model,
    tasks: Iterable[AnyTask],
    y: Mapping[str, Any],
    predictions: Mapping[str, Any],
    counts: Tensor,
) -> dict[str, Tensor]:
    """Return {task name: the sum of its images' losses / its number of valid elements}.

    Args:
        model: the network of the predictions; some losses call sublayers of its heads.
        tasks: the heads.
        y: labels of the batch or of a microbatch; see `valid_counts`.
        predictions: {task name: the head's prediction}.
        counts: [tasks], of the whole batch.
    """
    losses, counts = {}, ops.maximum(counts, 1.0)
    for i, task in enumerate(tasks):
        label, head = to_full(y["labels"][task.name]), model.get_layer(task.name)
        terms = of_kept(y, task, task.head.loss(label, predictions[task.name], head, y["keys"]))
        losses[task.name] = ops.cast(ops.sum(terms), counts.dtype) / counts[i]
    return losses
