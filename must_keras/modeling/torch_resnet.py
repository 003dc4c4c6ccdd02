"""ResNets as torchvision and timm arrange them, and their weights from and to PyTorch's files."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Literal

import keras
import numpy as np

from must_keras.errors import UserError, listed
from must_keras.files import file_sha256
from must_keras.modeling.backbone import IMAGENET_DEVIATION, IMAGENET_MEAN, Backbone, ResNet, scaled
from must_keras.modeling.residual import TORCH, residual_levels
from must_keras.modeling.state_dict import read_state_dict, write_state_dict

# {name of a Keras variable: name of PyTorch's array in the same layer}
_ARRAYS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
# What a file has beside the backbone: the classifier, and counters of training steps.
_CLASSIFIER = ("fc.weight", "fc.bias")
_COUNTER = ".num_batches_tracked"


@dataclasses.dataclass(frozen=True)
class TorchResNet(Backbone):
    """A ResNet that torchvision's and timm's weights fit, and whose weights fit torchvision.

    The stride of a block is in its 3x3 convolution ("v1.5"), and padding is equal on all sides; in
    `ResNet`, which keras-cv arranged, it is in the first convolution, with TensorFlow's padding.

    Attributes:
        depth: number of layers: 18, 34, 50, 101 or 152.
        weights: path of a .pth or .safetensors file with the state dict of torchvision's or timm's
            network of this name, such as "resnet50"; None: random weights.

    Raises:
        UserError: no such network was published.

    Example:
        backbone = mk.TorchResNet(50, weights="resnet50.safetensors")
        mk.Network(backbone=backbone, size=512)

    Reference: Deep Residual Learning for Image Recognition (arXiv 1512.03385), with the stride in
    the 3x3 convolution.

    """

    depth: Literal[18, 34, 50, 101, 152]
    weights: str | pathlib.Path | None = dataclasses.field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        ResNet.of_depth(self.depth)

    @property
    def has_checkpoint(self) -> bool:
        """Whether a file was given."""
        return self.weights is not None

    def describe(self) -> dict[str, Any]:
        """Return type and depth alone: FromCheckpoint identifies the weights."""
        return {"type": "TorchResNet", "depth": self.depth}

    def checkpoint(self) -> list[np.ndarray]:
        path = self._path()
        state, model = read_state_dict(path), self.build(None, {})
        remedy = f"give the state dict of torchvision's or timm's resnet{self.depth}"
        for layer, variable, key in _places(model):
            shape = to_torch(layer, np.broadcast_to(0.0, variable.shape)).shape
            if key not in state:
                begins = f"it contains {listed(list(state))}"
                raise UserError.at(path, f"has no {key}; {begins}; {remedy}", key=key)
            if state[key].shape != shape:
                problem = f"{key} has the shape {state[key].shape}, expected {shape}; {remedy}"
                raise UserError.at(path, f": {problem}", key=key)
            variable.assign(from_torch(layer, state.pop(key)))
        for key in state:
            if key not in _CLASSIFIER and not key.endswith(_COUNTER):
                raise UserError.at(path, f"has {key}, which the network has not; {remedy}", key=key)
        return model.get_weights()

    def checkpoint_sha256(self) -> str:
        return file_sha256(self._path())

    def _path(self) -> pathlib.Path:
        if self.weights is None:
            raise UserError(
                f"TorchResNet({self.depth}) has no weights: give weights=, the path of a .pth or "
                ".safetensors file, or choose another initialization",
                key="weights",
            )
        path = pathlib.Path(self.weights)
        if not path.is_file():
            raise UserError(f"there is no file {path}", path=path, key="weights")
        return path

    def _features(self, image: Any) -> dict[str, Any]:
        shape = ResNet.of_depth(self.depth)
        inputs = scaled(image, mean=IMAGENET_MEAN, deviation=IMAGENET_DEVIATION)
        return residual_levels(inputs, shape.filters, shape.blocks, shape.block_type, TORCH)


def from_torch(layer: keras.Layer, array: np.ndarray) -> np.ndarray:
    """Return PyTorch's array in Keras' order of axes: kernels [O, I, h, w] as [h, w, I, O]."""
    return array.transpose(2, 3, 1, 0) if isinstance(layer, keras.layers.Conv2D) else array


def to_torch(layer: keras.Layer, array: np.ndarray) -> np.ndarray:
    """Return Keras' array in PyTorch's order of axes: kernels [h, w, I, O] as [O, I, h, w]."""
    return array.transpose(3, 2, 0, 1) if isinstance(layer, keras.layers.Conv2D) else array


def save_torch_resnet(
    backbone: keras.Model,
    path: str | os.PathLike[str],
    *,
    classifier: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Write the weights of a trained TorchResNet as a state dict that torchvision loads.

    Without `classifier` the file has none, because must_keras trains none of ImageNet's classes:
    set `model.fc = torch.nn.Identity()`, and `load_state_dict(..., strict=True)` takes it. With
    the two arrays of a classification head, which are those of `fc`,
    `torchvision.models.resnet50(num_classes=K)` takes it.

    Args:
        backbone: a model of `TorchResNet`, such as `run.backbone()` of its run.
        path: of a new .safetensors file.
        classifier: kernel [C, K] and bias [K] of a linear layer on the mean of C5, in the
            order of `get_weights()` of a head of Classification; None: none.

    Raises:
        UserError: the backbone is none of torchvision's arrangement, or the path has another
            suffix.

    Example:
        run = mk.open_run("runs/mine")
        mk.save_torch_resnet(run.backbone(), "student.safetensors")
    """
    if not any(layer.name == TORCH.block(0, 0) + ".conv1" for layer in backbone.layers):
        raise UserError(
            f"the model {backbone.name!r} is no TorchResNet: torchvision has no network with its "
            "arrangement; train with backbone=TorchResNet(50), or another depth"
        )
    state = {
        key: to_torch(layer, keras.ops.convert_to_numpy(variable))
        for layer, variable, key in _places(backbone)
    }
    if classifier is not None:
        kernel, bias = map(np.asarray, classifier)
        state |= dict(zip(_CLASSIFIER, (kernel.T, bias), strict=True))
    write_state_dict(path, state)


def _places(model: keras.Model) -> Iterator[tuple[keras.Layer, keras.Variable, str]]:
    """Yield every variable with its layer and the name of its array in PyTorch's file."""
    for layer in model.layers:
        for variable in layer.weights:
            yield layer, variable, f"{layer.name}.{_ARRAYS[variable.name]}"
