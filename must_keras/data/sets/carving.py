"""Validation images of sets of very different sizes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import tensorflow_datasets as tfds

from must_keras.data.sources import Reading, Source, Subset, TfdsSource
from must_keras.data.splits import Splits, carve_validation, permutation

# One image in so many is taken out of a training set at most.
_ONE_IN = 10


def carved(
    train: Source,
    test: Source,
    *,
    most: int,
    seed: int,
    group: Callable[[str], str] | None = None,
) -> Splits:
    """A training set without its validation images, these, and the test set as it is.

    Args:
        train: the set's own training images.
        test: what results are told of.
        most: validation images, but never more than a tenth of the training set.
        seed: another one takes others.
        group: see `splits.carve_validation`.

    Raises:
        UserError: one of the parts would be empty.
    """
    count = max(1, min(most, len(train) // _ONE_IN))
    parts = carve_validation(train, count=count, seed=seed, group=group)
    return Splits(train=parts.train, validation=parts.validation, test=test)


def carved_of_tfds(
    builder: tfds.core.DatasetBuilder,
    labels: Mapping[str, Reading],
    *,
    name: str,
    test: str,
    most: int,
    seed: int,
) -> Splits:
    """`carved` of TFDS's split "train" and another one.

    Args:
        builder: the data set.
        labels: see TfdsSource.
        name: of the training images; <name>_test of the others.
        test: TFDS's name of the split that results are told of.
        most: see `carved`.
        seed: see `carved`.
    """
    ours, theirs = (
        TfdsSource(name=f"{name}{end}", builder=builder, split=split, labels=labels)
        for end, split in (("", "train"), ("_test", test))
    )
    return carved(ours, theirs, most=most, seed=seed)


def drawn(source: Source, *, most: int, seed: int) -> Source:
    """A source, or `most` images of it in the order of the seed where it has more."""
    if len(source) <= most:
        return source
    return Subset(source, sorted(permutation(source, seed=seed)[:most]), name=source.name)
