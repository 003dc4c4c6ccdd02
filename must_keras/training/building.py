"""Building of a network: the multi-task model with random weights."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.ops.precision import policy
from must_keras.tasks import streams
from must_keras.tasks.base import Task
from must_keras.tasks.self_labeled import SelfLabeledTask
from must_keras.tasks.streams import PLAIN
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import Network, NetworkLayers, Precision
from must_keras.training.stream_networks import StreamNetworks

# On a CPU TensorFlow 2.21's bfloat16 gradient of a 3x3 convolution with stride 2 reads memory that
# is not its own where the map has a single cell: P6 of smaller images.
_MIN_HALF_PRECISION_SIZE = 128


def build_model(
    network: Network,
    tasks: Sequence[Task],
    *,
    seed: int,
    norm: Mapping[str, Any],
    loss_weights: Mapping[str, float] | None = None,
    clip_norm: float | None = None,
    precision: Precision | None = None,
    self_labeled: Sequence[SelfLabeledTask] = (),
) -> MultiTaskModel:
    """Return a new network with random weights.

    Args:
        network: backbone, pyramid and size.
        tasks: a head is built for each.
        seed: of the initial weights.
        norm: keyword arguments of every BatchNormalization.
        loss_weights: see MultiTaskModel.
        clip_norm: see MultiTaskModel.
        precision: in which layers compute; weights, predictions and losses are float32 with
            "mixed_bfloat16" too. None: Keras' current policy.
        self_labeled: prepared tasks; their heads are built after the others.

    Raises:
        UserError: the images are too small for this precision, or the backbone cannot be called for
            a second stream.

    Example:
        network = Network(backbone=ResNet.small(), size=64)
        model = build_model(network, [task], seed=0, **training.of_model())

    """
    is_half = precision == "mixed_bfloat16" and not tf.config.list_logical_devices("GPU")
    if is_half and network.size < _MIN_HALF_PRECISION_SIZE:
        raise UserError(
            f"precision='mixed_bfloat16' needs images of at least {_MIN_HALF_PRECISION_SIZE} "
            f"pixels on a CPU, size is {network.size}"
        )
    keras.utils.set_random_seed(seed)
    with policy(precision):
        layers = NetworkLayers(network, norm)
        plain = [task for task in self_labeled if PLAIN in task.streams]
        inputs, outputs = layers.connect((*tasks, *plain))
        has_streams = bool(streams.distinct(s for task in self_labeled for s in task.streams))
        own = {"self_labeled": self_labeled}
        own |= {"streams": StreamNetworks(layers, self_labeled)} if has_streams else {}
        return MultiTaskModel(inputs, outputs, tasks, loss_weights, clip_norm, **own)
