"""COCO 2017: 118,287 training and 5,000 validation images, with masks of things and stuff."""

from __future__ import annotations

import pathlib

from must_keras.data.io.folders import Path
from must_keras.data.sets.carving import carved
from must_keras.data.sources import CocoJson, CocoPanoptic, Joined, Source
from must_keras.data.splits import Splits


def splits(root: Path, *, head: str, seed: int, instances_head: str | None = None) -> Splits:
    """From the archives of cocodataset.org; TFDS's coco has neither masks nor stuff as files.

        <root>/{train2017,val2017}/*.jpg
        <root>/annotations/panoptic_{train2017,val2017}.json
        <root>/annotations/panoptic_{train2017,val2017}/*.png    unpacked, they are zips in a zip
        <root>/annotations/instances_{train2017,val2017}.json

    Test is val2017, since the labels of COCO's test sets are not public; validation is 2,500
    training images.

    Args:
        root: the folder.
        head: the head that the panoptic maps label, as 133 classes of things and stuff.
        seed: of the validation images.
        instances_head: the head that boxes and masks of 80 classes label; None: they are not read.

    Raises:
        UserError: a file is missing or does not fit the others.
    """
    train, test = (
        _labeled(pathlib.Path(root), year, f"coco{end}", head, instances_head)
        for end, year in (("", "train2017"), ("_test", "val2017"))
    )
    return carved(train, test, most=2_500, seed=seed)


def _labeled(
    root: pathlib.Path, year: str, name: str, head: str, instances_head: str | None
) -> Source:
    maps = CocoPanoptic(
        name=name,
        images=root / year,
        maps=root / "annotations" / f"panoptic_{year}",
        annotations=root / "annotations" / f"panoptic_{year}.json",
        head=head,
    )
    if instances_head is None:
        return maps
    instances = CocoJson(
        name=f"{name}_instances",
        images=root / year,
        annotations=root / "annotations" / f"instances_{year}.json",
        head=instances_head,
    )
    return Joined([maps, instances], name=name)
