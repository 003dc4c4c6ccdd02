"""MoCo v2: a view is compared with a queue of views that a slow copy of the network has encoded.

He, Fan, Wu, Xie, Girshick: "Momentum Contrast for Unsupervised Visual Representation Learning",
CVPR 2020 (arXiv 1911.05722); Chen, Fan, Girshick, He: "Improved Baselines with Momentum Contrastive
Learning" (arXiv 2003.04297), which brings the hidden layer, the blur and the temperature.
"""

import dataclasses
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from must_keras.ops import Tensor
from must_keras.ops.precision import full
from must_keras.self_supervised.pairs import PairMethod, PairModel
from must_keras.self_supervised.views import RandomViews
from must_keras.training.config import averaging_momentum
from must_keras.training.layer_calls import fuse
from must_keras.training.network import Network
from must_keras.training.strategy import gather_over_replicas

# Largest share of a set in the queue. An image's own older key is no true negative; the published
# queue has 5 % of ImageNet. This share is ours: smaller sets need some negatives.
_MAX_QUEUE_SHARE = 0.25
# As published.
_VIEWS = RandomViews(least_area=0.2, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class MoCo(PairMethod):
    """MoCo v2 with its published augmentation, head, loss and momentum encoder.

    Adapted to short trainings and small sets: the momentum follows the number of steps (see
    averaging_momentum), the queue is at most a quarter of the set.

    The published method shuffles the batches of several devices, so that a key is not normalized
    together with its query. Here the momentum encoder normalizes with its running statistics, which
    are running averages of the encoder's (Cai et al., "Exponential
    Moving Average Normalization for Self-supervised and Semi-supervised Learning", CVPR 2021,
    arXiv 2101.08482). So a key depends on its own image only, on one device as on many.

    Attributes:
        temperature: of the softmax.
        momentum: of the momentum encoder in a long training.
        queue: number of keys for a large set, rounded down to whole batches.

    Example:
        training = mk.TrainingConfig(steps=1000, batch=64, learning_rate=0.01, optimizer=mk.SGD())
        mk.MoCo(training=training)

    """

    name: str = "moco"
    views: RandomViews = _VIEWS
    temperature: float = 0.2
    momentum: float = 0.999
    queue: int = 65536

    def build(self, network: Network, *, seed: int, num_images: int) -> PairModel:
        encoder, key_encoder = (self.encoder(network, seed=seed) for _ in range(2))
        return _Model(self, encoder, key_encoder, queue=self._first_keys(seed, num_images))

    def _first_keys(self, seed: int, num_images: int) -> np.ndarray:
        """Return random directions, as published: [queue, D], a whole number of batches."""
        batch = self.training.batch
        longest = min(self.queue, int(num_images * _MAX_QUEUE_SHARE))
        shape = (max(longest // batch, 1) * batch, self.dimensions)
        keys = np.random.default_rng(seed).normal(size=shape)
        return keys / np.linalg.norm(keys, axis=-1, keepdims=True)


class _Model(PairModel):
    def __init__(
        self, method: MoCo, encoder: keras.Model, key_encoder: keras.Model, *, queue: np.ndarray
    ):
        super().__init__(method, encoder)
        self._momentum = averaging_momentum(method.training.steps, method.momentum)
        self.key_encoder = key_encoder
        self.key_encoder.trainable = False
        fuse(self.key_encoder)
        self.queue = keras.Variable(queue, dtype=full(), trainable=False, name="queue")
        self.place = keras.Variable(0, dtype="int64", trainable=False, name="place")

    def targets(self, x: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return this replica's keys [B, D], and the queue [Q, D] before they are stored in it."""
        follow(weights_of(self.key_encoder), weights_of(self), self._momentum)
        keys = ops.normalize(self.key_encoder(x["other"], training=False), axis=-1)
        # A copy: Keras' convert_to_tensor returns the variable itself, which changes below.
        queue = tf.identity(self.queue.value)
        everyone = gather_over_replicas(keys)
        self.queue.assign(enqueued(queue, everyone, self.place))
        self.place.assign((self.place + everyone.shape[0]) % queue.shape[0])
        return keys, queue

    def contrast(self, x: dict[str, Tensor], targets: Any) -> tuple[Tensor, Tensor]:
        queries = ops.normalize(self(x["image"], training=True), axis=-1)
        return info_nce(queries, *targets, temperature=self.method.temperature)


def info_nce(
    queries: Tensor, keys: Tensor, queue: Tensor, *, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the cross-entropy of choosing the own key (arXiv 1911.05722, equation 1).

    -log(exp(q . k / t) / (exp(q . k / t) + sum over the queue of exp(q . k' / t))).

    Args:
        queries: [B, D], of length 1.
        keys: [B, D], of length 1, of the other views of the same images.
        queue: [Q, D], of length 1, of other images.
        temperature: t.

    Returns:
        [B] losses and [B] bool, whether the own key is the most similar one.
    """
    own = ops.sum(queries * keys, axis=-1, keepdims=True)
    logits = ops.concatenate([own, ops.matmul(queries, ops.transpose(queue))], axis=-1)
    logits = logits / temperature
    first = ops.zeros(queries.shape[:1], "int32")
    losses = ops.sparse_categorical_crossentropy(first, logits, from_logits=True)
    return losses, ops.argmax(logits, axis=-1) == first


def enqueued(queue: Tensor, keys: Tensor, place: Tensor) -> Tensor:
    """Return the queue with its oldest keys, those from `place` on, replaced: [Q, D]."""
    rows = (ops.cast(place, "int64") + ops.arange(keys.shape[0], dtype="int64")) % queue.shape[0]
    return ops.scatter_update(queue, rows[:, None], ops.cast(keys, queue.dtype))


def weights_of(encoder: keras.Model) -> list[keras.Variable]:
    """Return the weights of an encoder's layers, statistics of BatchNormalization among them."""
    return [weight for layer in encoder.layers for weight in layer.weights]


def follow(slow: list[keras.Variable], fast: list[keras.Variable], momentum: float) -> None:
    """Assign momentum * slow + (1 - momentum) * fast to `slow` (arXiv 1911.05722, equation 2)."""
    for own, other in zip(slow, fast, strict=True):
        own.assign(own * momentum + other * (1.0 - momentum))
