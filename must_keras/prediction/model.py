"""The model that predicts: one that a run trained, or the SavedModel that it exported."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.experiment import nearest
from must_keras.tasks import TASKS
from must_keras.tasks.base import Task
from must_keras.training.model import MultiTaskModel
from must_keras.training.serving import serve


class Model:
    """A model with its heads.

    Args:
        tasks: what the heads mean.
        function: images [1, H, W, 3] to {"<head>.<output>": [1, ...]}, in the images' pixels.

    Attributes:
        tasks: what the heads mean.
    """

    def __init__(self, tasks: Sequence[Task], function: Callable[[tf.Tensor], Mapping[str, Any]]):
        self.tasks = tuple(tasks)
        self._function = function

    @classmethod
    def load(cls, path: pathlib.Path) -> Model:
        """Reads a run's folder (its student), a part's folder, a model.keras, or a SavedModel.

        Raises:
            UserError: there is none of these.
        """
        inside = (path / "student" / "model.keras", path / "model.keras", path)
        file = next((p for p in inside if p.suffix == ".keras" and p.is_file()), None)
        if file is not None:
            return cls._of_keras(file)
        for folder in (path, path / "saved_model", path / "export" / "saved_model"):
            if (folder / "saved_model.pb").is_file():
                return cls._of_saved_model(folder)
        what = "is no model" if path.exists() else "is not there"
        siblings = sorted(p.name for p in path.parent.glob("*") if p.is_dir())
        close = [name for name in siblings if name.startswith(path.name)]
        if not path.exists() and siblings:
            what += f": {nearest(path.name, close or siblings)}"
        raise UserError(
            f"--model={path} {what}; expected a run's folder, one of its teachers or its student, "
            "a model.keras, or an exported saved_model"
        )

    @classmethod
    def _of_keras(cls, path: pathlib.Path) -> Model:
        try:
            model = keras.saving.load_model(path)
        except (OSError, ValueError, TypeError) as error:
            raise UserError(f"--model={path} cannot be read: {error}") from error
        if not isinstance(model, MultiTaskModel):
            raise UserError(f"--model={path} has no heads: it is no model that must_keras trained")
        images = tf.TensorSpec((None, None, None, 3), tf.uint8)
        function = tf.function(
            lambda images: serve(model, images), input_signature=[images], autograph=False
        )
        return cls(list(model.tasks.values()), function)

    @classmethod
    def _of_saved_model(cls, folder: pathlib.Path) -> Model:
        path = folder.parent / "labels.json"
        if not path.is_file():
            raise UserError(f"{path} is not there: it says what {folder} predicts")
        try:
            entries = json.loads(path.read_text())
            tasks = [_task(name, entry, path) for name, entry in entries.items()]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} does not say what the heads are: {error!r}") from error
        saved = tf.saved_model.load(str(folder))
        return cls(tasks, lambda images: saved.serve(images))

    def predict(self, image: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """{head: outputs} of one image.

        Args:
            image: [H, W, 3] uint8.
        """
        flat = self._function(tf.constant(image[None], tf.uint8))
        outputs: dict[str, dict[str, np.ndarray]] = {task.name: {} for task in self.tasks}
        for key, value in flat.items():
            head, _, output = key.rpartition(".")
            outputs[head][output] = np.asarray(value)[0]
        return outputs


def _task(name: str, entry: Mapping[str, Any], path: pathlib.Path) -> Task:
    for task in TASKS:
        if entry["kind"] in task.kinds:
            return task.of_labels(name, entry["kind"], tuple(entry["classes"]))
    raise UserError(f"{path}: head {name!r} is of the unknown kind {entry['kind']!r}")
