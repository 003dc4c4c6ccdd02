"""A share of every batch for images with ground truth: an order of two interleaved streams.

Large pools would otherwise leave little room for ground truth in a batch. Consistency training of
detectors fixes the share as well (Soft Teacher, arXiv 2106.09018: 1 to 4; Unbiased Teacher, arXiv
2102.09480: 1 to 1), with two loaders of batches; here one order mixes both, so that a training
resumes at any step and on any number of devices.
"""

import fractions
from numbers import Real

import numpy as np
import tensorflow as tf

from must_keras.data.pipeline import Order, shuffled
from must_keras.errors import UserError
from must_keras.ops import sampling

# Of a share, and of it as a fraction: 0.3 is 3 / 10.
_LOWEST, _MAX_DENOMINATOR = 0.001, 1000


def check_share(where: str, share: float | None) -> None:
    """Raise UserError unless a share of images with ground truth is None or can be sampled."""
    if share is not None and not (isinstance(share, Real) and _LOWEST <= share <= 1.0 - _LOWEST):
        problem = "expected a number in [0.001, 0.999], or None for equally likely images"
        raise UserError.of(where, "ground_truth_share", share, problem)


def by_ground_truth(has_ground_truth: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the images with ground truth, and those of the others.

    Args:
        has_ground_truth: [N] bool, of each image.
        share: of images with ground truth among those that the student sees, for the message.

    Raises:
        UserError: all images are of one kind.
    """
    known, others = np.flatnonzero(has_ground_truth), np.flatnonzero(~has_ground_truth)
    if not len(known) or not len(others):
        problem = f"{'every' if len(known) else 'no'} image of the student has ground truth"
        remedy = "remove it, so that all images are equally likely"
        raise UserError.of("", "ground_truth_share", share, f"{problem}; {remedy}", remedy=remedy)
    return known, others


def interleaved(has_ground_truth: np.ndarray, share: float) -> Order:
    """Return the order in which a share of the images has ground truth.

    Position p is one of ground truth where floor((p + 1) share) > floor(p share): as evenly spread
    as possible. Any n images in a row, so a batch, a microbatch or a replica's part of it, contain
    n * share images with ground truth, rounded down or up; over the steps the share is exact. The
    images of either kind come in an endless stream of their own, shuffled anew in every epoch. The
    kind at a position is the same with every seed, so that an image and the partner that it is
    mixed with are of one kind.

    Args:
        has_ground_truth: [N] bool, of each image.
        share: of the positions, [0.001, 0.999]; taken to the nearest fraction whose denominator is
            at most 1000.

    Raises:
        UserError: all images are of one kind.
    """
    kinds = by_ground_truth(has_ground_truth, share)
    exact = fractions.Fraction(float(share)).limit_denominator(_MAX_DENOMINATOR)
    numerator, denominator = exact.as_integer_ratio()
    with tf.device("CPU"):
        known, others = (tf.constant(kind, tf.int64) for kind in kinds)

    def order(position: tf.Tensor, seed: int) -> tf.Tensor:
        before = position * numerator // denominator
        is_known = (position + 1) * numerator // denominator > before

        def row(rows: tf.Tensor, place: tf.Tensor, kind: str) -> tf.Tensor:
            own = sampling.derived_seed(seed, kind)
            return tf.gather(rows, shuffled(place, num_examples=len(rows), seed=own))

        return tf.where(
            is_known,
            row(known, before, "ground truth"),
            row(others, position - before, "no ground truth"),
        )

    return order
