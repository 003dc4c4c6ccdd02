"""A trained model for others: images of any size in, predictions in their own pixels out."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from must_keras.modeling.fpn import any_size
from must_keras.ops.graph_resampling import letterbox_images
from must_keras.ops.views import letterbox, visible_area
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE, NECK


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
    flat = values[..., None] if values.shape.rank == 3 else values
    resized = tf.cast(tf.image.resize(flat, size, method=method), values.dtype)
    return resized[..., 0] if values.shape.rank == 3 else resized


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
