"""NYU Depth v2: rooms with depth; 47,584 frames of films to train on, 654 frames to test on."""

from __future__ import annotations

from must_keras.data.sets.carving import carved_of_tfds
from must_keras.data.sources import depth_reading, tfds_builder
from must_keras.data.splits import Splits


def splits(*, head: str, seed: int, data_dir: str | None = None) -> Splits:
    """By TFDS's nyu_depth_v2, which it downloads (32 GB).

    Depth is in meters, filled in where the camera had no answer. Test is what TFDS calls
    validation, 654 frames of rooms that are in no training film; whole frames are scored, not the
    part that some papers cut out. Validation is 500 training frames: TFDS's records do not say
    from which film they are, so their neighbors are in the training set. They serve for the
    choice of a learning rate alone, which is too sure of itself then; test is not concerned.

    Args:
        head: the head that depth labels.
        seed: of the validation frames.
        data_dir: where TFDS keeps its data sets; None: its default.

    Raises:
        UserError: the set is not there and cannot be prepared.
    """
    builder = tfds_builder("nyu_depth_v2", data_dir)
    return carved_of_tfds(
        builder,
        {head: depth_reading(builder)},
        name="nyu_depth",
        test="validation",
        most=500,
        seed=seed,
    )
