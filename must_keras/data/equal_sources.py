"""An equal share of every batch for each source: an order of streams that take turns.

A large pool would otherwise leave little room for a small set. STARTUP (arXiv 2010.07734) draws as
many images of the source as of the target domain, with two loaders of batches; here one order takes
turns, so that a training resumes at any step and on any number of devices.
"""

import numpy as np
import tensorflow as tf

from must_keras.data.pipeline import Order, shuffled
from must_keras.ops import sampling


def taking_turns(group_of: np.ndarray) -> Order:
    """Return the order in which groups of examples take turns.

    With S groups, position p is of group p mod S. Any n images in a row, so a batch, a microbatch
    or a replica's part of it, contain n / S images of each group, rounded down or up. The images of
    a group come in an endless stream of its own, shuffled anew in every epoch, so that those of a
    small group come more often. The group at a position is the same with every seed: an image and
    the partner that it is mixed with are of one group.

    Args:
        group_of: [N] the number of each example's group, from 0 on; each group has an example.

    Example:
        order = taking_turns(np.array([0, 0, 0, 1]))  # Every other image is the last one.
    """
    counts = np.bincount(group_of)
    with tf.device("CPU"):
        # The examples of group 0, then those of group 1, ...
        rows = tf.constant(np.argsort(group_of, kind="stable"), tf.int64)
        sizes = tf.constant(counts, tf.int64)
        firsts = tf.constant(np.cumsum(counts) - counts, tf.int64)

    def order(position: tf.Tensor, seed: int) -> tf.Tensor:
        group, place = position % len(counts), position // len(counts)
        seeds = [sampling.derived_seed(seed, "group", str(number)) for number in range(len(counts))]
        within = shuffled(
            place,
            num_examples=tf.gather(sizes, group),
            seed=tf.gather(tf.constant(seeds, tf.int64), group),
        )
        return tf.gather(rows, tf.gather(firsts, group) + within)

    return order
