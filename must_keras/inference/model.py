"""The public model: the student or a teacher of a run, a model.keras, or an exported SavedModel.

And the models that a run exports: images of any size in, predictions in their own pixels out.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf

from must_keras import naming
from must_keras.errors import DataError, UserError, nearest, reason
from must_keras.inference import given_images
from must_keras.inference.given_images import GivenImage
from must_keras.inference.result import Result
from must_keras.json_files import read_json
from must_keras.modeling.fpn import any_size
from must_keras.modeling.loading import load_model
from must_keras.ops.graph_resampling import letterbox_images
from must_keras.ops.letterboxing import letterbox
from must_keras.ops.views import visible_area
from must_keras.tasks.base import Task
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE, NECK

_EXPORT = "run the export stage again"

# Images [1, H, W, 3] uint8 to {"<head>.<output>": [1, ...]} in their pixels.
Function = Callable[[tf.Tensor], Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class _Head:
    """An entry of labels.json."""

    kind: str
    classes: tuple[str, ...]


class Model:
    """A trained model with its heads: images of any size in, typed results out.

    It is no keras.Model; `keras_model` is.

    Args:
        tasks: of the heads.
        function: predicts one image.
        path: of the model.
        keras_model: the network; None of a SavedModel.

    Attributes:
        tasks: of the heads.
        path: of the model.

    Raises:
        UserError: the name of a head cannot be that of a file; has it as `value`.

    Example:
        model = mk.Model.load("runs/scenes")
        model.predict("photo.jpg")["objects"].boxes
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        function: Function,
        *,
        path: pathlib.Path,
        keras_model: MultiTaskModel | None = None,
    ):
        self.tasks, self.path = tuple(tasks), path
        self._function, self._keras_model = function, keras_model
        for task in self.tasks:
            naming.check_head(task.name, str(path))
        naming.check_distinct([task.name for task in self.tasks], str(path), "heads")

    @classmethod
    def load(cls, path: str | pathlib.Path, *, trusted: bool = False) -> Self:
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
                    "it, set trusted=True; or give a run's folder or a model.keras, which are read "
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
    def _of_keras(cls, path: pathlib.Path) -> Self:
        model = load_model(path, remedy="check the file, or train it again")
        if not isinstance(model, MultiTaskModel):
            raise UserError.at(path, "has no heads: must_keras did not train it")
        images = tf.TensorSpec((None, None, None, 3), tf.uint8)
        function = tf.function(
            lambda images: serve(model, images), input_signature=[images], autograph=False
        )
        return cls(list(model.tasks.values()), function, path=path, keras_model=model)

    @classmethod
    def _of_saved_model(cls, folder: pathlib.Path) -> Self:
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

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}, heads: {', '.join(task.name for task in self.tasks)})"

    @property
    def keras_model(self) -> MultiTaskModel:
        """The functional network: `predict`, `fit`, `save` and `export` as Keras has them.

        Raises:
            UserError: the model is a SavedModel, which has no Keras layers; has its `path`.
        """
        if self._keras_model is None:
            raise UserError.at(
                self.path,
                "is a SavedModel, a program without Keras layers: load the run's folder or a "
                "model.keras to get the network",
                key="keras_model",
            )
        return self._keras_model

    def predict(self, image: Any) -> Result | list[Result]:
        """Predict one image, or several.

        Args:
            image: a path, a Pillow image, or one array [H, W, 3] uint8, RGB: gives a Result. A
                list of these, a folder with all below it, or a glob gives a list of Results, in
                order; files of a folder or a glob that cannot be read are skipped with a warning.

        Returns:
            Each Result holds its image and maps of the image's size: predict many images one by
            one.

        Raises:
            UserError: an image cannot be read, or is none; a batch [B, H, W, 3] is given.
            DataError: the model predicts a head that labels.json does not contain.

        Example:
            model.predict("photo.jpg")["objects"].class_names  # ("cat", "cat")
            [result["kind"].top(1) for result in model.predict("photos")]
        """
        if given_images.is_several(image):
            return [self._result(one) for one in given_images.read_several(image)]
        return self._result(given_images.read(image))

    def _result(self, image: GivenImage) -> Result:
        flat = self._function(tf.constant(image.pixels[None], tf.uint8))
        outputs: dict[str, dict[str, np.ndarray]] = {task.name: {} for task in self.tasks}
        for key, value in flat.items():
            head, _, output = key.rpartition(".")
            if head not in outputs:
                problem = f"predicts {key!r}, but labels.json beside it has no head {head!r}"
                raise DataError.at(self.path, f"{problem}; {_EXPORT}", key=head, remedy=_EXPORT)
            outputs[head][output] = np.asarray(value)[0]
        return Result(
            image=image.pixels, tasks=self.tasks, outputs=outputs, name=image.name, path=image.path
        )


