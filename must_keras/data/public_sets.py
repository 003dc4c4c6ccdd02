"""Public data sets as splits: what to download, its layout in a folder, and its test images.

Sets that TFDS provides are prepared by their names, others are read from the folders that their
archives unpack to. Validation images are carved out of the training set by a seed, at most a tenth
of it. For other sets see docs/reference/sources.md.

Arguments that all functions share:

    root      folder of the unpacked archives
    head      head that the labels are for
    seed      seed of the choice of validation images
    data_dir  folder in which TFDS keeps its data sets; None for its default

All raise UserError where a set is absent, cannot be prepared, or a file does not fit the others.

Example:
    sets = public_sets.voc_boxes(head="objects", seed=0)
    len(sets.train), len(sets.validation), len(sets.test)
"""

import pathlib
from collections.abc import Callable

import tensorflow_datasets as tfds

from must_keras.data.io.folders import Path
from must_keras.data.io.text_files import read_lines
from must_keras.data.sources import (
    CocoJson,
    CocoPanoptic,
    Concatenated,
    Diode,
    Joined,
    LabelMaps,
    Objects365,
    Reading,
    Source,
    Subset,
    TfdsSource,
    box_reading,
    class_reading,
    depth_reading,
    tfds_builder,
)
from must_keras.data.splits import Group, Splits, listed, permutation
from must_keras.errors import UserError

# Classes of VOC's label maps: the values of SegmentationClass's pixels from 0 on. 255, the rim of
# objects, is ignored.
VOC_MAP_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
_NUM_ADE20K_CLASSES = 150
# Of the 80,000 images of Objects365's val: as many as COCO's. Scoring all of them adds more time
# than precision.
_MAX_OBJECTS365_TEST = 5_000
# At most one image in this many is carved out of a training set.
_ONE_IN = 10


def imagenet(*, head: str, seed: int, data_dir: str | None = None) -> Splits:
    """Return ImageNet (ILSVRC 2012): 1,281,167 training images of 1,000 classes, by TFDS.

    TFDS cannot download imagenet2012: put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar,
    from image-net.org, into <data_dir>/downloads/manual. Classes have the names of WordNet
    synsets. Test is ImageNet's validation set of 50,000 images, whose classes are public;
    validation is 10,000 training images.
    """
    return _by_tfds(
        "imagenet", "imagenet2012", class_reading, "validation", 10_000, head, seed, data_dir
    )


def cifar100(*, head: str, seed: int, data_dir: str | None = None) -> Splits:
    """Return CIFAR-100: 50,000 training and 10,000 test images of 32 pixels, by TFDS.

    TFDS downloads it. Classes are the 100 fine ones; validation is 5,000 training images.
    """
    return _by_tfds("cifar100", "cifar100", class_reading, "test", 5_000, head, seed, data_dir)


def nyu_depth(*, head: str, seed: int, data_dir: str | None = None) -> Splits:
    """Return NYU Depth v2: rooms with depth in meters, 47,584 frames of films, by TFDS.

    TFDS downloads it (32 GB). Depth is filled in where the camera measured none. Test is what TFDS
    calls validation: 654 frames of rooms that are in no training film. Whole frames are scored,
    not the part that some papers crop. Validation is 500 training frames: TFDS's records do not
    name their film, so that neighboring frames are in the training set. They serve for the choice
    of a learning rate alone, which is too optimistic then; test is not concerned.
    """
    return _by_tfds(
        "nyu_depth", "nyu_depth_v2", depth_reading, "validation", 500, head, seed, data_dir
    )


def voc_boxes(*, head: str, seed: int, data_dir: str | None = None) -> Splits:
    """Return Pascal VOC 07+12: trained on train and val of both years, tested on 2007's test.

    TFDS downloads it: 16,551 and 4,952 images. Its boxes begin one pixel too far to the right and
    below: VOC counts pixels from 1, and TFDS divides by the size without subtracting 1. Validation
    is 1,000 training images; difficult objects are ignored.
    """
    years = {year: tfds_builder(f"voc/{year}", data_dir) for year in ("2007", "2012")}

    def source(name: str, year: str, split: str) -> TfdsSource:
        builder = years[year]
        labels = {head: box_reading(builder)}
        return TfdsSource(name=name, builder=builder, split=split, labels=labels)

    train = [source(f"voc{year}", year, "train+validation") for year in years]
    test = source("voc_boxes_test", "2007", "test")
    return carved(Concatenated(train, name="voc_boxes"), test, max_validation=1_000, seed=seed)


