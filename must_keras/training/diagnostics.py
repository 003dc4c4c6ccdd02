"""Which head moves the shared network, and which heads pull against each other."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from must_keras.training.model import MultiTaskModel
from must_keras.training.network import BACKBONE
from must_keras.training.strategy import sum_over_replicas

Tensor = Any
LOSS_SHARE, GRADIENT_SHARE, COSINE = "_loss_share", "_gradient_share", "_cosine"


class Diagnostics:
    """Shares of the heads and cosines between them, of one batch; training is not touched.

    Gradients are those of the weighted losses with respect to all kernels of the backbone, as one
    long vector, of the whole batch, over all replicas and parts. So every head passes through the
    backbone once.

    A look is not traced: that would take as long as fifty small steps, and looks are rare.

    Args:
        model: a compiled model.

    Reference: GradNorm (arXiv 1711.02257), section 3.1, for norms; it takes the last shared layer,
    but with a pyramid some heads reach the layers below without it.
    """

    def __init__(self, model: MultiTaskModel):
        self._model = model
        self._kernels = shared_kernels(model)

    def of_batch(self, batch: Any) -> dict[str, float]:
        """The numbers of a batch, as the model's training step takes it.

        Returns:
            {"<head>_loss_share": its part of the weighted loss, "<head>_gradient_share": its part
            of the sum of the gradients' norms, "<head>_<head>_cosine": of the angle between two
            gradients}; not-a-number where a gradient or the whole loss is 0.
        """
        strategy = self._model.distribute_strategy
        found = strategy.run(self._of_replica, (batch,))
        # All replicas find the same.
        return {k: float(strategy.experimental_local_results(v)[0]) for k, v in found.items()}

    def _of_replica(self, data: Any) -> dict[str, Tensor]:
        model = self._model
        x, y, _ = keras.utils.unpack_x_y_sample_weight(data)
        counts, losses, gradients = model.valid_counts(y), {}, {}
        kernels = [kernel.value for kernel in self._kernels]
        # What a forward pass assigns, running averages for one, goes nowhere.
        with keras.StatelessScope():
            for part in range(model.accumulate):
                some_x, some_y = model.part_of((x, y), part)
                with model.drawing(some_y["keys"]):
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
        return _shares(losses, gradients)


def shared_kernels(model: MultiTaskModel) -> list[keras.Variable]:
    """The backbone's kernels that are trained."""
    return [v for v in model.get_layer(BACKBONE).trainable_variables if len(v.shape) > 1]


def _shares(losses: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> dict[str, Tensor]:
    norms = {name: tf.norm(gradient) for name, gradient in gradients.items()}
    found = _parts(losses, LOSS_SHARE) | _parts(norms, GRADIENT_SHARE)
    for one, other in itertools.combinations(gradients, 2):
        dot = tf.tensordot(gradients[one], gradients[other], 1)
        cosine = dot / (norms[one] * norms[other])
        found[f"{one}_{other}{COSINE}"] = cosine
    return found


def _parts(values: Mapping[str, Tensor], of: str) -> dict[str, Tensor]:
    total = sum(values.values())
    return {f"{name}{of}": value / total for name, value in values.items()}
