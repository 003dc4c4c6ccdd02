"""The classifiers of keras.applications as backbones, with their ImageNet weights."""

import dataclasses
import pathlib
import sys
from typing import Any

import keras
import numpy as np

from must_keras.errors import UserError, expect, not_allowed, reason
from must_keras.files import file_sha256
from must_keras.modeling.backbone import Backbone, scaled
from must_keras.modeling.feature_levels import (
    copied_weights,
    copy_levels,
    find_levels,
    pixel_statistics,
)

_STORAGE = "https://storage.googleapis.com/"
_KERNELS = "weights_tf_dim_ordering_tf_kernels"
# {address of a family's files without a classifier: {name: what stands for it in the address}}
_FAMILIES = {
    f"tensorflow/keras-applications/resnet/{{}}_{_KERNELS}_notop.h5": {
        "resnet50": "resnet50", "resnet101": "resnet101", "resnet152": "resnet152",
        "resnet50_v2": "resnet50v2", "resnet101_v2": "resnet101v2", "resnet152_v2": "resnet152v2",
    },
    "tensorflow/keras-applications/convnext/convnext_{}_notop.h5": {
        "convnext_tiny": "tiny", "convnext_small": "small", "convnext_base": "base",
        "convnext_large": "large", "convnext_xlarge": "xlarge",
    },
    "keras-applications/efficientnet{}_notop.h5": {
        "efficientnet_b0": "b0", "efficientnet_b1": "b1", "efficientnet_b2": "b2",
        "efficientnet_b3": "b3", "efficientnet_b4": "b4", "efficientnet_b5": "b5",
        "efficientnet_b6": "b6", "efficientnet_b7": "b7",
    },
    "tensorflow/keras-applications/efficientnet_v2/efficientnetv2-{}_notop.h5": {
        "efficientnet_v2_b0": "b0", "efficientnet_v2_b1": "b1", "efficientnet_v2_b2": "b2",
        "efficientnet_v2_b3": "b3", "efficientnet_v2_s": "s", "efficientnet_v2_m": "m",
        "efficientnet_v2_l": "l",
    },
    "tensorflow/keras-applications/mobilenet/{}_tf_no_top.h5": {"mobilenet": "mobilenet_1_0_224"},
    f"tensorflow/keras-applications/mobilenet_v2/mobilenet_v2_{_KERNELS}_{{}}_no_top.h5": {
        "mobilenet_v2": "1.0_224",
    },
    "tensorflow/keras-applications/mobilenet_v3/weights_mobilenet_v3_{}_float_no_top_v2.h5": {
        "mobilenet_v3_small": "small_224_1.0", "mobilenet_v3_large": "large_224_1.0",
    },
    f"tensorflow/keras-applications/densenet/{{}}_{_KERNELS}_notop.h5": {
        "densenet121": "densenet121", "densenet169": "densenet169", "densenet201": "densenet201",
    },
}  # fmt: skip
_ADDRESSES = {
    name: _STORAGE + pattern.format(word)
    for pattern, words in _FAMILIES.items()
    for name, word in words.items()
}
# EfficientNet's file has these as weights of its Normalization, the deviation in the place of the
# variance (github.com/tensorflow/tensorflow/issues/49930); keras.applications divides once more by
# the root of the deviation, but only in the network for which it downloads the file itself.
_EFFICIENTNET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Pixels a side of the classifiers that are taken apart: every level has a stride of its own.
_SIDE = 64


