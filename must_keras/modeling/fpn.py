"""The feature pyramid (the neck), and its sum at stride 4: the fused P2.

Values as in the paper's authors' other public code (Lin et al., 2017, with their additions).
"""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import layers, ops

from must_keras.ops import Tensor


def build_neck(
    features: Mapping[str, Tensor], *, channels: int, norm: Mapping[str, Any], name: str = "neck"
) -> keras.Model:
    """Return a model from {"C3", "C4", "C5"} to {"P2" (fused), "P3", ..., "P7"}, in plain layers.

    1x1 laterals, nearest x2 from the top down, a 3x3 convolution after each sum; P6 is a 3x3
    convolution of stride 2 on P5, P7 one on relu(P6); then a BatchNormalization for each level. The
    fused P2 is the sum of all levels, resized bilinearly to stride 4.

    Args:
        features: the backbone's outputs, for their shapes: {"C3", "C4", "C5": [B, h, w, C]}; each
            twice as large as the next, h and w known.
        channels: of every level.
        norm: keyword arguments of every BatchNormalization.
        name: of the model.

    Raises:
        ValueError: the image's size is not a multiple of 32.

    Example:
        features = ResNet.small().build((64, 64), norm).output
        neck = build_neck(features, channels=256, norm=norm)
        neck.output["P2"].shape  # (None, 16, 16, 256)

    """
    height, width = features["C5"].shape[1:3]
    for level, factor in (("C4", 2), ("C3", 4)):
        cells = tuple(features[level].shape[1:3])
        if None in (height, width) or cells != (height * factor, width * factor):
            raise ValueError(
                "the pyramid needs an image whose height and width are known multiples of 32; "
                f"received {level} of {cells} cells and C5 of {(height, width)}"
            )
    inputs = {
        level: keras.Input(features[level].shape[1:], name=level) for level in ("C3", "C4", "C5")
    }

    def conv(x: Tensor, name: str, size: int = 3, stride: int = 1) -> Tensor:
        return layers.Conv2D(channels, size, strides=stride, padding="same", name=name)(x)

    inner = conv(inputs["C5"], "lateral_5", size=1)
    outputs = {5: conv(inner, "output_5")}
    for level in (4, 3):
        above = layers.UpSampling2D(2, interpolation="nearest", name=f"upsampled_{level}")(inner)
        lateral = conv(inputs[f"C{level}"], f"lateral_{level}", size=1)
        inner = layers.Add(name=f"sum_{level}")([lateral, above])
        outputs[level] = conv(inner, f"output_{level}")
    outputs[6] = conv(outputs[5], "output_6", stride=2)
    outputs[7] = conv(layers.Activation("relu", name="relu_6")(outputs[6]), "output_7", stride=2)
    pyramid = {
        f"P{level}": layers.BatchNormalization(**norm, name=f"norm_{level}")(outputs[level])
        for level in range(3, 8)
    }
    resized = [
        layers.Resizing(8 * height, 8 * width, interpolation="bilinear", name=f"resized_{level}")(x)
        for level, x in pyramid.items()
    ]
    return keras.Model(inputs, {"P2": layers.Add(name="P2")(resized), **pyramid}, name=name)


def any_size(neck: keras.Model) -> keras.Model:
    """Return a neck of `build_neck` for features of any size, in plain Keras layers.

    It has copies of the weights, and equal outputs at the size for which the neck was built. At
    other sizes every coarser level is cropped to the next finer one, at the bottom and at the
    right, and the fused P2 has twice the size of P3.

    Args:
        neck: a model of `build_neck`; its layers keep their names.
    """
    features = {
        level: keras.Input((None, None, x.shape[-1]), name=level, dtype=x.dtype)
        for level, x in neck.input.items()
    }
    finer = {"upsampled_4": features["C4"], "upsampled_3": features["C3"]}

    def call(layer: layers.Layer, *inputs: Tensor, **options: Any) -> Tensor:
        if layer.name in finer:
            return _as_layer(_doubled, inputs[0], finer[layer.name], name=layer.name)
        if isinstance(layer, layers.Resizing):
            return _as_layer(_twice_as, inputs[0], features["C3"], name=layer.name)
        return layer(*inputs, **options)

    anywhere = keras.models.clone_model(neck, input_tensors=features, call_function=call)
    for layer in neck.layers:
        if layer.weights:
            anywhere.get_layer(layer.name).set_weights(layer.get_weights())
    return anywhere


def _places(x: Tensor, axis: int) -> Tensor:
    """Return 0, 1, ... along an axis of unknown length of [B, h, w, C]: [h] or [w] float32."""
    values = x[0, :, 0, 0] if axis == 1 else x[0, 0, :, 0]
    return ops.cumsum(ops.ones_like(values, dtype="float32"), axis=0) - 1.0


def _as_layer(
    function: Callable[[Tensor, Tensor], Tensor], x: Tensor, like: Tensor, *, name: str
) -> Tensor:
    """Return a function of two tensors, applied as one layer of a network."""
    inputs = [keras.Input(v.shape[1:], dtype=v.dtype) for v in (x, like)]
    return keras.Model(inputs, function(*inputs), name=name)([x, like])


def _doubled(x: Tensor, like: Tensor) -> Tensor:
    """Return `x` doubled by nearest values and cropped to the size of `like`."""
    for axis in (1, 2):
        places = ops.minimum(ops.floor(_places(like, axis) / 2.0), ops.max(_places(x, axis)))
        x = ops.take(x, ops.cast(places, "int32"), axis=axis)
    return x


def _twice_as(x: Tensor, like: Tensor) -> Tensor:
    """Return `x` resized as layers.Resizing does, to twice the size of `like`."""
    # Products with matrices: Resizing needs the size when the model is built.
    values = ops.cast(x, "float32")
    for axis, product in ((1, "ih,bhwc->biwc"), (2, "jw,biwc->bijc")):
        before, after = _places(x, axis), _places(ops.repeat(like, 2, axis=axis), axis)
        last = ops.max(before)
        places = (after + 0.5) * ((last + 1.0) / (ops.max(after) + 1.0)) - 0.5
        places = ops.minimum(ops.maximum(places, 0.0), last)
        weights = ops.relu(1.0 - ops.abs(places[:, None] - before[None, :]))
        values = ops.einsum(product, weights, values)
    return ops.cast(values, x.dtype)
