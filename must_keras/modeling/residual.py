"""The stages of a residual network, version 1, of Keras' own layers: where keras-cv cannot run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from keras import layers

Tensor = Any
BlockType = Literal["block", "basic_block"]

# Names, arguments and order of the layers are those of keras-cv 0.9's ResNetBackbone, which needs
# TensorFlow: the weights of either fit the other, and a seed gives both the same.
_NORM = {"axis": 3, "epsilon": 1.001e-5}


def residual_stages(
    x: Tensor, *, filters: Sequence[int], blocks: Sequence[int], block_type: BlockType
) -> list[Tensor]:
    """What each stage gives: features at strides 4, 8, 16, 32.

    Args:
        x: a symbolic image, [B, H, W, 3].
        filters: channels inside the blocks of each stage.
        blocks: number of blocks of each stage.
        block_type: "block" (1x1, 3x3 and 1x1 convolutions, four times as many channels out) or
            "basic_block" (two of 3x3; the first stage must have 64 filters).

    Reference: Deep Residual Learning for Image Recognition (arXiv 1512.03385), with the stride in
    a block's first convolution.
    """
    x = _conv(x, 64, 7, name="conv1", stride=2, suffix="")
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool1_pool")(x)
    stages = []
    for stage, (width, count) in enumerate(zip(filters, blocks, strict=True)):
        for block in range(count):
            first = block == 0
            x = _block(
                x,
                width,
                block_type,
                stride=2 if first and stage > 0 else 1,
                # Where stride or channels change there is nothing to add to.
                projects=first and (stage > 0 or block_type == "block"),
                name=f"v2_stack_{stage}_block{block + 1}",
            )
        stages.append(x)
    return stages


def _block(
    x: Tensor, filters: int, block_type: BlockType, *, stride: int, projects: bool, name: str
) -> Tensor:
    """A residual block: two or three convolutions, and what they are added to."""
    sides = (1, 3, 1) if block_type == "block" else (3, 3)
    widths = (filters, filters, 4 * filters) if block_type == "block" else (filters, filters)
    shortcut = _conv(x, widths[-1], 1, name=name, stride=stride, suffix="_0") if projects else x
    for place, (side, width) in enumerate(zip(sides, widths, strict=True), 1):
        x = _conv(x, width, side, name=name, stride=stride, suffix=f"_{place}")
        if place < len(sides):
            x = layers.Activation("relu", name=f"{name}_{place}_relu")(x)
        stride = 1
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)


def _conv(x: Tensor, filters: int, side: int, *, name: str, stride: int, suffix: str) -> Tensor:
    """A convolution without bias, and its BatchNormalization."""
    x = layers.Conv2D(
        filters,
        side,
        strides=stride,
        padding="same" if side > 1 else "valid",
        use_bias=False,
        name=f"{name}{suffix}_conv",
    )(x)
    return layers.BatchNormalization(**_NORM, name=f"{name}{suffix}_bn")(x)
