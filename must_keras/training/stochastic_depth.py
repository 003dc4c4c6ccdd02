"""Stochastic depth: residual branches that are dropped at random in training."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from must_keras.errors import UserError
from must_keras.ops import sampling

Tensor = Any

# Purposes of the random numbers of the first block and of those after it.
_FIRST_BLOCK = 300


class StochasticDepth:
    """Drops residual branches of a backbone in training; what is saved of it does not change.

    Of L blocks, block l loses its branch with probability rate * l / L, image by image; where it is
    kept it is multiplied by 1 / (1 - rate * l / L), so that nothing is scaled in inference. A
    sample is a function of the image's key and the block alone.

    Args:
        backbone: a functional model; each keras.layers.Add of two maps ends a block, whose branch
            is the input on the longer path.
        rate: of the last block, [0, 1).

    Raises:
        UserError: the backbone has no such layer.

    Example:
        depth = StochasticDepth(model.get_layer("backbone"), 0.2)
        with depth.of(keys):
            model(images, training=True)

    Reference: arXiv 1603.09382, equation 4; image by image as in EfficientNet (arXiv 1905.11946).
    """

    def __init__(self, backbone: keras.Model, rate: float):
        self.rate = rate
        # Replicas are traced in threads, which take turns in the middle of a forward pass.
        self._local = threading.local()
        heights = _heights(backbone)
        adds = [
            layer
            for layer in sorted(backbone.layers, key=lambda layer: heights[layer])
            if isinstance(layer, keras.layers.Add) and len(layer.input) == 2
        ]
        if not adds:
            raise UserError.of(
                "", "stochastic_depth", rate, "the backbone has no residual branches to drop"
            )
        for block, layer in enumerate(adds, 1):
            sources = [x._keras_history.operation for x in layer.input]
            branch = max((0, 1), key=lambda i, s=sources: heights[s[i]])
            drop = rate * block / len(adds)
            # Of this object alone: its class, and so what is saved, is Keras' own.
            layer.call = functools.partial(
                self._call, layer, branch=branch, drop=drop, purpose=_FIRST_BLOCK + block
            )

    @contextlib.contextmanager
    def of(self, keys: Tensor) -> Iterator[None]:
        """Within, drop branches in forward passes and their gradients.

        Args:
            keys: [B] int32, of the images.
        """
        self._local.keys = keys
        try:
            yield
        finally:
            self._local.keys = None

    def _call(
        self, layer: keras.layers.Add, inputs: Any, *, branch: int, drop: float, purpose: int
    ) -> Tensor:
        keys = getattr(self._local, "keys", None)
        if keys is None:
            return type(layer).call(layer, inputs)
        kept = sampling.uniform(keys, 1, purpose=purpose)[:, :, None, None] >= drop
        factor = ops.cast(kept, inputs[branch].dtype) / (1.0 - drop)
        return inputs[1 - branch] + inputs[branch] * factor


def _heights(model: keras.Model) -> dict[Any, int]:
    """Return {layer: number of layers on the longest path to it from the input}."""
    heights: dict[Any, int] = {}
    for operation in model.operations:  # In an order in which inputs come first.
        below = [
            heights[node.operation]
            for own in operation._inbound_nodes
            for node in own.parent_nodes
            if node.operation in heights
        ]
        heights[operation] = max(below, default=-1) + 1
    return heights
