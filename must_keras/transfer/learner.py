"""The network of a transfer run, and what of it is trained: all, or a head on frozen layers."""

import dataclasses
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from must_keras.data.augmentation import WholeImages
from must_keras.inference.predictor import Predictor
from must_keras.training.config import TrainingConfig
from must_keras.training.input_pipeline import MAX_CACHE_BYTES
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE, NECK

_LATERALS = ("C3", "C4", "C5")

NUM_STATISTICS_BATCHES = 20
"""Batches from which the statistics of random frozen weights are estimated."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Learner:
    """A network with one task, compiled.

    Attributes:
        whole: from images to predictions.
        fitted: what is trained: the whole, or the layers of it that are not frozen.
        predictor: of the whole.
        training: how it is trained.
        features: from the whole's inputs to those of `fitted`; None: they are the same.

    Example:
        network = learner(model, training, ("backbone",), is_cached=True)
        network.predictor(batches)
    """

    whole: MultiTaskModel
    fitted: MultiTaskModel
    predictor: Predictor
    training: TrainingConfig
    features: Callable[[Mapping[str, Any]], dict[str, Any]] | None


def learner(
    model: MultiTaskModel, training: TrainingConfig, parts: Collection[str], *, is_cached: bool
) -> Learner:
    """Freeze parts of a new model and compile the rest.

    Args:
        model: with one task.
        training: its values; where parts are frozen images are seen whole. It mixes none then.
        parts: of "backbone", "neck"; none: everything is trained.
        is_cached: whether the features of frozen parts are computed beforehand.
    """
    fitted, features = model, None
    if parts:
        freeze(model, parts)
        if is_cached:
            fitted, features = head_model(model, parts), frozen_features(model, parts)
        # Without a gradient there is nothing to recompute.
        views = _views(training)
        training = dataclasses.replace(training, recompute=False, augmentation=views)
    training.compile(fitted)
    predictor = Predictor(model)
    return Learner(
        whole=model, fitted=fitted, predictor=predictor, training=training, features=features
    )


def fits_into_memory(
    model: MultiTaskModel, parts: Collection[str], training: TrainingConfig, *, num_images: int
) -> bool:
    """Return whether the features and labels of all views take MAX_CACHE_BYTES at most."""
    views = 2 if _views(training).mirror else 1
    return num_images * views * bytes_of_view(model, parts) <= MAX_CACHE_BYTES


def _views(training: TrainingConfig) -> WholeImages:
    return WholeImages(mirror=training.augmentation.mirror)


def freeze(model: MultiTaskModel, parts: Collection[str]) -> None:
    """Freeze layers: they get no gradient and compute as in inference, in training too.

    Call it before the model is compiled. The saved layers differ in `trainable` alone.
    """
    for name in parts:
        layer = model.get_layer(name)
        layer.trainable = False
        # Of this object alone. Otherwise dropout would be active.
        layer.call = _as_in_inference(layer.call)


def _as_in_inference(call: Callable[..., Any]) -> Callable[..., Any]:
    def without_training(inputs: Any, training: bool | None = None, **kwargs: Any) -> Any:
        return call(inputs, training=False, **kwargs)

    return without_training


def estimate_statistics(layer: keras.Model, inputs: Iterable[tf.Tensor]) -> None:
    """Set the moving averages of BatchNormalization to the means of some batches' statistics.

    Random weights have a mean of 0 and a variance of 1, whatever their features are.

    Args:
        layer: a backbone; nothing else of it changes.
        inputs: its inputs, batch by batch, [B, H, W, 3].
    """
    norms = [n for n in layer._flatten_layers() if isinstance(n, keras.layers.BatchNormalization)]
    before = [norm.momentum for norm in norms]
    for number, batch in enumerate(inputs):
        for norm in norms:
            norm.momentum = number / (number + 1.0)
        layer(batch, training=True)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum


def boundary(model: MultiTaskModel, parts: Collection[str]) -> dict[str, keras.KerasTensor]:
    """Return {level: its symbolic features} that the layers use which are not frozen."""
    (task,) = model.tasks.values()
    found = dict(model.get_layer(BACKBONE).output)
    levels = set(task.head.features)
    if _has_neck(model):
        pyramid = dict(model.get_layer(NECK).output)
        if NECK in parts:
            found |= pyramid
        elif levels & set(pyramid):
            levels = levels - set(pyramid) | set(_LATERALS)
    return {level: found[level] for level in sorted(levels)}


def frozen_features(
    model: MultiTaskModel, parts: Collection[str]
) -> Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]]:
    """Return a traced function from a model's inputs to the inputs of `head_model`."""
    levels = tuple(boundary(model, parts))
    backbone = model.get_layer(BACKBONE)
    neck = model.get_layer(NECK) if NECK in parts else None

    @tf.function(autograph=False)
    def features(x: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        found = dict(backbone(x["image"], training=False))
        if neck is not None:
            found |= neck({level: found[level] for level in _LATERALS}, training=False)
        return {_name(level): found[level] for level in levels} | {"area": x["area"]}

    return features


def head_model(model: MultiTaskModel, parts: Collection[str]) -> MultiTaskModel:
    """Return the layers of a one-task model that are not frozen, from features to the prediction.

    Both models share their variables.
    """
    (task,) = model.tasks.values()
    features = {
        level: keras.Input(x.shape[1:], dtype=x.dtype, name=_name(level))
        for level, x in boundary(model, parts).items()
    }
    area = keras.Input((4,), name="area")
    inputs = {_name(level): x for level, x in features.items()} | {"area": area}
    if _has_neck(model) and NECK not in parts:
        features |= model.get_layer(NECK)({level: features[level] for level in _LATERALS})
    head = model.get_layer(task.name)
    outputs = head({key: features[key] for key in task.head.features} | {"area": area})
    return MultiTaskModel(inputs, {task.name: outputs}, [task], model.task_weights, model.clip_norm)


def bytes_of_view(model: MultiTaskModel, parts: Collection[str]) -> int:
    """Return the bytes of an image's features and label."""
    (task,) = model.tasks.values()
    specs = task.labels.spec(model.size).values()
    features = [(x.shape[1:], x.dtype) for x in boundary(model, parts).values()]
    sizes = [*features, *((spec.shape, spec.dtype) for spec in specs)]
    return sum(tf.TensorShape(shape).num_elements() * tf.as_dtype(dt).size for shape, dt in sizes)


def _name(level: str) -> str:
    # No head can have this name: see naming.check_head.
    return f"features.{level}"


def _has_neck(model: MultiTaskModel) -> bool:
    return any(layer.name == NECK for layer in model.layers)
