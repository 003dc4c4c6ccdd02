"""CIFAR-100: 50,000 training and 10,000 test images of 32 pixels, 100 classes."""

from __future__ import annotations

from must_keras.data.sets.carving import carved_of_tfds
from must_keras.data.sources import class_reading, tfds_builder
from must_keras.data.splits import Splits


def splits(*, head: str, seed: int, data_dir: str | None = None) -> Splits:
    """By TFDS's cifar100, which it downloads; validation is 5,000 training images.

    Args:
        head: the head that the 100 fine classes label.
        seed: of the validation images.
        data_dir: where TFDS keeps its data sets; None: its default.

    Raises:
        UserError: the set is not there and cannot be prepared.
    """
    builder = tfds_builder("cifar100", data_dir)
    return carved_of_tfds(
        builder, {head: class_reading(builder)}, name="cifar100", test="test", most=5_000, seed=seed
    )
