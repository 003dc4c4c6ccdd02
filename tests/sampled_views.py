"""Many samples of an augmentation in one graph: eager TensorFlow takes milliseconds for each."""

import functools

import numpy as np
import tensorflow as tf

from must_keras.data.augmentation import Augmentation, RandAugment
from must_keras.ops.views import View


@functools.cache
def _matrices(augmentation: Augmentation, size: tuple[int, int]):
    def one(values):
        return augmentation.view(values[0], size, values[1]).matrix

    return tf.function(
        lambda originals, keys: tf.map_fn(one, (originals, keys), fn_output_signature=tf.float32),
        autograph=False,
    )


def views(augmentation: Augmentation, originals, keys, *, size: tuple[int, int]) -> list[View]:
    """The view of each key, of an original of a size (height, width) or of one size each."""
    originals = np.broadcast_to(np.asarray(originals, np.int32), (len(keys), 2))
    found = _matrices(augmentation, size)(tf.constant(originals), tf.constant([*keys], tf.int32))
    is_aligned = augmentation.rand_augment is None
    return [View(matrix=matrix, size=size, axis_aligned=is_aligned) for matrix in found]


@functools.cache
def changes(values: RandAugment, count: int) -> tuple[np.ndarray, np.ndarray]:
    """[count, layers] indices and signs of the changes of the keys 0, 1, ..."""
    run = tf.function(
        lambda keys: tf.map_fn(values.sampled, keys, fn_output_signature=(tf.int32, tf.float32)),
        autograph=False,
    )
    which, signs = run(tf.range(count))
    return which.numpy(), signs.numpy()
