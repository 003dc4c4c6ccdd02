"""A SavedModel's function of images, called as its signature wants it."""

from __future__ import annotations

import pathlib
from typing import Any

import tensorflow as tf

from must_keras.errors import UserError


class SavedFunction:
    """`serve` of a SavedModel, or its default signature, as a function of a batch of images.

    Images are rounded where it takes whole numbers, and come one by one where it takes one alone:
    the answers to a batch are put together along their first axis.

    Args:
        path: the SavedModel's folder.

    Attributes:
        dtype: of the images that it takes; None: it does not say.
        shape: of the images that it takes, None where any; () where it does not say.

    Raises:
        UserError: it has no such function, or one of several tensors.
        OSError, ValueError: it cannot be read.
    """

    def __init__(self, path: pathlib.Path):
        # A SavedModel is one object: its variables go with it.
        self._saved = tf.saved_model.load(str(path))
        self._function = getattr(self._saved, "serve", None) or self._saved.signatures.get(
            "serving_default"
        )
        if self._function is None:
            raise UserError(f"{path} has neither `serve` nor a default signature")
        specs = _specs(self._function)
        if len(specs) > 1:
            names = ", ".join(str(spec.name) for spec in specs)
            raise UserError(f"{path} takes several tensors ({names}), expected images alone")
        self.dtype: tf.DType | None = specs[0].dtype if specs else None
        known = specs and specs[0].shape.rank is not None
        self.shape: tuple[int | None, ...] = tuple(specs[0].shape) if known else ()

    def __call__(self, images: tf.Tensor) -> Any:
        """The answers to [B, ...] images."""
        if self.dtype is not None:
            if self.dtype.is_integer:
                images = tf.clip_by_value(tf.round(images), 0, self.dtype.max)
            images = tf.cast(images, self.dtype)
        if not self.shape or self.shape[0] != 1:
            return self._function(images)
        answers = [self._function(images[i : i + 1]) for i in range(images.shape[0])]
        return tf.nest.map_structure(
            lambda *parts: tf.concat([tf.reshape(p, (1,)) if not p.shape else p for p in parts], 0),
            *answers,
        )


def _specs(function: Any) -> list[tf.TensorSpec]:
    """Of the tensors that a function takes; [] where it does not say."""
    # What `tf.function` made has several concrete functions, a signature is one.
    concrete = getattr(function, "concrete_functions", [function])
    if not concrete:
        return []
    arguments = tf.nest.flatten(concrete[0].structured_input_signature)
    return [spec for spec in arguments if isinstance(spec, tf.TensorSpec)]
