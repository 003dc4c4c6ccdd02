"""The same numbers in less time or memory: fused BatchNormalization, recomputed features.

Both replace `call` of a layer object: its class, and so what is saved of it, is Keras' own.
"""

from __future__ import annotations

import functools
from typing import Any

import keras
import tensorflow as tf

from must_keras.errors import UserError

Tensor = Any

_KERNEL_TYPES = ("float32", "bfloat16", "float16")


def fuse(model: keras.Model) -> None:
    """Compute every BatchNormalization of feature maps in one TensorFlow kernel where it can be.

    Keras 3 composes it of a dozen operations, each of which reads or writes a whole feature map.
    They stay for statistics over several replicas, in float64, with a mask, or over another axis
    than the last.

    Args:
        model: a built model; models and layers in it are fused too.

    Reference: Batch Normalization (arXiv 1502.03167).
    """
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and _is_plain(layer):
            layer.call = functools.partial(_normalized, layer)


def _is_plain(layer: keras.layers.BatchNormalization) -> bool:
    of_maps = layer.built and layer.input_spec.ndim == 4 and layer.axis in (-1, 3)
    return of_maps and layer.scale and layer.center and not layer.renorm


def _normalized(
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


def recompute(backbone: keras.Model) -> None:
    """Store only the backbone's levels in training; compute what lies between again for gradients.

    It takes a third more time. BatchNormalization's running averages move in the first pass only.

    Args:
        backbone: a functional model from an image to {"C2", ..., "C5"} or more levels, each
            computed from the one before.

    Raises:
        UserError: a level is not computed from the one before.

    Reference: Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174).
    """
    segments, plain = _segments(backbone), type(backbone).call

    def call(image: Tensor, training: bool | None = None, **kwargs: Any) -> dict[str, Tensor]:
        if not training:
            return plain(backbone, image, training=training, **kwargs)
        levels, x = {}, image
        for level, segment in segments.items():
            levels[level] = x = _recomputed(segment, x)
        return levels

    backbone.call = call


def _segments(backbone: keras.Model) -> dict[str, keras.Model]:
    """Return {level: the layers from the level before, or the image, to it}."""
    below, segments = backbone.input, {}
    for level, features in sorted(backbone.output.items()):
        try:
            segments[level] = keras.Model(below, features)
        except ValueError as error:
            raise UserError(
                f"recompute=True: {level} is not computed from the level before: {error}"
            ) from None
        below = features
    return segments


def _recomputed(segment: keras.Model, x: Tensor) -> Tensor:
    @tf.custom_gradient
    def run(x: Tensor) -> Any:
        def gradient(dy: Tensor, variables: Any = ()) -> Any:
            # Not before the gradient is needed; assignments in this scope are discarded.
            with tf.control_dependencies([dy]):
                again = tf.identity(x)
            with keras.StatelessScope(), tf.GradientTape() as tape:
                tape.watch(again)
                y = segment(again, training=True)
            return tape.gradient(y, [again, list(variables)], output_gradients=dy)

        return segment(x, training=True), gradient

    return run(x)
