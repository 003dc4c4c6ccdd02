"""The public model: the student or a teacher of a run, a model.keras, or an exported SavedModel."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_keras import naming
from must_keras.errors import DataError, UserError, nearest, reason
from must_keras.inference.saved_model import serve
from must_keras.json_files import read_json
from must_keras.modeling.loading import load_model
from must_keras.tasks.base import Task
from must_keras.training.model import MultiTaskModel

_EXPORT = "run the export stage again"


@dataclasses.dataclass(frozen=True)
class _Head:
    """An entry of labels.json."""

    kind: str
    classes: tuple[str, ...]


class Model:
    """A trained model with its heads.

    Args:
        tasks: of the heads.
        function: images [1, H, W, 3] uint8 to {"<head>.<output>": [1, ...]} in their pixels.
        path: of the model, for messages.

    Attributes:
        tasks: of the heads.

    Raises:
        UserError: the name of a head cannot be that of a file; has it as `value`.

    Example:
        model = Model.load("runs/scenes")
        model.predict(np.asarray(Image.open("photo.jpg")))["objects"]["boxes"]
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        function: Callable[[tf.Tensor], Mapping[str, Any]],
        *,
        path: pathlib.Path,
    ):
        self.tasks = tuple(tasks)
        self._function, self._path = function, path
        for task in self.tasks:
            naming.check_head(task.name, str(path))
        naming.check_distinct([task.name for task in self.tasks], str(path), "heads")

    @classmethod
    def load(cls, path: str | pathlib.Path, *, trusted: bool = False) -> Model:
        """Load the student of a run's folder, a folder of an artifact, a model.keras, a SavedModel.

        A model.keras is read as data: see modeling/loading.py. A SavedModel is a program that can
        read and write the user's files, also one that must_keras exported: nothing in a folder
        proves its origin.

        Args:
            path: of the model.
            trusted: whether a SavedModel may run.

        Raises:
            UserError: there is no model, it is damaged, or it is a SavedModel that is not trusted;
                has its `path`.
        """
        path = pathlib.Path(path)
        inside = (path / "student" / "model.keras", path / "model.keras", path)
        file = next((p for p in inside if p.suffix == ".keras" and p.is_file()), None)
        if file is not None:
            return cls._of_keras(file)
        for folder in (path, path / "saved_model", path / "export" / "saved_model"):
            if (folder / "saved_model.pb").is_file():
                if trusted:
                    return cls._of_saved_model(folder)
                problem = (
                    "is a SavedModel, a program that runs with your rights. If you know who made "
                    "it, set trusted=true; or give a run's folder or a model.keras, which are read "
                    "as data"
                )
                raise UserError.at(folder, problem, key="trusted", value=trusted)
        what, siblings = "is no model", []
        if not path.exists():
            siblings = sorted(p.name for p in path.parent.glob("*") if p.is_dir())
            close = [name for name in siblings if name.startswith(path.name)]
            hint = f": {nearest(path.name, close or siblings)}" if siblings else ""
            what = f"is not there{hint}"
        expected = "a run's folder, the folder of its student or of a teacher, a model.keras, or "
        problem = f"{what}; expected {expected}an exported saved_model"
        raise UserError.at(path, problem, key="model", allowed=siblings)

    @classmethod
    def _of_keras(cls, path: pathlib.Path) -> Model:
        model = load_model(path, remedy="check the file, or train it again")
        if not isinstance(model, MultiTaskModel):
            raise UserError.at(path, "has no heads: must_keras did not train it")
        images = tf.TensorSpec((None, None, None, 3), tf.uint8)
        function = tf.function(
            lambda images: serve(model, images), input_signature=[images], autograph=False
        )
        return cls(list(model.tasks.values()), function, path=path)

    @classmethod
    def _of_saved_model(cls, folder: pathlib.Path) -> Model:
        path = folder.parent / "labels.json"
        remedy = f"{_EXPORT}: it writes it beside saved_model"
        heads = read_json(path, dict[str, _Head], remedy=remedy)
        try:
            tasks = [_task(name, head, path) for name, head in heads.items()]
        except (ValueError, TypeError) as error:
            problem = f"does not describe heads: {error}; {remedy}"
            raise UserError.at(path, problem, remedy=remedy) from error
        try:
            saved = tf.saved_model.load(str(folder))
        except Exception as error:  # What a damaged SavedModel raises is no closed list.
            problem = f"cannot be read as a SavedModel: {reason(error)}; {_EXPORT}"
            raise UserError.at(folder, problem, remedy=_EXPORT) from error
        return cls(tasks, lambda images: saved.serve(images), path=folder)

    def predict(self, image: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """Return {head: {output: array}} for one image, in its pixels.

        Args:
            image: [H, W, 3] uint8, RGB.

        Raises:
            DataError: the model predicts a head that labels.json does not contain.
        """
        flat = self._function(tf.constant(image[None], tf.uint8))
        outputs: dict[str, dict[str, np.ndarray]] = {task.name: {} for task in self.tasks}
        for key, value in flat.items():
            head, _, output = key.rpartition(".")
            if head not in outputs:
                problem = f"predicts {key!r}, but labels.json beside it has no head {head!r}"
                raise DataError.at(self._path, f"{problem}; {_EXPORT}", key=head, remedy=_EXPORT)
            outputs[head][output] = np.asarray(value)[0]
        return outputs


def _task(name: str, head: _Head, path: pathlib.Path) -> Task:
    """Return the task of a head in labels.json."""
    task = Task.of_kind(name, head.kind, head.classes)
    if task is None:
        problem = f": head {name!r} has the unknown kind {head.kind!r}"
        raise UserError.at(path, problem, key=f"{name}.kind", value=head.kind)
    return task
