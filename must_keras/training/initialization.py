"""Initializations: random weights, the backbone's checkpoint, or the weights of a saved model.

A new one is a subclass of Start; nothing lists them.
"""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras

from must_keras.errors import UserError, reason
from must_keras.files import file_sha256
from must_keras.modeling.loading import load_model
from must_keras.runs.artifact import Artifact
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE, NECK, Network


class Start(abc.ABC):
    """An initialization, as a frozen dataclass in a recipe.

    Attributes:
        has_heads: whether it may have weights of heads, beside those of the backbone.
        teacher: name of the teacher of the same run whose weights it needs; None: of none.

    Example:
        parts = FromModel("runs/mine/student/model.keras").apply(model, network)
        parts  # ["backbone", "neck", "boxes"]

    """

    has_heads: ClassVar[bool] = False
    teacher: ClassVar[str | None] = None

    def of_run(self, model_of: Callable[[str], pathlib.Path]) -> "Start":
        """Return the initialization in a run; here itself, see FromTeacher.

        Args:
            model_of: returns the path of a teacher's model.keras by the teacher's name.
        """
        return self

    @abc.abstractmethod
    def apply(self, model: keras.Model, network: Network) -> list[str]:
        """Copy weights into a new model; return the names of the layers: "backbone", "neck", heads.

        Args:
            model: with random weights.
            network: its backbone and size.

        Raises:
            UserError: the weights are missing, or do not fit.
        """

    def tell(self, parts: Sequence[str]) -> str:
        """Return the origin of a model's weights, for the log.

        Args:
            parts: the layers whose weights `apply` has copied.
        """
        return f"{self} ({', '.join(parts)})" if parts else "scratch"

    def artifact(self) -> Artifact | None:
        """Return the artifact whose folder contains the weights; None: they are in no folder."""
        return None

    @abc.abstractmethod
    def depends_on(self, network: Network) -> dict[str, Any]:
        """Return plain data that identify the weights, whatever their file is called.

        Raises:
            UserError: the weights are missing.
        """


@dataclasses.dataclass(frozen=True)
class FromScratch(Start):
    """Random weights.

    Example:
        mk.Student(training=training, start=mk.FromScratch())

    """

    def __str__(self) -> str:
        return "scratch"

    def apply(self, model: keras.Model, network: Network) -> list[str]:
        return []

    def depends_on(self, network: Network) -> dict[str, Any]:
        return {"type": "FromScratch"}


@dataclasses.dataclass(frozen=True)
class FromCheckpoint(Start):
    """The checkpoint of the network's backbone: see Backbone.checkpoint.

    Example:
        mk.Student(training=training, start=mk.FromCheckpoint())

    """

    def __str__(self) -> str:
        return "the backbone's own weights"

    def apply(self, model: keras.Model, network: Network) -> list[str]:
        model.get_layer(BACKBONE).set_weights(network.backbone.checkpoint())
        return [BACKBONE]

    def depends_on(self, network: Network) -> dict[str, Any]:
        return {"type": "FromCheckpoint", "sha256": network.backbone.checkpoint_sha256()}


@dataclasses.dataclass(frozen=True)
class _FromFile(Start):
    """Weights from a file.

    Attributes:
        path: of the file.
    """

    path: str | pathlib.Path

    def __str__(self) -> str:
        return str(self.path)

    def depends_on(self, network: Network) -> dict[str, Any]:
        return {"type": type(self).__name__, "sha256": file_sha256(self._file())}

    def artifact(self) -> Artifact | None:
        return Artifact(folder=pathlib.Path(self.path).parent)

    def _file(self) -> pathlib.Path:
        path = pathlib.Path(self.path)
        if not path.is_file():
            raise UserError(f"there is no file {path}", path=path)
        return path

    def _load(self) -> keras.Model:
        return load_model(self._file(), remedy="check the file, or give another initialization")


@dataclasses.dataclass(frozen=True)
class FromModel(_FromFile):
    """The backbone, the pyramid and equal heads of a model.keras that must_keras saved.

    Or all weights of a .weights.h5 of a model with the same backbone, pyramid and heads.

    Attributes:
        path: of the file.

    Example:
        mk.Student(training=training, start=mk.FromModel("runs/mine/student/model.keras"))

    """

    has_heads: ClassVar[bool] = True

    def apply(self, model: keras.Model, network: Network) -> list[str]:
        if pathlib.Path(self.path).name.endswith(".weights.h5"):
            return self._all_weights(model)
        found = self._load()
        if not isinstance(found, MultiTaskModel):
            raise UserError.at(self.path, "is no model that must_keras saved")
        heads = [name for name, task in model.tasks.items() if found.tasks.get(name) == task]
        # What no label has taught the saved model, its copy has not learned either.
        model.untaught = {name: found.untaught.get(name, ()) for name in heads}
        return copy_parts(model, found, (BACKBONE, NECK, *heads))

    def _all_weights(self, model: MultiTaskModel) -> list[str]:
        try:
            model.load_weights(self._file())
        except Exception as error:  # The errors of damaged HDF5 files are no closed list.
            raise UserError(
                f"the weights of {self.path} do not fit: {reason(error)}; give the weights of a "
                "model with the same backbone, pyramid and heads"
            ) from error
        return [layer.name for layer in model.layers if layer.weights]


@dataclasses.dataclass(frozen=True)
class FromBackbone(_FromFile):
    """The backbone of any model.keras or export/backbone.keras of a run.

    Attributes:
        path: of the file.

    Example:
        mk.Student(training=training, start=mk.FromBackbone("runs/mine/export/backbone.keras"))

    """

    def apply(self, model: keras.Model, network: Network) -> list[str]:
        found = self._load()
        layers = {layer.name: layer for layer in found.layers}
        return copy_layers(model, {BACKBONE: layers.get(BACKBONE, found)})


@dataclasses.dataclass(frozen=True)
class FromTeacher:
    """The backbone of a teacher of the same run, for its student alone.

    It is no Start, since it has no weights before the run has trained the teacher: `of_run` returns
    the initialization. Heads and pyramid are fresh.

    Attributes:
        teacher: its name.

    Example:
        mk.Student(training=training, start=mk.FromTeacher("shapes"))

    Reference: the student of STARTUP (arXiv 2010.07734) begins with its teacher's backbone.
    """

    teacher: str

    def of_run(self, model_of: Callable[[str], pathlib.Path]) -> Start:
        """Return the teacher's backbone; see Start.of_run."""
        return FromBackbone(model_of(self.teacher))


def copy_parts(model: keras.Model, start: keras.Model, parts: tuple[str, ...]) -> list[str]:
    """Copy the weights of some layers that both models have; return their names.

    Args:
        model: is changed.
        start: the other model.
        parts: names of the layers.

    Raises:
        UserError: the weights of a layer have other shapes.
    """
    return copy_layers(model, {layer.name: layer for layer in start.layers if layer.name in parts})


def copy_layers(model: keras.Model, layers: Mapping[str, keras.Layer]) -> list[str]:
    """Copy the weights of {name: layer} into a model's layers of these names; return the names.

    Raises:
        UserError: the weights of a layer have other shapes.
    """
    copied = [layer for layer in model.layers if layer.name in layers]
    for layer in copied:
        weights = layers[layer.name].get_weights()
        if [tuple(w.shape) for w in layer.weights] != [w.shape for w in weights]:
            raise UserError(f"the {layer.name} of the initialization has weights of other shapes")
        layer.set_weights(weights)
    return [layer.name for layer in copied]
