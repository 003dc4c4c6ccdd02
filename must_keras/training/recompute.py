"""Features that are computed twice instead of kept: less memory for a third more time."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from must_keras.errors import UserError

Tensor = Any


def recompute(backbone: keras.Model) -> None:
    """From now on training keeps the backbone's levels alone and computes what lies between again.

    The running averages of BatchNormalization move in the first pass only. What is saved of the
    backbone stays as it is.

    Args:
        backbone: a functional model from an image to {"C2", ..., "C5"} or more levels, each
            computed from the one before.

    Raises:
        UserError: a level is not computed from the one before.

    Reference: Training Deep Nets with Sublinear Memory Cost (arXiv 1604.06174).
    """
    segments, plain = _segments(backbone), type(backbone).call

    def call(image: Tensor, training: bool | None = None, **kwargs: Any) -> dict[str, Tensor]:
        if not training:
            return plain(backbone, image, training=training, **kwargs)
        levels, x = {}, image
        for level, segment in segments.items():
            levels[level] = x = _forgetful(segment, x)
        return levels

    # Of this object alone: its class, and so what is saved, is that of any functional model.
    backbone.call = call


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


def _forgetful(segment: keras.Model, x: Tensor) -> Tensor:
    @tf.custom_gradient
    def run(x: Tensor) -> Any:
        def gradient(dy: Tensor, variables: Any = ()) -> Any:
            # Not before it is asked for; and what is assigned in this scope goes nowhere.
            with tf.control_dependencies([dy]):
                again = tf.identity(x)
            with keras.StatelessScope(), tf.GradientTape() as tape:
                tape.watch(again)
                y = segment(again, training=True)
            return tape.gradient(y, [again, list(variables)], output_gradients=dy)

        return segment(x, training=True), gradient

    return run(x)
