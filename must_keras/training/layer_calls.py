"""Changes of what a model's layers compute: fused, recomputed, or dropped at random.

All replace `call` of a layer object: its class, and so what is saved of it, is Keras' own.
"""

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf
from keras import ops

from must_keras.errors import UserError
from must_keras.ops import sampling

_KERNEL_TYPES = ("float32", "bfloat16", "float16")
# Purposes of the random numbers of the first block and of those after it.
_FIRST_BLOCK = 300


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
    inputs: tf.Tensor,
    training: bool | None = None,
    mask: tf.Tensor | None = None,
) -> tf.Tensor:
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

    def call(image: tf.Tensor, training: bool | None = None, **kwargs: Any) -> dict[str, tf.Tensor]:
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
            problem = f"{level} is not computed from the level before: {error}"
            raise UserError(f"recompute=True: {problem}") from None
        below = features
    return segments


def _recomputed(segment: keras.Model, x: tf.Tensor) -> tf.Tensor:
    @tf.custom_gradient
    def run(x: tf.Tensor) -> Any:
        def gradient(dy: tf.Tensor, variables: Any = ()) -> Any:
            # Not before the gradient is needed; assignments in this scope are discarded.
            with tf.control_dependencies([dy]):
                again = tf.identity(x)
            with keras.StatelessScope(), tf.GradientTape() as tape:
                tape.watch(again)
                y = segment(again, training=True)
            return tape.gradient(y, [again, list(variables)], output_gradients=dy)

        return segment(x, training=True), gradient

    return run(x)


class StochasticDepth:
    """Drops residual branches of a backbone in training; what is saved of it does not change.

    Of L blocks, block l loses its branch with probability rate * l / L, image by image; where it is
    kept it is multiplied by 1 / (1 - rate * l / L), so that nothing is scaled in inference. A
    sample is a function of the image's key and the block alone.

    Args:
        backbone: a functional model; each keras.layers.Add of two maps ends a block, whose branch
            is the input on the longer path.
        rate: of the last block, [0, 1).

    Raises:
        UserError: the backbone has no such layer.

    Example:
        depth = StochasticDepth(model.get_layer("backbone"), 0.2)
        with depth.of(keys):
            model(images, training=True)

    Reference: arXiv 1603.09382, equation 4; image by image as in EfficientNet (arXiv 1905.11946).
    """

    def __init__(self, backbone: keras.Model, rate: float):
        self.rate = rate
        # Replicas are traced in threads, which take turns in the middle of a forward pass.
        self._local = threading.local()
        heights = _heights(backbone)
        layers = sorted(backbone.layers, key=lambda layer: heights[layer])
        adds = [one for one in layers if isinstance(one, keras.layers.Add) and len(one.input) == 2]
        if not adds:
            problem = "the backbone has no residual branches to drop"
            raise UserError.of("", "stochastic_depth", rate, problem)
        for block, layer in enumerate(adds, 1):
            sources = [x._keras_history.operation for x in layer.input]
            branch = max((0, 1), key=lambda i, s=sources: heights[s[i]])
            values = {"drop": rate * block / len(adds), "purpose": _FIRST_BLOCK + block}
            layer.call = functools.partial(self._call, layer, branch=branch, **values)

    @contextlib.contextmanager
    def of(self, keys: tf.Tensor) -> Iterator[None]:
        """Within, drop branches in forward passes and their gradients.

        Args:
            keys: [B] int32, of the images.
        """
        self._local.keys = keys
        try:
            yield
        finally:
            self._local.keys = None

    def _call(
        self, layer: keras.layers.Add, inputs: Any, *, branch: int, drop: float, purpose: int
    ) -> tf.Tensor:
        keys = getattr(self._local, "keys", None)
        if keys is None:
            return type(layer).call(layer, inputs)
        kept = sampling.uniform(keys, 1, purpose=purpose)[:, :, None, None] >= drop
        factor = ops.cast(kept, inputs[branch].dtype) / (1.0 - drop)
        return inputs[1 - branch] + inputs[branch] * factor


def _heights(model: keras.Model) -> dict[Any, int]:
    """Return {layer: number of layers on the longest path to it from the input}."""
    heights: dict[Any, int] = {}
    for operation in model.operations:  # In an order in which inputs come first.
        parents = [node for own in operation._inbound_nodes for node in own.parent_nodes]
        below = [heights[node.operation] for node in parents if node.operation in heights]
        heights[operation] = max(below, default=-1) + 1
    return heights
