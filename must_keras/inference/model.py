"""The model that predicts: one that a run trained, or the SavedModel that it exported."""

from __future__ import annotations

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from must_keras import naming
from must_keras.errors import DataError, UserError, reason
from must_keras.experiment import nearest
from must_keras.files import check_form, read_json
from must_keras.inference.saved_model import serve
from must_keras.modeling.loading import load_model
from must_keras.tasks import TASKS
from must_keras.tasks.base import Task
from must_keras.training.model import MultiTaskModel


class Model:
    """A model with its heads.

    Args:
        tasks: what the heads mean.
        function: images [1, H, W, 3] to {"<head>.<output>": [1, ...]}, in the images' pixels.
        path: of the model, for messages.

    Attributes:
        tasks: what the heads mean.

    Raises:
        UserError: a head has a name that is no file's, as a file of others may give it.
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
            naming.check_head(task.name, f"--model={path}")
        naming.check_distinct([task.name for task in self.tasks], f"--model={path}", "heads")

    @classmethod
    def load(cls, path: pathlib.Path, *, trusted: bool = False) -> Model:
        """Read a run's folder (its student), a part's folder, a model.keras, or a SavedModel.

        A model.keras is read as data: see models/loading.py. A SavedModel is a program that can
        read and write the user's files, also one that must_keras exported: nothing in a folder
        proves its origin.

        Args:
            path: of the model.
            trusted: run a SavedModel. False: a SavedModel is an error.

        Raises:
            UserError: there is none of these, it is damaged, or it is a SavedModel that is not
                trusted.
        """
        inside = (path / "student" / "model.keras", path / "model.keras", path)
        file = next((p for p in inside if p.suffix == ".keras" and p.is_file()), None)
        if file is not None:
            return cls._of_keras(file)
        for folder in (path, path / "saved_model", path / "export" / "saved_model"):
            if (folder / "saved_model.pb").is_file():
                if not trusted:
                    raise UserError(
                        f"--model={path}: {folder} is a SavedModel, a program that runs with your "
                        "rights. If you know who made it, add --trusted (trusted=True in Python); "
                        "or name a run's folder or a model.keras, which are read as data"
                    )
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
        model = load_model(path, remedy="check the file, or train it again")
        if not isinstance(model, MultiTaskModel):
            raise UserError(f"--model={path} has no heads: it is no model that must_keras trained")
        images = tf.TensorSpec((None, None, None, 3), tf.uint8)
        function = tf.function(
            lambda images: serve(model, images), input_signature=[images], autograph=False
        )
        return cls(list(model.tasks.values()), function, path=path)

    @classmethod
    def _of_saved_model(cls, folder: pathlib.Path) -> Model:
        path = folder.parent / "labels.json"
        remedy = "run --stage=export again: it is written beside saved_model"
        if not path.exists():
            raise UserError(f"{path} is not there: it says what {folder} predicts; {remedy}")
        try:
            entries = read_json(path, form={}, remedy=remedy)
            tasks = [_task(name, entry, path) for name, entry in entries.items()]
        except (ValueError, TypeError) as error:
            raise UserError(f"{path} does not say what the heads are: {error}; {remedy}") from error
        try:
            saved = tf.saved_model.load(str(folder))
        except Exception as error:  # What a damaged SavedModel raises is no closed list.
            raise UserError(
                f"{folder} cannot be read as a SavedModel: {reason(error)}; run --stage=export "
                "again"
            ) from error
        return cls(tasks, lambda images: saved.serve(images), path=folder)

    def predict(self, image: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
        """{head: outputs} of one image.

        Args:
            image: [H, W, 3] uint8.
        """
        flat = self._function(tf.constant(image[None], tf.uint8))
        outputs: dict[str, dict[str, np.ndarray]] = {task.name: {} for task in self.tasks}
        for key, value in flat.items():
            head, _, output = key.rpartition(".")
            if head not in outputs:
                raise DataError(
                    f"{self._path} predicts {key!r}, but labels.json beside it has no head "
                    f"{head!r}; run --stage=export again"
                )
            outputs[head][output] = np.asarray(value)[0]
        return outputs


def _task(name: str, entry: Mapping[str, Any], path: pathlib.Path) -> Task:
    check_form(entry, {"kind": str, "classes": list})
    if not all(isinstance(name, str) for name in entry["classes"]):
        raise ValueError(f"head {name!r} has the classes {entry['classes']!r}")
    for task in TASKS:
        if entry["kind"] in task.kinds:
            return task.of_labels(name, entry["kind"], tuple(entry["classes"]))
    raise UserError(f"{path}: head {name!r} is of the unknown kind {entry['kind']!r}")
