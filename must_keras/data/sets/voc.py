"""Pascal VOC: boxes of 2007 and 2012, label maps of 2012."""

from __future__ import annotations

import pathlib

from must_keras.data.io.folders import Path
from must_keras.data.sets.carving import carved
from must_keras.data.sources import Concatenated, LabelMaps, TfdsSource, box_reading, tfds_builder
from must_keras.data.splits import Splits, listed

# The values of SegmentationClass's pixels, from 0 on; 255 is the rim of objects: void.
MAP_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip


def boxes(*, head: str, seed: int, data_dir: str | None = None) -> Splits:
    """07+12: trained on train and val of both years, tested on 2007's test, by TFDS's voc.

    TFDS downloads it: 16,551 and 4,952 images. Its boxes begin one pixel too far to the right and
    below: VOC counts pixels from 1, and TFDS divides by the size without taking 1 away. Validation
    is 1,000 training images; difficult objects are ignored.

    Args:
        head: the head that the boxes label.
        seed: of the validation images.
        data_dir: where TFDS keeps its data sets; None: its default.

    Raises:
        UserError: the set is not there and cannot be prepared.
    """
    years = {year: tfds_builder(f"voc/{year}", data_dir) for year in ("2007", "2012")}

    def source(name: str, year: str, split: str) -> TfdsSource:
        builder = years[year]
        labels = {head: box_reading(builder)}
        return TfdsSource(name=name, builder=builder, split=split, labels=labels)

    train = [source(f"voc{year}", year, "train+validation") for year in years]
    return carved(
        Concatenated(train, name="voc_boxes"),
        source("voc_boxes_test", "2007", "test"),
        most=1_000,
        seed=seed,
    )


def maps(root: Path, *, head: str, seed: int) -> Splits:
    """VOC 2012's label maps: trained on its 1,464 train images, tested on its 1,449 val images.

    From VOCtrainval_11-May-2012.tar, since TFDS has no maps:

        <root>/JPEGImages/*.jpg
        <root>/SegmentationClass/*.png          palettes: 0 to 20, 255 is void
        <root>/ImageSets/Segmentation/{train,val}.txt

    The labels of VOC's own test set are not public, and val is what papers report on. Validation
    is 150 training images. The further maps of SBD are not used.

    Args:
        root: VOCdevkit/VOC2012.
        head: the head that the maps label.
        seed: of the validation images.

    Raises:
        UserError: a file is missing or says what it should not.
    """
    root = pathlib.Path(root)
    photos = LabelMaps(
        name="voc_maps",
        images=root / "JPEGImages",
        maps=root / "SegmentationClass",
        head=head,
        classes=MAP_CLASSES,
    )
    lists = root / "ImageSets" / "Segmentation"
    train, test = (
        listed(photos, lists / f"{split}.txt", name=f"voc_maps{end}")
        for end, split in (("", "train"), ("_test", "val"))
    )
    return carved(train, test, most=150, seed=seed)
