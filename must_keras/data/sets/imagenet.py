"""ImageNet (ILSVRC 2012): 1,281,167 training images, 50,000 validation images, 1,000 classes."""

from __future__ import annotations

from must_keras.data.sets.carving import carved_of_tfds
from must_keras.data.sources import class_reading, tfds_builder
from must_keras.data.splits import Splits


def splits(*, head: str, seed: int, data_dir: str | None = None) -> Splits:
    """By TFDS's imagenet2012.

    TFDS cannot download it: put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar, from
    image-net.org, into <data_dir>/downloads/manual. Test is ImageNet's validation set, whose
    classes are public; validation is 10,000 training images.

    Args:
        head: the head that the classes label; they have the names of WordNet synsets.
        seed: of the validation images.
        data_dir: where TFDS keeps its data sets; None: its default.

    Raises:
        UserError: the set is not there and cannot be prepared.
    """
    builder = tfds_builder("imagenet2012", data_dir)
    return carved_of_tfds(
        builder,
        {head: class_reading(builder)},
        name="imagenet",
        test="validation",
        most=10_000,
        seed=seed,
    )