def voc_maps(root: Path, *, head: str, seed: int) -> Splits:
    """Return VOC 2012's label maps: trained on its 1,464 train images, tested on its 1,449 of val.

    From VOCtrainval_11-May-2012.tar, since TFDS has no maps; `root` is VOCdevkit/VOC2012:

        <root>/JPEGImages/*.jpg
        <root>/SegmentationClass/*.png          palettes: 0 to 20, 255 is void
        <root>/ImageSets/Segmentation/{train,val}.txt

    The labels of VOC's own test set are not public, and papers report on val. Validation is 150
    training images. The additional maps of SBD are not used.
    """
    root = pathlib.Path(root)
    images, maps = root / "JPEGImages", root / "SegmentationClass"
    photos = LabelMaps(
        name="voc_maps", images=images, maps=maps, head=head, classes=VOC_MAP_CLASSES
    )
    lists = root / "ImageSets" / "Segmentation"
    train = listed(photos, lists / "train.txt", name="voc_maps")
    test = listed(photos, lists / "val.txt", name="voc_maps_test")
    return carved(train, test, max_validation=150, seed=seed)


def ade20k(root: Path, *, head: str, seed: int) -> Splits:
    """Return ADE20K, scene parsing: 20,210 training and 2,000 test images, 150 classes.

    From ADEChallengeData2016.zip of data.csail.mit.edu/places/ADEchallenge; `root` is
    ADEChallengeData2016:

        <root>/images/{training,validation}/ADE_*.jpg
        <root>/annotations/{training,validation}/ADE_*.png    1 to 150; 0 is "other": ignored
        <root>/objectInfo150.txt                              the classes' names

    TFDS's scene_parse150 cannot stand in: it downloads annotations_instance.tar, whose colors are
    the category and number of 100 kinds of things, not these maps. Test is ADE20K's validation
    set, as in papers; validation is 1,000 training images.
    """
    root = pathlib.Path(root)
    path = root / "objectInfo150.txt"
    # Lines "<number> <share> <train> <val> <name>", separated by tabs.
    rows = [[cell.strip() for cell in line.split("\t")] for _, line in read_lines(path)]
    names = {int(row[0]): row[-1] for row in rows if row[0].isdecimal()}
    values = range(1, _NUM_ADE20K_CLASSES + 1)
    if sorted(names) != [*values]:
        raise UserError.at(
            path,
            f"names {len(names)} classes, expected one a line, numbered 1 to {_NUM_ADE20K_CLASSES}",
        )
    classes = tuple(names[number] for number in values)

    def source(name: str, split: str) -> LabelMaps:
        images, maps = root / "images" / split, root / "annotations" / split
        coded = {"classes": classes, "values": values, "ignore": (0,)}
        return LabelMaps(name=name, images=images, maps=maps, head=head, **coded)

    train, test = source("ade20k", "training"), source("ade20k_test", "validation")
    return carved(train, test, max_validation=1_000, seed=seed)


def coco(root: Path, *, head: str, seed: int, instances_head: str | None = None) -> Splits:
    """Return COCO 2017: 118,287 training and 5,000 test images, with maps of things and stuff.

    From the archives of cocodataset.org; TFDS's coco has neither masks nor stuff as files.

        <root>/{train2017,val2017}/*.jpg
        <root>/annotations/panoptic_{train2017,val2017}.json
        <root>/annotations/panoptic_{train2017,val2017}/*.png    unpacked, they are zips in a zip
        <root>/annotations/instances_{train2017,val2017}.json

    Test is val2017, since the labels of COCO's test sets are not public; validation is 2,500
    training images.

    Args:
        root: folder of the archives.
        head: head of the panoptic maps, 133 classes of things and stuff.
        seed: of the validation images.
        instances_head: head of the boxes and masks of 80 classes; None to leave them out.
    """
    root, files = pathlib.Path(root), pathlib.Path(root) / "annotations"

    def source(name: str, year: str) -> Source:
        images, maps = root / year, files / f"panoptic_{year}"
        file = files / f"panoptic_{year}.json"
        panoptic = CocoPanoptic(name=name, images=images, maps=maps, annotations=file, head=head)
        if instances_head is None:
            return panoptic
        file, part = files / f"instances_{year}.json", f"{name}_instances"
        instances = CocoJson(name=part, images=images, annotations=file, head=instances_head)
        return Joined([panoptic, instances], name=name)

    train, test = source("coco", "train2017"), source("coco_test", "val2017")
    return carved(train, test, max_validation=2_500, seed=seed)


