"""Features that are computed twice instead of kept: less memory for a third more time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

from must_keras.errors import UserError

Tensor = Any


@contextlib.contextmanager
def recomputed(backbone: keras.Model) -> Iterator[None]:
    """Calls of the backbone keep its levels alone; their gradients compute what lies between.

    The running averages of BatchNormalization move in the first pass only.

    Args:
        backbone: a functional model from an image to {"C2", ..., "C5"} or more levels, each
            computed from the one before.

    Reference: Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174).
    """
    segments = _segments(backbone)

    def call(image: Tensor, training: bool | None = None, **_: Any) -> dict[str, Tensor]:
        levels, x = {}, image
        for level, segment in segments.items():
            levels[level] = x = _forgetful(segment, x, training)
        return levels

    backbone.call = call
    try:
        yield
    finally:
        del backbone.call


def _segments(backbone: keras.Model) -> dict[str, keras.Model]:
    """{level: the layers from the level before, or the image, to it}."""
    below, segments = backbone.input, {}
    for level, features in sorted(backbone.output.items()):
        try:
            segments[level] = keras.Model(below, features)
        except ValueError as error:
            raise UserError(
                f"recompute=True: {level} does not follow from the level before: {error}"
            ) from None
        below = features
    return segments


def _forgetful(segment: keras.Model, x: Tensor, training: bool | None) -> Tensor:
    @tf.custom_gradient
    def run(x: Tensor) -> Any:
        def gradient(dy: Tensor, variables: Any = ()) -> Any:
            # Not before it is asked for; and what is assigned in this scope goes nowhere.
            with tf.control_dependencies([dy]):
                again = tf.identity(x)
            with keras.StatelessScope(), tf.GradientTape() as tape:
                tape.watch(again)
                y = segment(again, training=training)
            return tape.gradient(y, [again, list(variables)], output_gradients=dy)

        return segment(x, training=training), gradient

    return run(x)
