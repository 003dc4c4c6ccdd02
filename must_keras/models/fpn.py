"""The feature pyramid, and its sum at stride 4.

Values as in the paper's authors' other public code (Lin et al., 2017, with their additions).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
from keras import layers

Tensor = Any


def build_pyramid(
    features: Mapping[str, Tensor], *, channels: int, norm: Mapping[str, Any]
) -> dict[str, Tensor]:
    """P3 to P7 from C3 to C5, in plain Keras layers.

    1x1 laterals, nearest x2 from the top down, a 3x3 convolution after each sum; P6 is a 3x3
    convolution of stride 2 on P5, P7 one on relu(P6); then a BatchNormalization for each level.

    Args:
        features: {"C3", "C4", "C5": [B, h, w, C]}; each twice as large as the next, h and w known.
        channels: of every level.
        norm: keyword arguments of every BatchNormalization.

    Raises:
        ValueError: the image's size is not a multiple of 32.
    """
    height, width = features["C5"].shape[1:3]
    for level, factor in (("C4", 2), ("C3", 4)):
        cells = tuple(features[level].shape[1:3])
        if None in (height, width) or cells != (height * factor, width * factor):
            raise ValueError(
                "the pyramid needs an image whose height and width are known multiples of 32; "
                f"received {level} of {cells} cells and C5 of {(height, width)}"
            )

    def conv(x: Tensor, name: str, size: int = 3, stride: int = 1) -> Tensor:
        return layers.Conv2D(channels, size, strides=stride, padding="same", name=name)(x)

    inner = conv(features["C5"], "lateral_5", size=1)
    pyramid = {"P5": conv(inner, "output_5")}
    for level in (4, 3):
        above = layers.UpSampling2D(2, interpolation="nearest", name=f"upsampled_{level}")(inner)
        lateral = conv(features[f"C{level}"], f"lateral_{level}", size=1)
        inner = layers.Add(name=f"sum_{level}")([lateral, above])
        pyramid[f"P{level}"] = conv(inner, f"output_{level}")
    pyramid["P6"] = conv(pyramid["P5"], "output_6", stride=2)
    pyramid["P7"] = conv(
        layers.Activation("relu", name="relu_6")(pyramid["P6"]), "output_7", stride=2
    )
    return {
        f"P{level}": layers.BatchNormalization(**norm, name=f"norm_{level}")(pyramid[f"P{level}"])
        for level in range(3, 8)
    }


def fuse(pyramid: Mapping[str, Tensor]) -> Tensor:
    """All levels resized bilinearly to stride 4, twice the size of P3, and added: [B, h, w, C]."""
    height, width = (2 * side for side in pyramid["P3"].shape[1:3])
    resized = [
        layers.Resizing(height, width, interpolation="bilinear", name=f"resized_{level}")(x)
        for level, x in sorted(pyramid.items())
    ]
    return layers.Add(name="P2")(resized)


def build_neck(
    features: Mapping[str, Tensor], *, channels: int, norm: Mapping[str, Any], name: str = "neck"
) -> keras.Model:
    """A model from {"C3", "C4", "C5"} to {"P2" (fused), "P3", ..., "P7"}.

    Args:
        features: the backbone's outputs, for their shapes.
        channels: of every level.
        norm: keyword arguments of every BatchNormalization.
        name: of the model.
    """
    inputs = {
        level: keras.Input(features[level].shape[1:], name=level) for level in ("C3", "C4", "C5")
    }
    pyramid = build_pyramid(inputs, channels=channels, norm=norm)
    return keras.Model(inputs, {"P2": fuse(pyramid), **pyramid}, name=name)
