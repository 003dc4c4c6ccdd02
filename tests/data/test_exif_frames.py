"""Labels of photos that EXIF turns: in the frame of the upright photo, whatever the format."""

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from fakes.rotated_photos import ORIENTATIONS, save_turned
from must_keras.data.sources import (
    CocoJson,
    CocoPanoptic,
    CsvClasses,
    DepthMaps,
    LabelMaps,
    NormalMaps,
    Objects365,
    VocXml,
)
from must_keras.errors import UserError

HEIGHT, WIDTH = 24, 40
# The marked object, off every axis of symmetry: (ymin, xmin, ymax, xmax).
BOX = (3, 5, 10, 21)
ON_THEIR_SIDE = (5, 6, 7, 8)


def inside(size=(HEIGHT, WIDTH)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[BOX[0] : BOX[2], BOX[1] : BOX[3]] = True
    return mask


def photo(size=(HEIGHT, WIDTH)) -> np.ndarray:
    return np.where(inside(size)[:, :, None], np.uint8((250, 200, 10)), np.uint8(20))


def coco(root, size, segmentation):
    """COCO's JSON of one object; `size` is (height, width) as the file gives it."""
    ymin, xmin, ymax, xmax = BOX
    content = {
        "images": [
            {"id": 1, "file_name": "patch0/a.png", "height": size[0], "width": size[1]},
        ],
        "categories": [{"id": 1, "name": "mark"}],
        "annotations": [
            {
                "id": 1, "image_id": 1, "category_id": 1, "area": 1, "iscrowd": 0,
                "bbox": [xmin, ymin, xmax - xmin, ymax - ymin],
            } | ({} if segmentation is None else {"segmentation": segmentation})
        ],
    }  # fmt: skip
    (root / "a.json").write_text(json.dumps(content))
    return {"images": root / "images", "annotations": root / "a.json", "name": "s", "head": "h"}


def polygons(root, size):
    ymin, xmin, ymax, xmax = BOX
    corners = [xmin, ymin, xmax, ymin, xmax, ymax, xmin, ymax]
    return CocoJson(**coco(root, size, [corners]))


def run_lengths(root, size):
    runs = coco_mask.encode(np.asfortranarray(inside(size), dtype=np.uint8))
    runs = {"size": list(size), "counts": runs["counts"].decode()}
    return CocoJson(**coco(root, size, runs))


def objects365(root, size):
    return Objects365(**coco(root, size, None))


def voc(root, size):
    ymin, xmin, ymax, xmax = BOX
    written = f"<size><width>{size[1]}</width><height>{size[0]}</height></size>"
    box = f"<xmin>{xmin + 1}</xmin><ymin>{ymin + 1}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax>"
    thing = f"<object><name>mark</name><bndbox>{box}</bndbox></object>"
    (root / "Annotations").mkdir()
    (root / "Annotations" / "a.xml").write_text(f"<annotation>{written}{thing}</annotation>")
    (root / "images" / "patch0" / "a.png").rename(root / "images" / "a.png")
    (root / "images").rename(root / "JPEGImages")
    return VocXml(name="s", root=root, split=None, head="h")


BOXES = {"polygons": polygons, "run lengths": run_lengths, "objects365": objects365, "voc": voc}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", BOXES)
def test_boxes_and_masks_are_of_the_upright_photo(form, orientation, tmp_path):
    save_turned(tmp_path / "images" / "patch0" / "a.png", photo(), orientation)
    source = BOXES[form](tmp_path, (HEIGHT, WIDTH))
    np.testing.assert_array_equal(source.image(0), photo())
    label = source.labels(0)["h"]
    pixels = label["boxes"][0] * (HEIGHT, WIDTH, HEIGHT, WIDTH)
    np.testing.assert_allclose(pixels, BOX, atol=1e-4)
    if label["has_mask"][0]:
        assert label["masks"][0].all(), "the object fills its box"


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("form", BOXES)
def test_boxes_of_stored_pixels_end_with_a_way_out(form, orientation, tmp_path):
    size = save_turned(tmp_path / "images" / "patch0" / "a.png", photo(), orientation)
    source = BOXES[form](tmp_path, size)
    if orientation in ON_THEIR_SIDE:
        for read in (source.labels, source.image):
            with pytest.raises(UserError, match=r"a\.png is 40x24 .*24x40 .*exiftool") as error:
                read(0)
            assert "as stored" in str(error.value)
    else:
        # The size is the same: nothing can be recognized, and labels count as upright.
        assert source.labels(0)["h"]["boxes"].shape == (1, 4)


def test_a_size_that_is_wrong_otherwise_has_no_such_hint(tmp_path):
    save_turned(tmp_path / "images" / "patch0" / "a.png", photo(), 6)
    with pytest.raises(UserError, match=r"a\.png is 40x24") as error:
        polygons(tmp_path, (HEIGHT, WIDTH + 1)).labels(0)
    assert "exiftool" not in str(error.value)


def test_a_square_photo_counts_as_upright(tmp_path):
    square = (WIDTH, WIDTH)
    save_turned(tmp_path / "images" / "patch0" / "a.png", photo(square), 6)
    source = polygons(tmp_path, square)
    np.testing.assert_array_equal(source.image(0), photo(square))
    pixels = source.labels(0)["h"]["boxes"][0] * WIDTH
    np.testing.assert_allclose(pixels, BOX, atol=1e-4)


def classes(size=(HEIGHT, WIDTH)) -> np.ndarray:
    return inside(size).astype(np.uint8)


def depths() -> np.ndarray:
    return np.where(inside(), 1500, 4000).astype(np.uint16)


# ---- maps -------------------------------------------------------------------------------------


def label_map(root, labels):
    return LabelMaps(name="s", images=root / "images", maps=labels, head="h", classes=("a", "b"))


def depth_map(root, labels):
    return DepthMaps(name="s", images=root / "images", depths=labels, head="h")


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize(
    ("build", "key", "values", "wanted"),
    [
        (label_map, "map", classes(), classes()),
        (depth_map, "depth", depths(), depths() * np.float32(0.001)),
    ],
)
def test_maps_are_upright_with_or_without_an_orientation_of_their_own(
    build, key, values, wanted, suffix, orientation, tmp_path
):
    save_turned(tmp_path / "images" / "a.png", photo(), orientation)
    for folder, own in (("upright", 1), ("as the photo", orientation)):
        save_turned(tmp_path / folder / f"a.{suffix}", values, own)
        source = build(tmp_path, tmp_path / folder)
        np.testing.assert_array_equal(source.image(0), photo())
        np.testing.assert_allclose(source.labels(0)["h"][key], wanted)


@pytest.mark.parametrize("orientation", ON_THEIR_SIDE)
def test_maps_of_stored_pixels_end_with_a_way_out(orientation, tmp_path):
    size = save_turned(tmp_path / "images" / "a.png", photo(), orientation)
    (tmp_path / "maps").mkdir()
    Image.fromarray(classes(size)).save(tmp_path / "maps" / "a.png")
    (tmp_path / "depths").mkdir()
    np.save(tmp_path / "depths" / "a.npy", np.ones(size, np.float32))
    depth = DepthMaps(
        name="s", images=tmp_path / "images", depths=tmp_path / "depths", head="h",
        depth_scale=1.0,
    )  # fmt: skip
    for source in (label_map(tmp_path, tmp_path / "maps"), depth):
        with pytest.raises(UserError, match=r"is 24x40 .*a\.png is 40x24 .*upright.*exiftool"):
            source.labels(0)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_maps_without_an_exif_block_are_upright(orientation, tmp_path):
    save_turned(tmp_path / "images" / "a.png", photo(), orientation)
    (tmp_path / "depths").mkdir()
    np.save(tmp_path / "depths" / "a.npy", depths().astype(np.float32))
    label = depth_map(tmp_path, tmp_path / "depths").labels(0)["h"]
    np.testing.assert_allclose(label["depth"], depths() * np.float32(0.001))


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_values_that_do_not_turn_are_upright_or_refused(orientation, tmp_path):
    """Normals, colors of classes, and the numbers of panoptic segments."""
    save_turned(tmp_path / "images" / "a.png", photo(), orientation)
    normals = np.where(inside()[:, :, None], np.uint8((128, 128, 0)), np.uint8((255, 128, 100)))
    segments = np.where(inside()[:, :, None], np.uint8((7, 0, 0)), np.uint8(0))
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 5, "name": "mark"}],
        "annotations": [
            {
                "image_id": 1, "file_name": "a.png",
                "segments_info": [{"id": 7, "category_id": 5, "iscrowd": 0}],
            }
        ],
    }  # fmt: skip
    (tmp_path / "p.json").write_text(json.dumps(content))
    shared = {"name": "s", "images": tmp_path / "images", "head": "h"}
    for folder, own in (("upright", 1), ("turned", orientation)):
        root = tmp_path / folder
        save_turned(root / "normals" / "a.png", normals, own)
        save_turned(root / "colors" / "a.png", photo(), own)
        save_turned(root / "segments" / "a.png", segments, own)
        sources = (
            (NormalMaps(normals=root / "normals", **shared), "normals"),
            (
                LabelMaps(
                    maps=root / "colors", classes=("a", "b"),
                    colors=((20, 20, 20), (250, 200, 10)), **shared,
                ),
                "map",
            ),
            (CocoPanoptic(maps=root / "segments", annotations=tmp_path / "p.json", **shared), "map"),
        )  # fmt: skip
        for source, key in sources:
            np.testing.assert_array_equal(source.image(0), photo())
            if own != 1:
                with pytest.raises(UserError, match=rf"a\.png has the EXIF orientation {own}"):
                    source.labels(0)
                continue
            label = source.labels(0)["h"][key]
            marked = label[..., 2] < -0.9 if key == "normals" else label == label[BOX[0], BOX[1]]
            np.testing.assert_array_equal(marked, inside())


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_a_class_has_no_frame(orientation, tmp_path):
    save_turned(tmp_path / "images" / "a.png", photo(), orientation)
    (tmp_path / "a.csv").write_text("file,class\na.png,mark\n")
    source = CsvClasses(name="s", images=tmp_path / "images", csv_file=tmp_path / "a.csv", head="h")
    np.testing.assert_array_equal(source.image(0), photo())
    assert source.labels(0)["h"]["probabilities"].tolist() == [1.0]