def _task(name: str, head: _Head, path: pathlib.Path) -> Task:
    """Return the task of a head in labels.json."""
    task = Task.of_kind(name, head.kind, head.classes)
    if task is None:
        problem = f": head {name!r} has the unknown kind {head.kind!r}"
        raise UserError.at(path, problem, key=f"{name}.kind", value=head.kind)
    return task


# ---- exported ------------------------------------------------------------------------------------


def serve(model: MultiTaskModel, images: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return every head's prediction of images: {"<head>.<key>": tensor}.

    Args:
        model: the model.
        images: [B, H, W, 3] RGB in [0, 255], uint8 or float32, of any size; they are letterboxed
            to the network's input, to the pixels of training. Floating-point values are rounded
            to whole numbers first.

    Returns:
        As `Predictions.decode` of each task, with coordinates in pixels of the images and a value
        for each of their pixels: `.boxes` [B, N, 4] (ymin, xmin, ymax, xmax), `.scores`,
        `.classes` (-1: none), `.masks` [B, N, h, w] in their boxes, `.probabilities` [B, K],
        `.map`, `.confidence`, `.depth` [B, H, W], `.normals` [B, H, W, 3], ...
    """
    shape = tf.shape(images)
    view = letterbox(shape[1:3], model.size)
    x, area = letterbox_images(images, view), visible_area(view)
    predictions = model.decode({"image": x, "area": tf.tile(area[None], (shape[0], 1))})
    scale = tf.cast(shape[1:3], tf.float32) / (area[2:] - area[:2])
    flat = {}
    for head, prediction in predictions.items():
        forms = model.tasks[head].predictions
        for key, value in prediction.items():
            if key in forms.coordinates:
                value = value * tf.tile(scale, [value.shape[-1] // 2])
            elif key in forms.per_pixel:
                value = _back(value, area, shape[1:3], forms.per_pixel[key])
            flat[f"{head}.{key}"] = value
    return flat


def _back(values: tf.Tensor, area: tf.Tensor, size: tf.Tensor, method: str) -> tf.Tensor:
    """Return maps, [B, h, w] or [B, h, w, C], without padding, at the size of the images."""
    edge = tf.cast(tf.round(area[2:]), tf.int32)
    values = values[:, : edge[0], : edge[1]]
    if method == "nearest":
        for axis in (1, 2):
            values = tf.gather(values, _nearest(tf.shape(values)[axis], size[axis - 1]), axis=axis)
        return values
    flat = values[..., None] if values.shape.rank == 3 else values
    resized = tf.cast(tf.image.resize(flat, size, method=method), values.dtype)
    return resized[..., 0] if values.shape.rank == 3 else resized


def _nearest(length: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Return the indices of the nearest of `length` values for each of `count`: [count] int32.

    Those of tf.image.resize, whose operation has no form in LiteRT for bytes, and in ONNX one that
    is deprecated.
    """
    scale = tf.cast(length, tf.float32) / tf.cast(count, tf.float32)
    places = tf.floor((tf.range(tf.cast(count, tf.float32)) + 0.5) * scale)
    return tf.minimum(tf.cast(places, tf.int32), length - 1)


def export_saved_model(model: MultiTaskModel, folder: str) -> None:
    """Write a SavedModel whose `serve` takes uint8 and float32 images (see `serve`)."""
    endpoint = tf.function(lambda images: serve(model, images), autograph=False)
    for dtype in (tf.float32, tf.uint8):
        endpoint.get_concrete_function(tf.TensorSpec((None, None, None, 3), dtype, name="images"))
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serve", endpoint)
    archive.write_out(folder, verbose=False)


def backbone_of(model: MultiTaskModel) -> keras.Model:
    """Return the backbone: images [B, H, W, 3] of any size to {"C2".."C5"}, in plain Keras."""
    backbone = model.get_layer(BACKBONE)
    image = keras.Input((None, None, 3), name="image")
    anywhere = keras.models.clone_model(backbone, input_tensors=image)
    anywhere.set_weights(backbone.get_weights())
    return anywhere


def neck_of(model: MultiTaskModel) -> keras.Model | None:
    """Return backbone and pyramid: images of any size to {"fused", "P3".."P7"}, plain Keras.

    None where no head reads the pyramid: such a model has none. Level k has ceil(side / 2^k) cells
    a side, and "fused", the fused P2, twice as many as P3.
    """
    if NECK not in {layer.name for layer in model.layers}:
        return None
    image = keras.Input((None, None, 3), name="image")
    levels: dict[str, Any] = backbone_of(model)(image)
    neck = any_size(model.get_layer(NECK))
    pyramid = neck({key: levels[key] for key in ("C3", "C4", "C5")})
    fused = pyramid.pop("P2")
    return keras.Model(image, {"fused": fused, **pyramid}, name=NECK)
