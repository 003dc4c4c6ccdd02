"""The layers of residual networks, version 1, as keras-cv or as torchvision arranges them.

Reference: Deep Residual Learning for Image Recognition (arXiv 1512.03385).
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from keras import layers

from must_keras.ops import Tensor

BlockType = Literal["block", "basic_block"]

# Sides of the convolutions of a block.
_SIDES = {"block": (1, 3, 1), "basic_block": (3, 3)}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Arrangement:
    """What two public implementations of one network do differently.

    Attributes:
        stride_side: side of the convolution that has the stride of a "block".
        is_symmetric: whether a convolution or pooling with a stride has equal padding on all sides;
            else TensorFlow's "same", with more of it at the bottom and at the right.
        epsilon: of every BatchNormalization.
        stem: names of the first convolution and its BatchNormalization.
        block: name of a block, a function of its stage and its place in the stage, both from 0.
        within: names of a convolution and its BatchNormalization, a function of the block's name
            and their place in it, from 1; 0 for the shortcut.

    Example:
        residual_levels(image, (64, 128, 256, 512), (2, 2, 2, 2), "basic_block", KERAS_CV)
    """

    stride_side: Literal[1, 3]
    is_symmetric: bool
    epsilon: float
    stem: tuple[str, str]
    block: Callable[[int, int], str]
    within: Callable[[str, int], tuple[str, str]]

    def conv(
        self, x: Tensor, filters: int, side: int, names: tuple[str, str], *, stride: int = 1
    ) -> Tensor:
        """Apply a convolution without bias, and its BatchNormalization."""
        x, padding = self._padded(x, side, stride, names[0])
        x = layers.Conv2D(
            filters, side, strides=stride, padding=padding, use_bias=False, name=names[0]
        )(x)
        return layers.BatchNormalization(axis=3, epsilon=self.epsilon, name=names[1])(x)

    def pool(self, x: Tensor) -> Tensor:
        """Take the maximum of 3x3 values at every second place; of values of at least 0."""
        x, padding = self._padded(x, 3, 2, "pool1_pool")
        return layers.MaxPooling2D(3, strides=2, padding=padding, name="pool1_pool")(x)

    def _padded(self, x: Tensor, side: int, stride: int, name: str) -> tuple[Tensor, str]:
        """Return the input of a layer, and its own padding."""
        if side == 1:
            return x, "valid"
        if stride == 1 or not self.is_symmetric:
            return x, "same"
        return layers.ZeroPadding2D(side // 2, name=f"{name}_pad")(x), "valid"


# Names, arguments and order of the layers are those of keras-cv 0.9's ResNetBackbone, which needs
# TensorFlow: the weights of either fit the other, and a seed gives both the same.
KERAS_CV = Arrangement(
    stride_side=1,
    is_symmetric=False,
    epsilon=1.001e-5,
    stem=("conv1_conv", "conv1_bn"),
    block=lambda stage, place: f"v2_stack_{stage}_block{place + 1}",
    within=lambda block, place: (f"{block}_{place}_conv", f"{block}_{place}_bn"),
)

# Names are those of the arrays in torchvision's and timm's files; the stride is in the 3x3
# convolution, as in torchvision's "ResNet v1.5".
TORCH = Arrangement(
    stride_side=3,
    is_symmetric=True,
    epsilon=1e-5,
    stem=("conv1", "bn1"),
    block=lambda stage, place: f"layer{stage + 1}.{place}",
    within=lambda block, place: (
        (f"{block}.conv{place}", f"{block}.bn{place}")
        if place
        else (f"{block}.downsample.0", f"{block}.downsample.1")
    ),
)


def residual_levels(
    x: Tensor,
    filters: Sequence[int],
    blocks: Sequence[int],
    block_type: BlockType,
    arrangement: Arrangement,
) -> dict[str, Tensor]:
    """Return {"C2", ..., "C5"} of a symbolic image, by new layers.

    Args:
        x: [B, H, W, 3], normalized.
        filters: channels inside the blocks of each stage.
        blocks: number of blocks of each stage.
        block_type: see ResNet.
        arrangement: of the layers.
    """
    x = arrangement.conv(x, 64, 7, arrangement.stem, stride=2)
    x = layers.Activation("relu", name="conv1_relu")(x)
    x = arrangement.pool(x)
    levels = {}
    for stage, (width, count) in enumerate(zip(filters, blocks, strict=True)):
        for place in range(count):
            stride = 2 if place == 0 and stage > 0 else 1
            # Where stride or channels change, the shortcut is a convolution.
            projects = place == 0 and (stage > 0 or block_type == "block")
            name = arrangement.block(stage, place)
            x = _block(x, width, block_type, arrangement, name, stride=stride, projects=projects)
        levels[f"C{stage + 2}"] = x
    return levels


def _block(
    x: Tensor,
    filters: int,
    block_type: BlockType,
    arrangement: Arrangement,
    name: str,
    *,
    stride: int,
    projects: bool,
) -> Tensor:
    """Add two or three convolutions to their input, or to a projection of it."""
    sides = _SIDES[block_type]
    widths = (filters, filters, 4 * filters) if block_type == "block" else (filters, filters)
    strided = sides.index(arrangement.stride_side) if block_type == "block" else 0
    shortcut = x
    if projects:
        names = arrangement.within(name, 0)
        shortcut = arrangement.conv(x, widths[-1], 1, names, stride=stride)
    for place, (side, width) in enumerate(zip(sides, widths, strict=True)):
        names = arrangement.within(name, place + 1)
        own = stride if place == strided else 1
        x = arrangement.conv(x, width, side, names, stride=own)
        if place + 1 < len(sides):
            x = layers.Activation("relu", name=f"{name}_{place + 1}_relu")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.Activation("relu", name=f"{name}_out")(x)
