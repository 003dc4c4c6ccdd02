"""Where training runs: one device or several, chosen once, by name."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from must_keras.errors import UserError

NAMES = ("auto", "one", "mirrored")


def make_strategy(name: str) -> tf.distribute.Strategy:
    """The strategy called `name`.

    "one" uses the first GPU, or the CPU; "mirrored" every GPU of the machine, or every logical
    CPU where there is none; "auto" is "mirrored" where there are several GPUs and "one" elsewhere.

    Raises:
        UserError: no strategy has this name.
    """
    if name not in NAMES:
        raise UserError(f"--strategy={name}: allowed are {', '.join(NAMES)}")
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    if name == "mirrored" or (name == "auto" and len(gpus) > 1):
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.OneDeviceStrategy(devices[0])


def sum_over_replicas(value: Any) -> Any:
    """The sum of a tensor over all replicas; the tensor itself where there is only one.

    Works on any Keras backend: only TensorFlow has replicas here.
    """
    if keras.backend.backend() != "tensorflow" or not tf.distribute.has_strategy():
        return value
    context = tf.distribute.get_replica_context()
    if context is None or context.num_replicas_in_sync == 1:
        return value
    return context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def num_replicas() -> int:
    """How many replicas train together under the current strategy."""
    return tf.distribute.get_strategy().num_replicas_in_sync
