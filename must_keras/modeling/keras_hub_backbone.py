"""Presets of KerasHub as backbones: its own, and those of timm on Hugging Face."""

import dataclasses
import pathlib
from typing import Any

import keras
import numpy as np

from must_keras.errors import UserError, expect, listed
from must_keras.files import file_sha256, json_sha256
from must_keras.modeling.backbone import Backbone, scaled
from must_keras.modeling.feature_levels import copied_weights, copy_levels, pixel_statistics
from must_keras.modeling.keras_hub_presets import describe_preset, from_preset, keras_hub

_STRIDES = {"C2": 4, "C3": 8, "C4": 16, "C5": 32}
_CONFIG = "config.json"


@dataclasses.dataclass(frozen=True)
class KerasHub(Backbone):
    """A backbone of KerasHub with feature maps of strides 4 to 32, and its weights.

    Images are RGB in [0, 255] as everywhere: what the preset's image converter does to colors is a
    part of the backbone. KerasHub downloads a preset when it is first needed. It must consist of
    Keras' own layers, as its ResNets and DenseNets do, and its EfficientNets and MobileNets do not:
    the saved backbone loads without KerasHub.

    Attributes:
        preset: the name of a preset, "kaggle://...", "hf://timm/resnet50.a1_in1k", or a folder.

    Raises:
        UserError: KerasHub is not installed, the preset cannot be loaded, or it has no such maps
            or layers of its own.

    Example:
        mk.Network(backbone=mk.KerasHub("resnet_50_imagenet"), size=512)

    """

    preset: str | pathlib.Path

    def __post_init__(self) -> None:
        expect("KerasHub", self, preset=str | pathlib.Path)

    def describe(self) -> dict[str, Any]:
        """Return type and architecture alone: FromCheckpoint identifies the weights."""
        config = pathlib.Path(self.preset) / _CONFIG
        name = file_sha256(config) if config.is_file() else str(self.preset)
        return {"type": "KerasHub", "preset": name}

    def checkpoint(self) -> list[np.ndarray]:
        return copied_weights(self._backbone(load_weights=True), self.build(None, {}))

    def checkpoint_sha256(self) -> str:
        return json_sha256(describe_preset(self.preset))

    def _features(self, image: Any) -> dict[str, Any]:
        model = self._backbone(load_weights=False)
        outputs = {f"C{key[1:]}": value for key, value in model.pyramid_outputs.items()}
        absent = [level for level in _STRIDES if level not in outputs]
        if absent:
            raise self._unfit(f"has no feature maps of the strides of {listed(absent, limit=4)}")
        levels = {level: outputs[level] for level in _STRIDES}
        network = keras.Model(model.inputs[0], levels)
        own = {
            type(layer).__name__
            for layer in network.layers
            if not type(layer).__module__.startswith("keras.")
        }
        if own:
            raise self._unfit(f"has layers that Keras has not: {listed(sorted(own))}")
        pixels = pixel_statistics(network, self._converted, learned=((0.0,) * 3, (1.0,) * 3))
        inputs = scaled(image, mean=pixels.mean, deviation=pixels.deviation)
        names = {level: one._keras_history.operation.name for level, one in levels.items()}
        return copy_levels(network, inputs, names)

    def _backbone(self, *, load_weights: bool) -> Any:
        """Return KerasHub's model, with the preset's weights or random ones."""
        found = from_preset(keras_hub().models.Backbone, self.preset, load_weights=load_weights)
        if not getattr(found, "pyramid_outputs", None):
            raise self._unfit("has no feature maps of several strides")
        return found

    def _converted(self, colors: np.ndarray) -> Any:
        """Return what the preset's image converter makes of colors, without resizing them."""
        converter = from_preset(keras_hub().layers.ImageConverter, self.preset)
        if converter is None:
            raise self._unfit("has no image converter, so that its input is not known")
        converter.image_size = None
        return converter(colors.astype("float32"))

    def _unfit(self, problem: str) -> UserError:
        return UserError(
            f"the preset {self.preset} {problem}; choose a ResNet of KerasHub, for example",
            key="preset",
            value=self.preset,
        )
