"""Where a model's weights come from before its first step."""

from __future__ import annotations

import abc
import dataclasses
import pathlib
from typing import Any

import keras

from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.training.model import BACKBONE, NECK, MultiTaskModel, Network


class Start(abc.ABC):
    """Fills a new model, whose weights are random, as far as it can."""

    @abc.abstractmethod
    def apply(self, model: MultiTaskModel, network: Network) -> list[str]:
        """Copies weights into a model and names the parts: "backbone", "neck", heads.

        Raises:
            UserError: the weights are not there, or do not fit.
        """

    @abc.abstractmethod
    def depends_on(self, network: Network) -> dict[str, Any]:
        """What the weights are, not where they lie: plain data.

        Raises:
            UserError: they are not there.
        """


@dataclasses.dataclass(frozen=True)
class FromScratch(Start):
    """Random weights."""

    def apply(self, model: MultiTaskModel, network: Network) -> list[str]:
        del model, network
        return []

    def depends_on(self, network: Network) -> dict[str, Any]:
        del network
        return {"type": "FromScratch"}


@dataclasses.dataclass(frozen=True)
class FromCheckpoint(Start):
    """The weights that the network's backbone brings: see Backbone.checkpoint."""

    def apply(self, model: MultiTaskModel, network: Network) -> list[str]:
        model.get_layer(BACKBONE).set_weights(network.backbone.checkpoint())
        return [BACKBONE]

    def depends_on(self, network: Network) -> dict[str, Any]:
        return {"type": "FromCheckpoint", "sha256": network.backbone.checkpoint_sha256()}


@dataclasses.dataclass(frozen=True)
class FromModel(Start):
    """A model.keras that must_keras saved: its backbone, its pyramid, and the heads of both.

    Attributes:
        path: the file.
    """

    path: str | pathlib.Path

    def apply(self, model: MultiTaskModel, network: Network) -> list[str]:
        del network
        found = keras.saving.load_model(self._file())
        if not isinstance(found, MultiTaskModel):
            raise UserError(f"{self.path} is no model that must_keras saved")
        heads = [name for name, task in model.tasks.items() if found.tasks.get(name) == task]
        return copy_parts(model, found, (BACKBONE, NECK, *heads))

    def depends_on(self, network: Network) -> dict[str, Any]:
        del network
        return {"type": "FromModel", "sha256": file_sha256(self._file())}

    def _file(self) -> pathlib.Path:
        path = pathlib.Path(self.path)
        if not path.is_file():
            raise UserError(f"there is no file {path}")
        return path


def copy_parts(model: MultiTaskModel, start: keras.Model, parts: tuple[str, ...]) -> list[str]:
    """Copies the weights of the parts that both models have, and names them.

    Raises:
        UserError: the weights of a part are of other shapes.
    """
    names = {layer.name for layer in start.layers} & {layer.name for layer in model.layers}
    copied = [part for part in parts if part in names]
    for part in copied:
        mine, others = model.get_layer(part), start.get_layer(part).get_weights()
        shapes = [[tuple(w.shape) for w in weights] for weights in (mine.weights, others)]
        if shapes[0] != shapes[1]:
            raise UserError(f"the start's {part} is another network: their weights differ in shape")
        mine.set_weights(others)
    return copied