@dataclasses.dataclass(frozen=True)
class Pretrained(Backbone):
    """A classifier of keras.applications up to its last feature map, with its ImageNet weights.

    Images are RGB in [0, 255] as everywhere: what the classifier does to pixels is a part of the
    backbone. C2 to C4 are the outputs of the last block of their stride, C5 is the map before
    pooling. Keras downloads the weights when they are first needed, to ~/.keras/models.

    Attributes:
        name: "resnet50", "convnext_tiny", "efficientnet_v2_s", "mobilenet_v3_large", ...; an
            unknown one is answered with all of them.
        weights: path of a file with the weights of this classifier, where there is no network;
            None: Keras' own.

    Raises:
        UserError: there is no such classifier, or it has no feature maps of strides 4 to 32.

    Example:
        mk.Network(backbone=mk.Pretrained("resnet50"), size=512)

    """

    name: str
    weights: str | pathlib.Path | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        expect("Pretrained", self, name=str)
        if self.name not in _ADDRESSES:
            problem = (
                f"keras.applications has no {self.name!r} with feature maps of strides 4, 8, 16 "
                "and 32"
            )
            raise not_allowed(problem, self.name, _ADDRESSES, key="name")

    def describe(self) -> dict[str, Any]:
        """Return type and name alone: FromCheckpoint identifies the weights."""
        return {"type": "Pretrained", "name": self.name}

    def checkpoint(self) -> list[np.ndarray]:
        return copied_weights(self._trained(), self.build(None, {}))

    def checkpoint_sha256(self) -> str:
        return file_sha256(self._file())

    def _features(self, image: Any) -> dict[str, Any]:
        model = self._classifier()
        preprocess = sys.modules[self._function.__module__].preprocess_input
        pixels = pixel_statistics(model, preprocess, learned=_EFFICIENTNET)
        ordered = keras.ops.flip(image, axis=-1) if pixels.is_bgr else image
        inputs = scaled(ordered, mean=pixels.mean, deviation=pixels.deviation)
        return copy_levels(model, inputs, find_levels(model))

    @property
    def _function(self) -> Any:
        wanted = self.name.replace("_", "")
        found = vars(keras.applications).items()
        return next(value for key, value in found if key.lower() == wanted and callable(value))

    def _classifier(self, *, side: int = _SIDE, include_top: bool = False) -> keras.Model:
        """Return the model of keras.applications with random weights."""
        return self._function(include_top=include_top, weights=None, input_shape=(side, side, 3))

    def _trained(self) -> keras.Model:
        """Return the model of keras.applications without its classifier, with the file's weights.

        Raises:
            UserError: the file has the weights of something else.
        """
        path, model = self._file(), self._classifier()
        try:
            model.load_weights(path)
        except Exception as error:  # The errors of damaged HDF5 files are no closed list.
            whole = self._classifier(side=224, include_top=True)
            try:
                whole.load_weights(path)
            except Exception:
                problem = f"does not fit {self.name}: {reason(error)}; {self._remedy}"
                raise UserError.at(path, problem, key="weights", remedy=self._remedy) from error
            model.set_weights(whole.get_weights()[: len(model.weights)])
        for layer in model.layers:
            if isinstance(layer, keras.layers.Normalization) and layer.weights:
                mean, variance, *_ = layer.get_weights()
                if not np.allclose((mean, variance), _EFFICIENTNET, atol=1e-3):
                    problem = f"normalizes by {mean} and {variance}, expected {_EFFICIENTNET}"
                    raise UserError.at(path, f"{problem}; {self._remedy}", key="weights")
        return model

    def _file(self) -> pathlib.Path:
        if self.weights is not None:
            path = pathlib.Path(self.weights)
            if not path.is_file():
                problem = f"there is no file {path}; {self._remedy}"
                raise UserError(problem, path=path, key="weights", remedy=self._remedy)
            return path
        address = _ADDRESSES[self.name]
        try:
            return pathlib.Path(keras.utils.get_file(origin=address, cache_subdir="models"))
        except Exception as error:  # Keras raises no other class.
            cause = reason(error).removeprefix(f"URL fetch failure on {address}: ")
            problem = f"the weights of {self.name} cannot be downloaded: {cause}; {self._remedy}"
            raise UserError(problem, key="weights", remedy=self._remedy) from error

    @property
    def _remedy(self) -> str:
        give = f"Pretrained({self.name!r}, weights=path)"
        return f"fetch {_ADDRESSES[self.name]} where there is a network, and give {give}"
