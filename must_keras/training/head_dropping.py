"""Heads of an image that a training step drops at random: their labels count as missing.

An idea of UNIC (arXiv 2408.05088, teacher dropping), in which the teacher with the largest loss of
an image is always kept. Here it is a random one: which loss is largest is known only after the
forward pass, while the losses of microbatches and replicas are divided by the number of labels of
the whole batch, which has to be known before.
"""

from collections.abc import Mapping
from typing import Any

from keras import ops

from must_keras.ops import Tensor, sampling
from must_keras.ops.precision import to_full
from must_keras.training.network import AnyTask, of_kept

# Purposes of the random numbers.
_ALWAYS, _DROPPED = 211, 212


def kept(heads: Mapping[str, AnyTask], y: Mapping[str, Any], rate: float) -> dict[str, Tensor]:
    """Return which heads of each image take part in the loss: {head: [B] bool}.

    Of the heads that an image has a label for, one is always kept, each with the same probability;
    every other one is dropped with probability `rate`. A sample is a function of the image's key.

    Args:
        heads: {name: task}.
        y: {"labels": {head: label}, "keys": [B] int32}.
        rate: [0, 1).
    """
    labels = {name: to_full(y["labels"][name]) for name in heads}
    weights = [of_kept(y, task, task.labels.weight(labels[n])) for n, task in heads.items()]
    is_labeled = ops.stack([weight > 0.0 for weight in weights], axis=1)
    found = sample(is_labeled, y["keys"], rate)
    return {name: found[:, i] for i, name in enumerate(heads)}


def sample(is_labeled: Tensor, keys: Tensor, rate: float) -> Tensor:
    """Return `kept` of heads as columns: [B, heads] bool of [B, heads] bool.

    Args:
        is_labeled: whether an image has a label for a head.
        keys: [B] int32, of the images.
        rate: [0, 1).
    """
    number = is_labeled.shape[1]
    order = sampling.uniform(keys, number, purpose=_ALWAYS)
    first = ops.argmax(ops.where(is_labeled, order, -1.0), axis=1)
    is_first = ops.arange(number, dtype="int32")[None] == ops.cast(first, "int32")[:, None]
    is_kept = sampling.uniform(keys, number, purpose=_DROPPED) >= rate
    return is_labeled & (is_first | is_kept)
