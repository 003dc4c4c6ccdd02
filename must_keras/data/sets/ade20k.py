"""ADE20K, scene parsing: 20,210 training and 2,000 validation images, 150 classes."""

from __future__ import annotations

import pathlib

from must_keras.data.io.folders import Path
from must_keras.data.io.lists import read_lines
from must_keras.data.sets.carving import carved
from must_keras.data.sources import LabelMaps
from must_keras.data.splits import Splits
from must_keras.errors import UserError

_NUM_CLASSES = 150


def splits(root: Path, *, head: str, seed: int) -> Splits:
    """From ADEChallengeData2016.zip of data.csail.mit.edu/places/ADEchallenge.

        <root>/images/{training,validation}/ADE_*.jpg
        <root>/annotations/{training,validation}/ADE_*.png    1 to 150; 0 is "other": ignored
        <root>/objectInfo150.txt                              the classes' names

    TFDS's scene_parse150 cannot stand in: it downloads annotations_instance.tar, whose colors are
    the category and number of 100 kinds of things, not these maps. Test is ADE20K's validation
    set, as in papers; validation is 1,000 training images.

    Args:
        root: ADEChallengeData2016.
        head: the head that the maps label.
        seed: of the validation images.

    Raises:
        UserError: a file is missing or says what it should not.
    """
    root = pathlib.Path(root)
    classes = _class_names(root / "objectInfo150.txt")
    train, test = (
        LabelMaps(
            name=f"ade20k{end}",
            images=root / "images" / split,
            maps=root / "annotations" / split,
            head=head,
            classes=classes,
            values=range(1, _NUM_CLASSES + 1),
            ignore=(0,),
        )
        for end, split in (("", "training"), ("_test", "validation"))
    )
    return carved(train, test, most=1_000, seed=seed)


def _class_names(path: pathlib.Path) -> tuple[str, ...]:
    """The last column of lines "<number> <share> <train> <val> <name>", parted by tabs."""
    rows = [[cell.strip() for cell in line.split("\t")] for _, line in read_lines(path)]
    names = {int(row[0]): row[-1] for row in rows if row[0].isdecimal()}
    if sorted(names) != list(range(1, _NUM_CLASSES + 1)):
        raise UserError(
            f"{path} names {len(names)} classes, expected one a line, numbered 1 to {_NUM_CLASSES}"
        )
    return tuple(names[number] for number in sorted(names))
