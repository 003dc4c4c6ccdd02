"""A backbone from a file: any functional Keras model, for example one of a model hub."""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import keras
import numpy as np

from must_keras.errors import UserError, not_allowed
from must_keras.files import file_sha256
from must_keras.modeling.backbone import Backbone, scaled
from must_keras.modeling.loading import load_model

LEVELS = ("C2", "C3", "C4", "C5")


@dataclasses.dataclass(frozen=True, kw_only=True)
class KerasBackbone(Backbone):
    """Any functional Keras model in a file, with its weights as the checkpoint.

    Built-in layers only: reading the file executes nothing from it. Layers behind C5 (pooling, a
    classifier) are left out. The model's inputs are (image - offset) / scale, as in its training.

    Attributes:
        path: of a .keras file.
        levels: {"C2", ..., "C5": name of the last layer of the stage}; None: the model names them,
            as its outputs or, like keras-cv's, in `pyramid_level_inputs`.
        offset: of each color, in [0, 255]; 0, with a scale of 1, where the model normalizes.
        scale: of each color.
        colors: order of the model's input channels.

    Example:
        mk.KerasBackbone(path="export/backbone.keras")

    """

    path: pathlib.Path
    levels: Mapping[str, str] | None = None
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    colors: Literal["rgb", "bgr"] = "rgb"

    def describe(self) -> dict[str, Any]:
        """Return the values, with the file's SHA-256 for its path."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        sha256 = self.checkpoint_sha256()
        return {"type": "KerasBackbone"} | fields | {"path": sha256}

    def checkpoint(self) -> list[np.ndarray]:
        return self._stages().get_weights()

    def checkpoint_sha256(self) -> str:
        if not pathlib.Path(self.path).is_file():
            raise UserError(f"there is no file {self.path}", path=self.path)
        return file_sha256(self.path)

    def _features(self, image: Any) -> dict[str, Any]:
        ordered = keras.ops.flip(image, axis=-1) if self.colors == "bgr" else image
        return self._stages()(scaled(ordered, mean=self.offset, deviation=self.scale))

    def _stages(self) -> keras.Model:
        """Return the file's model of images of any size to {"C2", ..., "C5"}, with its weights."""
        model = load_model(self.path, remedy="check the file, or give another path")
        outputs = self._outputs(model)
        stages = keras.Model(model.inputs[0], outputs)
        anywhere = keras.models.clone_model(stages, input_tensors=keras.Input((None, None, 3)))
        anywhere.set_weights(stages.get_weights())
        for level, stride in zip(LEVELS, (4, 8, 16, 32), strict=True):
            cells = anywhere.compute_output_shape((1, 64, 64, 3))[level][1:3]
            if tuple(cells) != (64 // stride, 64 // stride):
                raise UserError(
                    f"{self.path}: {level} has {cells[0]}x{cells[1]} cells for an image of 64x64 "
                    f"pixels, expected {64 // stride}x{64 // stride}: a stride of {stride}"
                )
        return anywhere

    def _outputs(self, model: keras.Model) -> dict[str, Any]:
        own = getattr(model, "pyramid_level_inputs", {})
        outputs = model.output if isinstance(model.output, dict) else {}
        if self.levels is None and set(LEVELS) <= set(outputs):
            return {level: outputs[level] for level in LEVELS}
        levels = self.levels or {f"C{key[1:]}": layer for key, layer in own.items()}
        absent = [level for level in LEVELS if level not in levels]
        if absent:
            raise UserError(
                f"{self.path} has no names of its stages: give levels={{'C2': layer, ..., "
                f"'C5': layer}}; {', '.join(absent)} are absent"
            )
        layers = [layer.name for layer in model.layers]
        for level in LEVELS:
            if levels[level] not in layers:
                problem = f"{self.path} has no layer {level}={levels[level]!r}"
                raise not_allowed(problem, levels[level], layers)
        return {level: model.get_layer(levels[level]).output for level in LEVELS}
