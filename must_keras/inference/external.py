"""A model that was trained elsewhere as a teacher: the form of its images and predictions."""

import abc
import dataclasses
import hashlib
import os
import pathlib
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from numbers import Integral
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from must_keras.errors import UserError, expect, not_allowed, reason
from must_keras.files import file_sha256, files_sha256, json_sha256
from must_keras.inference.predictor import Predicted, predictions
from must_keras.modeling.loading import load_model
from must_keras.tasks.base import Task

Colors = tuple[float, float, float]
Shape = tuple[int | None, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnyExternalModel(abc.ABC):
    """A model that was trained elsewhere: the form of its images and predictions.

    Its input is the whole image, letterboxed with padding in the mean color, as
    [B, size, size, 3] float32 of (image - offset) / scale.

    Attributes:
        size: pixels a side, a multiple of what the model needs.
        form: of its predictions, one of the forms of the task (`Task.external.forms`).
        offset: of each color, in the order R, G, B.
        scale: of each color.
        colors: order of the colors in the model's input.
        layout: "channels_first" for an input [B, 3, size, size] and for predicted maps
            [B, C, h, w].
        class_ids: a detector's number of each of the task's classes, in their order; detections
            of other numbers are skipped. None: 0, 1, ..., or from 1 on in the form
            "tf2_detection".
        output: name or index of one of several outputs, or {key: name or index} for a form with
            several: {"boxes": "dets", "scores": "scores", "classes": "labels"}. None: there is
            only one, or they have the names of the form.

    Raises:
        UserError: an argument has another type, or a value that is not allowed; has it as `key`
            and `value`.

    Example:
        mk.OnnxModel("depth.onnx", size=518, form="relative_inverse")
    """

    model: Any
    size: int
    form: str
    offset: Colors = (0.0, 0.0, 0.0)
    scale: Colors = (1.0, 1.0, 1.0)
    colors: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["channels_last", "channels_first"] = "channels_last"
    class_ids: tuple[int, ...] | None = None
    output: str | int | Mapping[str, str | int] | None = None

    def __post_init__(self) -> None:
        where, hints = "an external model", typing.get_type_hints(type(self))
        for key in ("colors", "layout"):
            value, allowed = getattr(self, key), typing.get_args(hints[key])
            if value not in allowed:
                raise not_allowed(f"{where}: {key}={value!r}", value, allowed, key=key)
        expect(where, self, size=Integral, form=str, offset=tuple | list, scale=tuple | list)
        for key in ("offset", "scale"):
            value = getattr(self, key)
            if len(value) != 3:
                raise UserError.of(where, key, value, "expected three numbers, for R, G and B")
        if self.size < 1:
            raise UserError.of(where, "size", self.size, "expected at least 1")
        if not all(self.scale):
            raise UserError.of(where, "scale", self.scale, "expected no 0")

    def describe(self) -> dict[str, Any]:
        """Return what the labels depend on: the content of a file, not its path."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return fields | {"model": self.sha256()}

    @abc.abstractmethod
    def sha256(self) -> str:
        """Return the SHA-256 of what predicts.

        Raises:
            UserError: there is no such file; has it as `path`.
        """

    @abc.abstractmethod
    def load(self) -> Callable[[tf.Tensor], Any]:
        """Return the model as a function from a batch of images, in its form, to predictions.

        Raises:
            UserError: it cannot be read, or takes images of another size; has its `path`.
        """

    def check_input(self, path: pathlib.Path, shape: Shape, dtype: np.dtype | None) -> None:
        """Raise UserError where a file declares that it takes other images.

        Args:
            path: of the file.
            shape: of a batch, None where any; () where it is not declared.
            dtype: of the values; None where it is not declared.
        """
        changed = any(self.offset) or any(value != 1.0 for value in self.scale)
        if dtype is not None and np.issubdtype(dtype, np.integer) and changed:
            problem = f"takes images as {dtype.name}, 0 to 255: leave out offset and scale"
            raise UserError.at(path, problem, key="scale", value=self.scale)
        sides = (self.size, self.size)
        given = (3, *sides) if self.layout == "channels_first" else (*sides, 3)
        pairs = zip(shape[1:], given, strict=False)
        if not all(number in (None, side) for number, side in pairs):
            shown = ", ".join("None" if number is None else str(number) for number in shape)
            problem = (
                f"takes images of the shape ({shown}), and size={self.size} with layout="
                f"{self.layout!r} gives ({', '.join(map(str, ('batch', *given)))})"
            )
            raise UserError.at(path, problem, key="size", value=self.size)

    def select(self, outputs: Any) -> Any:
        """Return the output that the argument `output` selects, or {key: output} of several.

        Raises:
            UserError: there is none of that name or index; has the `allowed` ones.
        """
        several = dict(enumerate(outputs)) if isinstance(outputs, list | tuple) else outputs
        if not isinstance(several, Mapping):
            several = {}

        def named(name: str | int) -> Any:
            try:
                return outputs[name]
            except (KeyError, IndexError, TypeError):
                message = f"the model has no output {name!r}"
                raise not_allowed(message, name, several, key="output") from None

        if isinstance(self.output, Mapping):
            return {key: named(name) for key, name in self.output.items()}
        if self.output is not None:
            return named(self.output)
        return next(iter(several.values())) if len(several) == 1 else outputs


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExternalModel(AnyExternalModel):
    """A model of Keras or TensorFlow, or any function.

    Images are rounded to uint8, and predicted one by one, where a SavedModel's signature requires
    that.

    A SavedModel is a program: it runs with the rights of the user, because the recipe, which is
    trusted code itself, names it. A .keras file is read as data; see modeling/loading.py.

    Attributes:
        model: a .keras file of built-in layers, a folder with a SavedModel (its `serve`, or its
            default signature), or a function of a batch of images, a `KerasHubDetector` for
            example.
        version: of a function, whose code is not compared. Files are compared by their bytes, and
            objects by what their method `describe` returns.

    Raises:
        UserError: see AnyExternalModel, which has the other attributes.

    Example:
        mk.ExternalModel(model="midas.keras", size=256, form="relative_inverse",
                         offset=(123.675, 116.28, 103.53), scale=(58.395, 57.12, 57.375))
    """

    model: str | os.PathLike[str] | Callable[[tf.Tensor], Any]
    version: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        where = "an external model"
        if not callable(self.model):
            expect(where, self, model=str | os.PathLike)
        if callable(self.model) and not (self.version or hasattr(self.model, "describe")):
            problem = "a function needs a version; another version labels again"
            raise UserError.of(where, "version", self.version, problem)

    def describe(self) -> dict[str, Any]:
        fields = super().describe()
        # Fields that were added later count where they are set: earlier labels stay valid.
        for name, default in (("layout", "channels_last"), ("class_ids", None)):
            if fields[name] == default:
                del fields[name]
        return fields

    def sha256(self) -> str:
        """Return the SHA-256 of the file, of a SavedModel's files, or of a function's version."""
        if hasattr(self.model, "describe"):
            return json_sha256({"model": self.model.describe(), "version": self.version})
        if callable(self.model):
            name = getattr(self.model, "__qualname__", type(self.model).__qualname__)
            return hashlib.sha256(f"{name} {self.version}".encode()).hexdigest()
        path = pathlib.Path(self.model)
        found = file_sha256(path) if path.is_file() else files_sha256(path)
        if found is None:
            raise UserError(f"there is no model {path}", path=path, key="model")
        return found

    def load(self) -> Callable[[tf.Tensor], Any]:
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
            remedy = "check the folder, or give another model"
            problem = f"cannot be read as a model: {reason(error)}; {remedy}"
            raise UserError.at(path, problem, remedy=remedy) from error
        dtype = None if saved.dtype is None else np.dtype(saved.dtype.as_numpy_dtype)
        self.check_input(path, saved.shape, dtype)
        return saved


class ExternalPredictor:
    """Predictions of an external model for batches, as `Predictor` returns those of our own.

    Args:
        model: the model.
        task: of its only head.
        map_size: (H', W') of per-pixel predictions.

    Attributes:
        heads: the name of the task.

    Example:
        predictor = ExternalPredictor(model, task, (64, 64))
        predictor.check()  # ("depth",)
    """

    def __init__(self, model: AnyExternalModel, task: Task, map_size: tuple[int, int]):
        self.heads = (task.name,)
        self._model, self._task, self._map_size = model, task, map_size
        self._function = model.load()

    def __call__(self, batches: Iterable[Any]) -> Iterator[Predicted]:
        """Yield the predictions for batches of `data.pipeline.evaluation_batches`, in order."""
        return predictions(batches, self.outputs)

    def outputs(self, x: dict[str, tf.Tensor]) -> dict[str, dict[str, Any]]:
        """Return {head: predictions} of one batch."""
        return {self._task.name: self._predict(x["image"])}

    def check(self) -> tuple[str, ...]:
        """Predict a gray image, and return the keys of the predictions.

        Raises:
            UserError: the model cannot take images of its size, or its predictions are not of its
                form.
        """
        return tuple(self._predict(tf.fill((1, self._model.size, self._model.size, 3), 128.0)))

    def _predict(self, images: tf.Tensor) -> dict[str, np.ndarray]:
        model = self._model
        prepared = self._prepared(images)
        try:
            outputs = self._function(prepared)
        except (UserError, MemoryError):
            raise
        except Exception as error:
            refuses = isinstance(error, ValueError | TypeError | tf.errors.InvalidArgumentError)
            # Of an out-of-memory error, and others, TensorFlow's own text is the clearest.
            if isinstance(error, tf.errors.OpError) and not refuses:
                raise
            verb, kind = "cannot take", ""
            if not refuses:
                verb, kind = "failed on", f"{type(error).__name__}: "
            raise UserError(
                f"{model.model} {verb} images of {tuple(prepared.shape)} {prepared.dtype.name}: "
                f"{kind}{reason(error)}",
                key="model",
                value=model.model,
            ) from error
        arrays = tf.nest.map_structure(np.asarray, model.select(outputs))
        if model.layout == "channels_first" and np.ndim(arrays) == 4:
            arrays = np.moveaxis(arrays, 1, -1)
        form, size = model.form, (model.size, model.size)
        return self._task.external.decode(
            arrays, form, self._map_size, size=size, class_ids=model.class_ids
        )

    def _prepared(self, images: tf.Tensor) -> tf.Tensor:
        values = tf.cast(images, tf.float32) - tf.constant(self._model.offset)
        values = values / tf.constant(self._model.scale)
        values = values[..., ::-1] if self._model.colors == "bgr" else values
        if self._model.layout == "channels_first":
            values = tf.transpose(values, (0, 3, 1, 2))
        return values


class SavedFunction:
    """`serve` of a SavedModel, or its default signature, as a function of a batch of images.

    Images are rounded where it takes whole numbers. Where it takes one image at a time, the
    predictions of a batch are concatenated along their first axis.

    Args:
        path: the SavedModel's folder.

    Attributes:
        dtype: of the images that it takes; None: not declared.
        shape: of the images that it takes, None where any; () where not declared.

    Raises:
        UserError: it has no such function, or one of several tensors.
        OSError, ValueError: it cannot be read.

    Example:
        SavedFunction(pathlib.Path("detector/saved_model"))(images)["detection_boxes"]
    """

    def __init__(self, path: pathlib.Path):
        # A SavedModel is one object: its variables are freed with it.
        self._saved = tf.saved_model.load(str(path))
        default = self._saved.signatures.get("serving_default")
        self._function = getattr(self._saved, "serve", None) or default
        if self._function is None:
            raise UserError.at(path, "has neither `serve` nor a default signature")
        # A `tf.function` has several concrete functions, a signature is one.
        concrete = getattr(self._function, "concrete_functions", [self._function])
        arguments = tf.nest.flatten(concrete[0].structured_input_signature) if concrete else []
        specs = [spec for spec in arguments if isinstance(spec, tf.TensorSpec)]
        if len(specs) > 1:
            names = ", ".join(str(spec.name) for spec in specs)
            raise UserError.at(path, f"takes several tensors ({names}), expected images alone")
        self.dtype: tf.DType | None = specs[0].dtype if specs else None
        known = specs and specs[0].shape.rank is not None
        self.shape: Shape = tuple(specs[0].shape) if known else ()

    def __call__(self, images: tf.Tensor) -> Any:
        """Return the predictions for [B, ...] images."""
        if self.dtype is not None:
            if self.dtype.is_integer:
                images = tf.clip_by_value(tf.round(images), 0, self.dtype.max)
            images = tf.cast(images, self.dtype)
        if not self.shape or self.shape[0] != 1:
            return self._function(images)
        found = [self._function(images[i : i + 1]) for i in range(images.shape[0])]

        def joined(*parts: tf.Tensor) -> tf.Tensor:
            return tf.concat([tf.reshape(p, (1,)) if not p.shape else p for p in parts], 0)

        return tf.nest.map_structure(joined, *found)