def objects365(root: Path, *, head: str, seed: int) -> Splits:
    """Return Objects365, second release (2020): 1.74 million training images, 365 classes.

    From the archives of objects365.org:

        <root>/annotations/zhiyuan_objv2_{train,val}.json
        <root>/train/patch{0..50}/*.jpg
        <root>/val/patch{0..43}/*.jpg                      or val/images/{v1,v2}/patch*/*.jpg

    Absent patches are left out and counted in a warning. Files of train and val whose classes
    differ, as those of the first release are reported to, are an error of the run. Test is 5,000
    images of val, since the labels of the test set are not public; validation is 5,000 training
    images.
    """
    root = pathlib.Path(root)

    def source(name: str, split: str) -> Objects365:
        file = root / "annotations" / f"zhiyuan_objv2_{split}.json"
        return Objects365(name=name, images=root / split, annotations=file, head=head)

    train, test = source("objects365", "train"), source("objects365_test", "val")
    test = limited(test, max_images=_MAX_OBJECTS365_TEST, seed=seed)
    return carved(train, test, max_validation=5_000, seed=seed)


def diode_depth(root: Path, *, head: str, seed: int) -> Splits:
    """Return DIODE with depth in meters: 25,458 training and 771 test photos.

    From the archives of diode-dataset.org:

        <root>/{train,val}/{indoors,outdoor}/scene_*/scan_*/<image>.png
                                             <image>_depth.npy, <image>_depth_mask.npy
                                             <image>_normal.npy     an archive of its own

    Test is DIODE's validation set, since the labels of its test set are not public. Validation is
    carved out of the training set scene by scene, because scans of one scene show the same
    things: the first whole scenes, in the order of the seed, that make 500 images.
    """
    return _diode(root, "diode_depth", seed, depth_head=head)


def diode_normals(root: Path, *, head: str, seed: int) -> Splits:
    """Return DIODE with surface normals; see `diode_depth`, and sources.Diode for their axes."""
    return _diode(root, "diode_normals", seed, normals_head=head)


def _diode(root: Path, name: str, seed: int, **heads: str) -> Splits:
    train = Diode(name=name, root=pathlib.Path(root) / "train", **heads)
    test = Diode(name=f"{name}_test", root=pathlib.Path(root) / "val", **heads)
    # "indoors/scene_00000/scan_00000/x.png" is of the scene "indoors/scene_00000".
    return carved(
        train, test, max_validation=500, seed=seed, group=lambda i: "/".join(i.split("/")[:2])
    )


def carved(
    train: Source, test: Source, *, max_validation: int, seed: int, group: Group | None = None
) -> Splits:
    """Carve validation images out of a training set, and keep the test set as it is.

    Args:
        train: the training set.
        test: the test set.
        max_validation: number of validation images, but at most a tenth of the training set.
        seed: see `splits.carve_validation`.
        group: see `splits.carve_validation`.

    Raises:
        UserError: one of the parts would be empty.
    """
    count = max(1, min(max_validation, len(train) // _ONE_IN))
    return Splits.with_test(train, test, validation=count, seed=seed, group=group)


def limited(source: Source, *, max_images: int, seed: int) -> Source:
    """Return a source, or the first `max_images` in the order of the seed where it has more."""
    if len(source) <= max_images:
        return source
    return Subset(source, sorted(permutation(source, seed=seed)[:max_images]), name=source.name)


def _by_tfds(
    name: str,
    dataset: str,
    reading: Callable[[tfds.core.DatasetBuilder], Reading],
    test: str,
    max_validation: int,
    head: str,
    seed: int,
    data_dir: str | None,
) -> Splits:
    """Carve TFDS's split "train" of a data set; `test` is TFDS's name of the test split."""
    builder = tfds_builder(dataset, data_dir)
    # A reading for each: what it notices is of one source's files.
    train, held_out = (
        TfdsSource(
            name=f"{name}{end}", builder=builder, split=split, labels={head: reading(builder)}
        )
        for end, split in (("", "train"), ("_test", test))
    )
    return carved(train, held_out, max_validation=max_validation, seed=seed)
