"""Somebody else's model as a teacher: how it wants its images, and how its answers are read."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from must_keras.errors import UserError, expect, reason
from must_keras.files import file_sha256
from must_keras.inference.predictor import Predicted
from must_keras.inference.signatures import SavedFunction
from must_keras.modeling.loading import load_model
from must_keras.tasks.base import Task

Colors = tuple[float, float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExternalModel:
    """A model that was not made here.

    It sees the whole image, letterboxed with padding in the mean color, as
    [B, size, size, 3] float32 of (image - offset) / scale. A SavedModel's signature says whether
    it takes whole numbers (uint8), and one image at a time.

    A SavedModel is a program: it runs with the rights of the user, because the recipe, which is
    trusted code itself, names it. A .keras file is read as data; see models/loading.py.

    Attributes:
        model: a .keras file of built-in layers, a folder with a SavedModel (its `serve`, or its
            default signature), or a function of such a batch of images.
        size: pixels a side, a multiple of what the model needs.
        form: what its answers are; each task says which it can read (`Task.foreign_forms`).
        offset: of each color, in the order R, G, B.
        scale: of each color.
        colors: the order in which the model wants them.
        layout: "channels_first" where it wants [B, 3, size, size]; a map of several channels that
            it answers has them first then, too.
        class_ids: a detector's number of each of the task's classes, in their order; detections
            of other numbers are left out. None: 0, 1, ..., or from 1 on in the form
            "tf2_detection".
        output: which of several outputs is meant: a name or a place. None: there is only one.
        version: names what a function does. Files are recognized by their bytes.

    Example:
        ExternalModel(model="midas.keras", size=256, form="relative_inverse",
                     offset=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))

    """

    model: str | os.PathLike[str] | Callable[[tf.Tensor], Any]
    size: int
    form: str
    offset: Colors = (0.0, 0.0, 0.0)
    scale: Colors = (1.0, 1.0, 1.0)
    colors: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["channels_last", "channels_first"] = "channels_last"
    class_ids: tuple[int, ...] | None = None
    output: str | int | None = None
    version: str = ""

    def __post_init__(self) -> None:
        if self.colors not in ("rgb", "bgr"):
            raise UserError(f"colors must be 'rgb' or 'bgr', received {self.colors!r}")
        if self.layout not in ("channels_last", "channels_first"):
            raise UserError(
                f"layout must be 'channels_last' or 'channels_first', received {self.layout!r}"
            )
        expect("a foreign model", self, size=Integral, form=str, offset=tuple | list)
        expect("a foreign model", self, scale=tuple | list)
        if not callable(self.model):
            expect("a foreign model", self, model=str | os.PathLike)
        if len(self.offset) != 3 or len(self.scale) != 3:
            raise UserError(
                f"offset={self.offset} and scale={self.scale}: expected three numbers, R, G, B"
            )
        if self.size < 1 or not all(self.scale):
            raise UserError(f"size={self.size} and scale={self.scale} must not be 0")
        if callable(self.model) and not self.version:
            raise UserError("a function as a teacher needs a version: another one labels anew")

    def describe(self) -> dict[str, Any]:
        """What the labels depend on, not where a file lies."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        # What came later counts where it says something: what was made before stays valid.
        for name, default in (("layout", "channels_last"), ("class_ids", None)):
            if fields[name] == default:
                del fields[name]
        return fields | {"model": self.sha256()}

    def sha256(self) -> str:
        """Of the file, of all files of a SavedModel, or of a function's name and version.

        Raises:
            UserError: there is no such file.
        """
        if callable(self.model):
            name = getattr(self.model, "__qualname__", type(self.model).__qualname__)
            return hashlib.sha256(f"{name} {self.version}".encode()).hexdigest()
        path = pathlib.Path(self.model)
        if path.is_file():
            return file_sha256(path)
        files = sorted(p for p in path.rglob("*") if p.is_file())
        if not files:
            raise UserError(f"there is no model {path}")
        lines = [f"{p.relative_to(path).as_posix()} {file_sha256(p)}" for p in files]
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def load(self) -> Callable[[tf.Tensor], Any]:
        """The model as a function from a batch of images, as it wants them, to its answers.

        Raises:
            UserError: it cannot be read.
        """
        if callable(self.model):
            return self.model
        path = pathlib.Path(self.model)
        self.sha256()
        if path.is_file():
            model = load_model(path, remedy="check the file, or give another model")
            return lambda images: model(images, training=False)
        try:
            saved = SavedFunction(path)
        except UserError:
            raise
        except Exception as error:  # What a damaged SavedModel raises is no closed list.
            raise UserError(
                f"{path} cannot be read as a model: {reason(error)}; check the folder, or give "
                "another model"
            ) from error
        self._check_fits(saved, path)
        return saved

    def _check_fits(self, saved: SavedFunction, path: pathlib.Path) -> None:
        """Raises UserError where a SavedModel's signature says that it wants other images."""
        changed = any(self.offset) or any(value != 1.0 for value in self.scale)
        if saved.dtype is not None and saved.dtype.is_integer and changed:
            raise UserError(
                f"{path} takes images as {saved.dtype.name}, 0 to 255: offset and scale cannot be "
                "given, it has its own"
            )
        sides = (self.size, self.size)
        wanted = (3, *sides) if self.layout == "channels_first" else (*sides, 3)
        if saved.shape and any(
            n not in (None, m) for n, m in zip(saved.shape[1:], wanted, strict=False)
        ):
            raise UserError(
                f"{path} takes images of the shape {saved.shape}, and size={self.size} with "
                f"layout={self.layout!r} gives ({', '.join(map(str, ('batch', *wanted)))})"
            )

    def select(self, answers: Any) -> Any:
        """The output that is meant.

        Raises:
            UserError: there are several, or none of that name.
        """
        if self.output is None:
            if isinstance(answers, Mapping) and len(answers) == 1:
                return next(iter(answers.values()))
            if isinstance(answers, list | tuple) and len(answers) == 1:
                return answers[0]
            return answers
        try:
            return answers[self.output]
        except (KeyError, IndexError, TypeError):
            names = list(answers) if isinstance(answers, Mapping) else f"{type(answers).__name__}"
            raise UserError(f"the model has no output {self.output!r}; it gives {names}") from None


