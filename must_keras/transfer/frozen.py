"""A network of which only a head learns: what is frozen, and the model of the rest."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import keras
import tensorflow as tf

from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE, NECK

Tensor = Any

_LATERALS = ("C3", "C4", "C5")


def freeze(model: MultiTaskModel, parts: Collection[str]) -> None:
    """From now on these layers have no gradient and compute as in inference, in training too.

    To be called before the model is compiled. What is saved of the layers stays as it is but for
    `trainable`.
    """
    for name in parts:
        layer = model.get_layer(name)
        layer.trainable = False
        # Of this object alone. Dropout and the like would else be at work.
        layer.call = _as_in_inference(layer.call)


def _as_in_inference(call: Callable[..., Any]) -> Callable[..., Any]:
    def without_training(inputs: Any, training: bool | None = None, **kwargs: Any) -> Any:
        del training
        return call(inputs, training=False, **kwargs)

    return without_training


def estimate_statistics(layer: keras.Model, inputs: Iterable[Tensor]) -> None:
    """Sets the moving averages of BatchNormalization to the means of some batches' statistics.

    Random weights come with a mean of 0 and a variance of 1, whatever their features are.

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
    """{level: its features, symbolic} that what is not frozen reads, where `parts` are frozen."""
    (task,) = model.tasks.values()
    found = dict(model.get_layer(BACKBONE).output)
    levels = set(task.features)
    if _has_neck(model):
        pyramid = dict(model.get_layer(NECK).output)
        if NECK in parts:
            found |= pyramid
        elif levels & set(pyramid):
            levels = levels - set(pyramid) | set(_LATERALS)
    return {level: found[level] for level in sorted(levels)}


def frozen_features(
    model: MultiTaskModel, parts: Collection[str]
) -> Callable[[Mapping[str, Tensor]], dict[str, Tensor]]:
    """A traced function from a model's inputs to the inputs of `head_model`."""
    levels = tuple(boundary(model, parts))
    backbone = model.get_layer(BACKBONE)
    neck = model.get_layer(NECK) if NECK in parts else None

    @tf.function(autograph=False)
    def features(x: Mapping[str, Tensor]) -> dict[str, Tensor]:
        found = dict(backbone(x["image"], training=False))
        if neck is not None:
            found |= neck({level: found[level] for level in _LATERALS}, training=False)
        return {_name(level): found[level] for level in levels} | {"area": x["area"]}

    return features


def head_model(model: MultiTaskModel, parts: Collection[str]) -> MultiTaskModel:
    """The layers of a model with one task that are not frozen, from features to the prediction.

    Both models have the same weights: what one learns the other knows.
    """
    (task,) = model.tasks.values()
    inputs = {
        _name(level): keras.Input(x.shape[1:], dtype=x.dtype, name=_name(level))
        for level, x in boundary(model, parts).items()
    }
    inputs["area"] = keras.Input((4,), name="area")
    features = {level: inputs[_name(level)] for level in boundary(model, parts)}
    if _has_neck(model) and NECK not in parts:
        features |= model.get_layer(NECK)({level: features[level] for level in _LATERALS})
    head = model.get_layer(task.name)
    outputs = head({key: features[key] for key in task.features} | {"area": inputs["area"]})
    return MultiTaskModel(inputs, {task.name: outputs}, [task], model.task_weights, model.clip_norm)


def bytes_of_view(model: MultiTaskModel, parts: Collection[str]) -> int:
    """Bytes of an image's features and label."""
    (task,) = model.tasks.values()
    specs = task.label_spec(model.size).values()
    features = [(x.shape[1:], x.dtype) for x in boundary(model, parts).values()]
    sizes = [*features, *((spec.shape, spec.dtype) for spec in specs)]
    return sum(tf.TensorShape(shape).num_elements() * tf.as_dtype(dt).size for shape, dt in sizes)


def _name(level: str) -> str:
    # No head can be named so: see recipe.py.
    return f"features.{level}"


def _has_neck(model: MultiTaskModel) -> bool:
    return any(layer.name == NECK for layer in model.layers)
