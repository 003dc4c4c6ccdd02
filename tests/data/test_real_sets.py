"""The sources on small real sets, which are not part of the project."""

import pathlib

import numpy as np
import pytest
from PIL import Image

from must_keras.data.sources import (
    CocoJson,
    DepthMaps,
    FolderPerClass,
    ImagesOnly,
    LabelMaps,
    NormalMaps,
    VocXml,
)
from must_keras.data.splits import carve_validation, contiguous_blocks
from must_keras.ops.masks import paste

DATA = pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason=f"real sets are not there: {DATA}")
KITCHEN = DATA / "depth_7scenes_redkitchen"


@pytest.mark.parametrize(
    ("folder", "num_classes", "train", "test"),
    [("cls_caltech101_a", 30, 1016, 300), ("cls_cifar10", 10, 5000, 1000)],
)
def test_folders_of_classes(folder, num_classes, train, test):
    for split, count in (("train", train), ("test", test)):
        source = FolderPerClass(name=split, root=DATA / folder / split, head="class")
        assert len(source) == count
        assert len(source.label_spaces["class"].classes) == num_classes
        image = source.image(count // 2)
        assert image.dtype == np.uint8 and image.shape[2] == 3
        class_name = source.image_id(count // 2).split("/")[0]
        index = source.labels(count // 2)["class"]["probabilities"].argmax()
        assert source.label_spaces["class"].classes[index] == class_name


def nuclei(split):
    root = DATA / "inst_nuclei_coco"
    return CocoJson(
        name=split,
        images=root / split,
        annotations=root / "annotations" / f"instances_{split}.json",
        head="nuclei",
    )


@pytest.mark.parametrize(("split", "images", "objects"), [("train", 240, 7425), ("val", 60, 2058)])
def test_nuclei_are_counted(split, images, objects):
    source = nuclei(split)
    assert len(source) == images and source.num_dropped == 0
    assert source.label_spaces["nuclei"].classes == ("nucleus",)
    assert sum(len(source.labels(i)["nuclei"]["boxes"]) for i in range(images)) == objects


def test_nuclei_masks_are_those_of_the_exact_instances():
    source = nuclei("val")
    overlaps = []
    for index in range(5):
        label = source.labels(index)["nuclei"]
        name = pathlib.PurePath(source.image_id(index)).stem
        instances = np.asarray(
            Image.open(DATA / "inst_nuclei_coco" / "instance_png" / "val" / f"{name}.png")
        )
        size = instances.shape
        assert source.image(index).shape[:2] == size
        assert len(label["boxes"]) == instances.max()
        for box, mask in zip(label["boxes"], label["masks"], strict=True):
            pasted = paste(mask, box * [*size, *size], size).astype(bool)
            inside = np.bincount(instances[pasted], minlength=1)
            inside[0] = 0
            same = instances == inside.argmax()
            overlaps.append((same & pasted).sum() / (same | pasted).sum())
    assert len(overlaps) > 100
    assert np.mean(overlaps) > 0.95 and np.min(overlaps) > 0.6


def test_coco_crowds_are_ignored():
    root = DATA / "inst_coco_mini"
    num_objects = num_ignored = 0
    for split, images in (("train", 96), ("val", 24)):
        source = CocoJson(
            name=split,
            images=root / "images",
            annotations=root / "annotations" / f"instances_{split}.json",
            head="things",
        )
        classes = source.label_spaces["things"].classes
        assert len(source) == images and len(classes) == 80
        # Ids 1 and 90, the latter of which has index 79.
        assert classes[0] == "person" and classes[79] == "toothbrush"
        for index in range(images):
            label = source.labels(index)["things"]
            num_objects += len(label["boxes"])
            num_ignored += label["ignore"].sum()
            assert np.all(label["boxes"] >= 0) and np.all(label["boxes"] <= 1)
            assert np.all(label["masks"].any((1, 2))[label["ignore"]])
        num_objects += source.num_dropped
        assert source.image(0).ndim == 3
    assert num_objects == 834 + 214 and num_ignored >= 9


def test_cards_lie_in_their_images():
    counts = dict.fromkeys(("ace", "jack", "king", "nine", "queen", "ten"), 0)
    for split, images in (("train", 296), ("test", 67)):
        source = VocXml(name=split, root=DATA / "det_cards_voc", split=split, head="cards")
        assert len(source) == images and source.num_dropped == 0
        classes = source.label_spaces["cards"].classes
        assert classes == tuple(counts)
        for index in range(images):
            label = source.labels(index)["cards"]
            boxes = label["boxes"]
            assert np.all(boxes >= 0) and np.all(boxes <= 1)
            assert np.all(boxes[:, 2:] > boxes[:, :2])
            for found in label["classes"]:
                counts[classes[found]] += 1
    assert counts == {"jack": 113, "nine": 115, "queen": 106, "king": 118, "ten": 100, "ace": 118}
    assert source.image(0).shape[2] == 3


def test_photos_of_one_table_stay_together():
    source = VocXml(name="cards", root=DATA / "det_cards_voc", split="train", head="cards")

    def ten_in_a_row(image_id):
        digits = "".join(c for c in image_id if c.isdigit())
        return str(int(digits) // 10) if digits else image_id

    carved = carve_validation(source, count=40, seed=0, group=ten_in_a_row)
    tables = [{ten_in_a_row(p.image_id(i)) for i in range(len(p))} for p in carved]
    assert not tables[0] & tables[1] and len(carved.train) + len(carved.validation) == 296


def test_camvid_ignores_what_is_unlabeled():
    root = DATA / "seg_camvid"
    classes = tuple((root / "classes.txt").read_text().split()[:11])
    for split, images in (("train", 367), ("val", 101), ("test", 233)):
        source = LabelMaps(
            name=split,
            images=root / split,
            maps=root / f"{split}annot",
            head="map",
            classes=classes,
            ignore=(11,),
        )
        assert len(source) == images
        found = source.labels(0)["map"]["map"]
        path = root / f"{split}annot" / f"{pathlib.PurePath(source.image_id(0)).stem}.png"
        raw = np.asarray(Image.open(path))
        assert found.shape == source.image(0).shape[:2] == (240, 320)
        np.testing.assert_array_equal(found, np.where(raw == 11, 255, raw))
        assert (raw == 11).any()


def test_kitchen_depth_is_in_meters_and_normals_are_unit_vectors():
    depth = DepthMaps(name="d", images=KITCHEN / "rgb", depths=KITCHEN / "depth", head="depth")
    normals = NormalMaps(
        name="n", images=KITCHEN / "rgb", normals=KITCHEN / "normal", head="normals"
    )
    assert len(depth) == len(normals) == 88
    for index in (0, 40, 87):
        meters = depth.labels(index)["depth"]["depth"]
        assert meters.shape == depth.image(index).shape[:2]
        assert 0.4 < np.median(meters[meters > 0]) < 5 and meters.max() < 10
        assert 0.1 < np.mean(meters == 0) < 0.5
        vectors = normals.labels(index)["normals"]["normals"]
        valid = vectors.any(-1)
        # A plane fitted at the edge of an object may turn a little away.
        assert np.mean(vectors[valid][:, 2] < 0) > 0.97
        np.testing.assert_allclose(np.linalg.norm(vectors[valid], axis=-1), 1, atol=1e-5)
    blocks = contiguous_blocks(len(depth), counts=(60, 8, 12), gap=4)
    assert blocks[-1].stop == 88


def test_depth_units_agree():
    root = DATA / "depth_misc"
    millimeters = DepthMaps(name="m", images=root / "rgb", depths=root / "depth", head="d")
    native = DepthMaps(
        name="t",
        images=root / "rgb",
        depths=root / "tum_native_scale5000",
        head="d",
        depth_scale=1 / 5000,
    )
    assert len(millimeters) == 7
    labeled = [i for i in range(7) if native.labels(i)]
    assert [native.image_id(i) for i in labeled] == ["tum_fr2_1.jpg", "tum_fr2_2.jpg"]
    for i in labeled:
        a, b = (s.labels(i)["d"]["depth"] for s in (millimeters, native))
        np.testing.assert_allclose(a, b, atol=0.0006)


def test_photos_alone():
    source = ImagesOnly(name="photos", root=DATA / "unlabelled_coco_photos" / "images")
    assert len(source) == 49 and source.image(0).shape[2] == 3
