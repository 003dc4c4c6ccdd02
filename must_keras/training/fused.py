"""BatchNormalization in one kernel of TensorFlow: the same numbers in less time and memory.

Keras 3 composes it of a dozen operations, each of which reads or writes a whole feature map.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

Tensor = Any

_KERNEL_TYPES = ("float32", "bfloat16", "float16")


def fuse(model: keras.Model) -> None:
    """From now on every BatchNormalization of feature maps takes the kernel where it can.

    It cannot where statistics are those of several replicas, in float64, with a mask, or over
    another axis than the last; there Keras' own operations stay. What is saved of a layer stays
    as it is, and so does its class.

    Args:
        model: a built model; models and layers within it count too.

    Reference: Batch Normalization (arXiv 1502.03167).
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and _is_plain(layer):
            # Of this object alone: its class, and so what is saved, is Keras' own.
            layer.call = functools.partial(_call, layer)


def _is_plain(layer: keras.layers.BatchNormalization) -> bool:
    of_maps = layer.built and layer.input_spec.ndim == 4 and layer.axis in (-1, 3)
    return of_maps and layer.scale and layer.center and not layer.renorm


def _call(
    layer: keras.layers.BatchNormalization,
    inputs: Tensor,
    training: bool | None = None,
    mask: Tensor | None = None,
) -> Tensor:
    learns = bool(training and layer.trainable)
    in_kernel = keras.backend.standardize_dtype(inputs.dtype) in _KERNEL_TYPES
    if mask is not None or not in_kernel or (learns and layer.synchronized):
        return type(layer).call(layer, inputs, training=training, mask=mask)
    moving_mean, moving_variance = layer.moving_mean, layer.moving_variance
    result, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=layer.gamma.value,
        offset=layer.beta.value,
        mean=() if learns else moving_mean.value,
        variance=() if learns else moving_variance.value,
        epsilon=layer.epsilon,
        is_training=learns,
    )
    if learns:
        # The kernel divides by n - 1, Keras by n.
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), variance.dtype)
        variance = variance * tf.maximum(count - 1.0, 1.0) / count
        for moving, value in ((moving_mean, mean), (moving_variance, variance)):
            moving.assign(moving * layer.momentum + value * (1.0 - layer.momentum))
    return tf.cast(result, layer.compute_dtype)