class ExternalPredictor:
    """Runs a foreign model over batches: what `inference.Predictor` is for our own.

    Args:
        model: the model.
        task: what it knows.
        map_size: (H', W') of per-pixel outputs.
    """

    def __init__(self, model: ExternalModel, task: Task, map_size: tuple[int, int]):
        self.heads = (task.name,)
        self._model, self._task, self._map_size = model, task, map_size
        self._function = model.load()

    def __call__(self, batches: Iterable[Any]) -> Iterator[Predicted]:
        """Batches as `data.pipeline.evaluation_batches` makes them, in their order."""
        for x, y in batches:
            keep = y["index"].numpy() >= 0
            numbers = tf.nest.map_structure(np.asarray, (x, y, self.outputs(x)))
            yield Predicted(*tf.nest.map_structure(lambda v, k=keep: v[k], numbers))

    def outputs(self, x: dict[str, tf.Tensor]) -> dict[str, dict[str, Any]]:
        """See Predictor.outputs."""
        return {self._task.name: self._said(x["image"])}

    def check(self) -> tuple[str, ...]:
        """Let the model predict a gray image; return the keys of its outputs.

        Raises:
            UserError: it cannot take images of its size, or its answers are not of its form.
        """
        return tuple(self._said(tf.fill((1, self._model.size, self._model.size, 3), 128.0)))

    def _said(self, images: tf.Tensor) -> dict[str, np.ndarray]:
        model = self._model
        arrays = tf.nest.map_structure(np.asarray, self._answers(images))
        if model.layout == "channels_first" and np.ndim(arrays) == 4:
            arrays = np.moveaxis(arrays, 1, -1)
        return self._task.external_outputs(
            arrays,
            model.form,
            self._map_size,
            size=(model.size, model.size),
            class_ids=model.class_ids,
        )

    def _answers(self, images: tf.Tensor) -> Any:
        prepared = self._prepared(images)
        try:
            answers = self._function(prepared)
        except (ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            raise UserError(
                f"{self._model.model} cannot take images of {tuple(prepared.shape)} "
                f"{prepared.dtype.name}: {reason(error)}"
            ) from error
        except (UserError, tf.errors.OpError, MemoryError):
            raise
        except Exception as error:  # A user's own function.
            raise UserError(
                f"{self._model.model} failed on images of {tuple(prepared.shape)} "
                f"{prepared.dtype.name}: {type(error).__name__}: {reason(error)}"
            ) from error
        return self._model.select(answers)

    def _prepared(self, images: tf.Tensor) -> tf.Tensor:
        values = tf.cast(images, tf.float32) - tf.constant(self._model.offset)
        values = values / tf.constant(self._model.scale)
        values = values[..., ::-1] if self._model.colors == "bgr" else values
        if self._model.layout == "channels_first":
            values = tf.transpose(values, (0, 3, 1, 2))
        return values
