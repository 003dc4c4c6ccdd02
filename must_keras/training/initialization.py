"""Where a model's weights come from before its first step."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from must_keras.errors import UserError, reason
from must_keras.files import file_sha256
from must_keras.modeling.loading import load_model
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE, NECK, Network


class Start(abc.ABC):
    """Fills a new model, whose weights are random, as far as it can."""

    @abc.abstractmethod
    def apply(self, model: keras.Model, network: Network) -> list[str]:
        """Copies weights into a model and names the parts: "backbone", "neck", heads.

        Raises:
            UserError: the weights are not there, or do not fit.
        """

    def tell(self, parts: Sequence[str]) -> str:
        """What the weights are, for the log, where `apply` has given these parts."""
        return f"{self} ({', '.join(parts)})" if parts else "scratch"

    @abc.abstractmethod
    def depends_on(self, network: Network) -> dict[str, Any]:
        """What the weights are, not where they lie: plain data.

        Raises:
            UserError: they are not there.
        """


@dataclasses.dataclass(frozen=True)
class FromScratch(Start):
    """Random weights."""

    def __str__(self) -> str:
        return "scratch"

    def apply(self, model: keras.Model, network: Network) -> list[str]:
        del model, network
        return []

    def depends_on(self, network: Network) -> dict[str, Any]:
        del network
        return {"type": "FromScratch"}


@dataclasses.dataclass(frozen=True)
class FromCheckpoint(Start):
    """The weights that the network's backbone brings: see Backbone.checkpoint."""

    def __str__(self) -> str:
        return "the backbone's own weights"

    def apply(self, model: keras.Model, network: Network) -> list[str]:
        model.get_layer(BACKBONE).set_weights(network.backbone.checkpoint())
        return [BACKBONE]

    def depends_on(self, network: Network) -> dict[str, Any]:
        return {"type": "FromCheckpoint", "sha256": network.backbone.checkpoint_sha256()}


@dataclasses.dataclass(frozen=True)
class _FromFile(Start):
    """Weights of a file.

    Attributes:
        path: the file.
    """

    path: str | pathlib.Path

    def __str__(self) -> str:
        return str(self.path)

    def depends_on(self, network: Network) -> dict[str, Any]:
        del network
        return {"type": type(self).__name__, "sha256": file_sha256(self._file())}

    def _file(self) -> pathlib.Path:
        path = pathlib.Path(self.path)
        if not path.is_file():
            raise UserError(f"there is no file {path}")
        return path

    def _load(self) -> keras.Model:
        return load_model(self._file(), remedy="check the file, or give another start")


@dataclasses.dataclass(frozen=True)
class FromModel(_FromFile):
    """A model.keras that must_keras saved: its backbone, its pyramid, and the heads of both.

    Or a .weights.h5 of a model with the same backbone, pyramid and heads.
    """

    def apply(self, model: keras.Model, network: Network) -> list[str]:
        del network
        if pathlib.Path(self.path).name.endswith(".weights.h5"):
            return self._all_weights(model)
        found = self._load()
        if not isinstance(found, MultiTaskModel):
            raise UserError(f"{self.path} is no model that must_keras saved")
        heads = [name for name, task in model.tasks.items() if found.tasks.get(name) == task]
        # What the start has never learned, its copy has not either.
        model.untaught = {name: found.untaught.get(name, ()) for name in heads}
        return copy_parts(model, found, (BACKBONE, NECK, *heads))

    def _all_weights(self, model: MultiTaskModel) -> list[str]:
        try:
            model.load_weights(self._file())
        except Exception as error:  # What a damaged HDF5 file raises is no closed list.
            raise UserError(
                f"the weights of {self.path} do not fit: {reason(error)}; give the weights of a "
                "model with the same backbone, pyramid and heads"
            ) from error
        return [layer.name for layer in model.layers if layer.weights]


@dataclasses.dataclass(frozen=True)
class FromBackbone(_FromFile):
    """The backbone alone of another run: of any of its model.keras or its export/backbone.keras."""

    def apply(self, model: keras.Model, network: Network) -> list[str]:
        del network
        found = self._load()
        has_one = BACKBONE in {layer.name for layer in found.layers}
        backbone = found.get_layer(BACKBONE) if has_one else found
        return copy_layers({BACKBONE: model.get_layer(BACKBONE)}, {BACKBONE: backbone})


def copy_parts(model: keras.Model, start: keras.Model, parts: tuple[str, ...]) -> list[str]:
    """Copies the weights of the parts that both models have, and names them.

    Raises:
        UserError: the weights of a part are of other shapes.
    """
    sides = [
        {layer.name: layer for layer in side.layers if layer.name in parts}
        for side in (model, start)
    ]
    return copy_layers(*sides)


def copy_layers(to: Mapping[str, keras.Layer], of: Mapping[str, keras.Layer]) -> list[str]:
    """Copies the weights of layers of the same name, and names them.

    Raises:
        UserError: the weights of a layer are of other shapes.
    """
    copied = [name for name in to if name in of]
    for name in copied:
        weights = of[name].get_weights()
        shapes = [[tuple(w.shape) for w in side] for side in (to[name].weights, weights)]
        if shapes[0] != shapes[1]:
            raise UserError(f"the start's {name} is another network: their weights differ in shape")
        to[name].set_weights(weights)
    return copied
