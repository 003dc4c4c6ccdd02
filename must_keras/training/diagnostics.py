"""Each head's share of the loss and of the backbone's gradient, and the angles between them."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from must_keras.training.fitted import FittedModel
from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE
from must_keras.training.strategy import sum_over_replicas

Tensor = Any
LOSS_SHARE, GRADIENT_SHARE, COSINE = "_loss_share", "_gradient_share", "_cosine"


class Diagnostics:
    """Measures the heads' losses and gradients on one batch; the model is left as it is.

    Gradients are those of the weighted losses with respect to all kernels of the backbone as one
    vector, of the whole batch, over all replicas and microbatches: one backward pass a head.

    It is not traced: that would take as long as fifty small steps, and measurements are rare.

    Args:
        model: a compiled model.

    Example:
        Diagnostics(model).of_batch(model.last_batch)["depth_gradient_share"]

    Reference: GradNorm (arXiv 1711.02257), section 3.1, for norms. GradNorm measures the last
    shared layer; here all kernels are measured, because some heads use levels below the pyramid.
    """

    def __init__(self, model: MultiTaskModel):
        self._model = model
        self._kernels = shared_kernels(model)

    def of_batch(self, batch: Any) -> dict[str, float]:
        """Return the numbers of a batch, as the model's training step takes it.

        Returns:
            {"<head>_loss_share": its share of the weighted loss, "<head>_gradient_share": its share
            of the sum of the gradients' norms, "<head>_<head>_cosine": of the angle between two
            gradients}; not-a-number where a gradient or the whole loss is 0.
        """
        strategy = self._model.distribute_strategy
        found = strategy.run(self._of_replica, (batch,))
        # Equal on all replicas.
        return {k: float(strategy.experimental_local_results(v)[0]) for k, v in found.items()}

    def _of_replica(self, data: Any) -> dict[str, Tensor]:
        model = self._model
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        counts, losses, gradients = model.valid_counts(y), {}, {}
        kernels = [kernel.value for kernel in self._kernels]
        # What a forward pass assigns, such as running averages, is discarded.
        with keras.StatelessScope():
            for index in range(model.accumulate):
                some_x, some_y = model.microbatch((x, y), index)
                with model.sampling(some_y["keys"]):
                    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
                        tape.watch(kernels)
                        found = model.losses_over(some_y, model(some_x, training=True), counts)
                        found = model.weighted_losses(found)
                    for name, loss in found.items():
                        parts = tape.gradient(
                            loss, kernels, unconnected_gradients=tf.UnconnectedGradients.ZERO
                        )
                        gradient = tf.concat([tf.reshape(g, [-1]) for g in parts], axis=0)
                        losses[name] = losses.get(name, 0.0) + loss
                        gradients[name] = gradients.get(name, 0.0) + gradient
                del tape
        losses, gradients = sum_over_replicas((losses, gradients))
        norms = {name: tf.norm(gradient) for name, gradient in gradients.items()}
        numbers = _shares(losses, LOSS_SHARE) | _shares(norms, GRADIENT_SHARE)
        for one, other in itertools.combinations(gradients, 2):
            dot = tf.tensordot(gradients[one], gradients[other], 1)
            numbers[f"{one}_{other}{COSINE}"] = dot / (norms[one] * norms[other])
        return numbers


def shared_kernels(model: FittedModel) -> list[keras.Variable]:
    """Return the trainable kernels of a model's backbone."""
    return [v for v in model.get_layer(BACKBONE).trainable_variables if len(v.shape) > 1]


def _shares(values: Mapping[str, Tensor], ending: str) -> dict[str, Tensor]:
    total = sum(values.values())
    return {f"{name}{ending}": value / total for name, value in values.items()}
