"""Residual branches that are left out at random in training: a network of random depth."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from must_keras.errors import UserError
from must_keras.ops import keyed_random

Tensor = Any

# The purposes of the draws of the first block and of those after it.
_FIRST_BLOCK = 300


class StochasticDepth:
    """From now on a backbone may leave out residual branches; what is saved of it stays as it is.

    Of L blocks, block l loses its branch with probability rate * l / L, image by image; where it is
    kept it counts 1 / (1 - rate * l / L) times, so that nothing has to be scaled in inference. A
    draw is a function of the image's key and the block alone.

    Args:
        backbone: a functional model; each keras.layers.Add of two maps ends a block, whose branch
            is the input with more layers behind it.
        rate: of the last block, [0, 1).

    Raises:
        UserError: it has no such layer.

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
            raise UserError(
                f"stochastic_depth={rate}: the backbone has no residual branches to leave out"
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
        """Branches of what is computed within are left out; also within its gradients.

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
        kept = keyed_random.uniform(keys, 1, purpose=purpose)[:, :, None, None] >= drop
        factor = ops.cast(kept, inputs[branch].dtype) / (1.0 - drop)
        return inputs[1 - branch] + inputs[branch] * factor


def _heights(model: keras.Model) -> dict[Any, int]:
    """{layer: layers on the longest way to it from the input}."""
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
