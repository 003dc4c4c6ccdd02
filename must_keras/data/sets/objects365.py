"""Objects365, second release (2020): 1.74 million training images, boxes of 365 classes."""

from __future__ import annotations

import pathlib

from must_keras.data.io.folders import Path
from must_keras.data.sets.carving import carved, drawn
from must_keras.data.sources import Objects365
from must_keras.data.splits import Splits

# Of the 80,000 images of val: as many as COCO's. Scoring all takes longer than it tells more.
_TEST = 5_000


def splits(root: Path, *, head: str, seed: int) -> Splits:
    """From the archives of objects365.org.

        <root>/annotations/zhiyuan_objv2_{train,val}.json
        <root>/train/patch{0..50}/*.jpg
        <root>/val/patch{0..43}/*.jpg                      or val/images/{v1,v2}/patch*/*.jpg

    Patches that are not there are left out, and told. Files of train and val whose classes differ,
    as those of the first release are said to, are an error of the run. Test is 5,000 images of
    val, since the labels of the test set are not public; validation is 5,000 training images.

    Args:
        root: the folder.
        head: the head that the boxes label.
        seed: of the test and validation images.

    Raises:
        UserError: a file is missing or does not fit the others.
    """
    root = pathlib.Path(root)
    train, test = (
        Objects365(
            name=f"objects365{end}",
            images=root / split,
            annotations=root / "annotations" / f"zhiyuan_objv2_{split}.json",
            head=head,
        )
        for end, split in (("", "train"), ("_test", "val"))
    )
    return carved(train, drawn(test, most=_TEST, seed=seed), most=5_000, seed=seed)
