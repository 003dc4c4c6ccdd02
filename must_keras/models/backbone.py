"""The residual network that turns an image into feature maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import keras

from must_keras.errors import UserError

# Mean and standard deviation of ImageNet's training images, RGB in [0, 255].
_MEAN = (123.675, 116.28, 103.53)
_DEVIATION = (58.395, 57.12, 57.375)


# He et al. (arXiv 1512.03385), table 1: number of blocks of each stage.
_PUBLISHED = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet:
    """A residual network, version 1 (He et al., 2016): the stride stands in the 1x1 convolution.

    keras-cv builds it, by explicit arguments. On a Keras backend other than TensorFlow, which
    keras-cv needs, keras.applications.ResNet50 stands in, whatever the arguments.

    Attributes:
        filters: channels inside the blocks of each of the four stages.
        blocks: number of blocks of each stage.
        block_type: "block" (bottleneck, four times as many channels out) or "basic_block".
    """

    filters: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    block_type: Literal["block", "basic_block"] = "block"

    @classmethod
    def small(cls) -> ResNet:
        """One narrow block a stage: it learns in minutes on a CPU."""
        return cls(filters=(16, 32, 64, 128), blocks=(1, 1, 1, 1))

    @classmethod
    def of_depth(cls, depth: Literal[18, 34, 50, 101, 152]) -> ResNet:
        """The published network with this many layers.

        Raises:
            UserError: none was published.
        """
        if depth not in _PUBLISHED:
            allowed = ", ".join(map(str, _PUBLISHED))
            raise UserError(f"a ResNet has {allowed} layers, received {depth}")
        return cls(blocks=_PUBLISHED[depth], block_type="basic_block" if depth < 50 else "block")

    def build(
        self, size: tuple[int, int] | None, norm: Mapping[str, Any], name: str = "backbone"
    ) -> keras.Model:
        """A model from images to {"C2", "C3", "C4", "C5"}, strides 4 to 32.

        It consists of plain Keras layers: saved, it loads without keras-cv and must_keras.

        Args:
            size: (H, W) of the images, multiples of 32; None: any.
            norm: keyword arguments of every BatchNormalization.
            name: of the model.

        Raises:
            ValueError: the levels would not halve exactly from one to the next.
        """
        if size is not None and any(side < 1 or side % 32 for side in size):
            raise ValueError(
                f"height and width of the images must be multiples of 32, received {tuple(size)}"
            )
        image = keras.Input((*(size or (None, None)), 3), name="image")
        scaled = keras.layers.Normalization(
            mean=_MEAN, variance=[d * d for d in _DEVIATION], name="imagenet_statistics"
        )(image)
        network, levels = self._network(scaled)
        features = {level: network.get_layer(layer).output for level, layer in levels.items()}

        def clone(layer: keras.Layer) -> keras.Layer:
            config = layer.get_config()
            if isinstance(layer, keras.layers.BatchNormalization):
                config |= norm
            return type(layer).from_config(config)

        cloned = keras.models.clone_model(keras.Model(image, features), clone_function=clone)
        return keras.Model(cloned.input, cloned.output, name=name)

    def _network(self, image: Any) -> tuple[keras.Model, dict[str, str]]:
        """The network as a library makes it, and the layers that end its stages."""
        if keras.backend.backend() != "tensorflow":
            network = keras.applications.ResNet50(
                weights=None, include_top=False, input_tensor=image
            )
            last_blocks = {"C2": 3, "C3": 4, "C4": 6, "C5": 3}
            return network, {c: f"conv{c[1]}_block{n}_out" for c, n in last_blocks.items()}
        from keras_cv.models import ResNetBackbone

        network = ResNetBackbone(
            stackwise_filters=list(self.filters),
            stackwise_blocks=list(self.blocks),
            stackwise_strides=[1, 2, 2, 2],
            include_rescaling=False,
            block_type=self.block_type,
            input_shape=tuple(image.shape[1:]),
            input_tensor=image,
        )
        inputs = network.pyramid_level_inputs
        return network, {f"C{level}": inputs[f"P{level}"] for level in range(2, 6)}
