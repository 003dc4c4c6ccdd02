"""Small folders in the forms that users have, made by hand."""

import concurrent.futures
import io
import json

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from pycocotools import mask as coco_mask

from must_keras.data.sources import (
    CocoJson,
    Concatenated,
    CsvClasses,
    DepthMaps,
    FolderPerClass,
    ImagesOnly,
    Joined,
    LabelMaps,
    LabelSpace,
    NormalMaps,
    Reading,
    Subset,
    TfdsSource,
    VocXml,
    without_labels,
)
from must_keras.data.sources.source import class_label, objects
from must_keras.errors import UserError
from must_keras.runs.fingerprint import describe
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation


def save(path, pixels, **arguments):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **arguments)


def picture(seed=0, height=20, width=30):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


# ---- a folder per class -----------------------------------------------------------------------


@pytest.fixture
def animals(tmp_path):
    for seed, name in enumerate(("dog/2.png", "cat/b/1.PNG", "cat/a.png", "dog/10.png")):
        save(tmp_path / "animals" / name, picture(seed))
    save(tmp_path / "animals" / ".cache" / "x.png", picture())
    (tmp_path / "animals" / "dog" / "notes.txt").write_text("no picture")
    return tmp_path / "animals"


def test_folders_are_classes(animals):
    source = FolderPerClass(name="a", root=animals, head="animal")
    assert source.label_spaces == {"animal": LabelSpace("classes", ("cat", "dog"))}
    assert [source.image_id(i) for i in range(4)] == [
        "cat/a.png", "cat/b/1.PNG", "dog/10.png", "dog/2.png",
    ]  # fmt: skip
    np.testing.assert_array_equal(source.image(3), picture(0))
    labels = [source.labels(i)["animal"] for i in range(4)]
    assert [label["probabilities"].tolist() for label in labels] == [[1, 0]] * 2 + [[0, 1]] * 2
    assert labels[0]["labelled"] == 1 and labels[0]["labelled"].shape == ()


def test_classes_may_be_given(animals):
    names = ("dog", "bird", "cat")
    source = FolderPerClass(name="a", root=animals, head="animal", classes=names)
    assert source.label_spaces["animal"].classes == names
    assert source.labels(0)["animal"]["probabilities"].tolist() == [0, 0, 1]
    with pytest.raises(UserError, match=r"animals/cat is not one of the 2 classes: dog, bird"):
        FolderPerClass(name="a", root=animals, head="animal", classes=("dog", "bird"))


def test_folders_that_cannot_be_classes(animals, tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*gone"):
        FolderPerClass(name="a", root=tmp_path / "gone", head="h")
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match=r"empty holds no picture"):
        FolderPerClass(name="a", root=tmp_path / "empty", head="h")
    save(animals / "loose.png", picture())
    with pytest.raises(UserError, match=r"loose\.png is in no class's folder"):
        FolderPerClass(name="a", root=animals, head="h")


# ---- COCO -------------------------------------------------------------------------------------

HEIGHT, WIDTH = 20, 30


def bitmap(top, left, bottom, right):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[top:bottom, left:right] = 1
    return mask


def uncompressed(mask):
    """Run lengths down the columns, the first of zeros."""
    flat = np.concatenate([[0], mask.ravel(order="F")])
    changes = np.nonzero(np.diff(flat))[0]
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"size": list(mask.shape), "counts": counts.tolist()}


def compressed(mask):
    rle = coco_mask.encode(np.asfortranarray(mask))
    return {"size": list(mask.shape), "counts": rle["counts"].decode()}


@pytest.fixture
def coco(tmp_path):
    for seed, name in enumerate(("b.png", "a.png", "none.png")):
        save(tmp_path / "coco" / name, picture(seed))
    l_shape = bitmap(2, 4, 12, 14)
    l_shape[2:7, 9:14] = 0
    return {
        "images": [
            {"id": 70, "file_name": "b.png", "height": HEIGHT, "width": WIDTH},
            {"id": 3, "file_name": "a.png", "height": HEIGHT, "width": WIDTH},
            {"id": 9, "file_name": "none.png", "height": HEIGHT, "width": WIDTH},
        ],
        "categories": [{"id": 90, "name": "zebra"}, {"id": 5, "name": "cow"}],
        "annotations": [
            {"id": 1, "image_id": 3, "category_id": 90, "iscrowd": 0, "bbox": [4, 2, 10, 10],
             "segmentation": [[4, 2, 9, 2, 9, 7, 14, 7, 14, 12, 4, 12]]},
            {"id": 2, "image_id": 70, "category_id": 5, "iscrowd": 1, "bbox": [4, 2, 10, 10],
             "segmentation": uncompressed(l_shape)},
            {"id": 3, "image_id": 3, "category_id": 5, "iscrowd": 0, "bbox": [4, 2, 10, 10],
             "segmentation": compressed(l_shape)},
            {"id": 4, "image_id": 3, "category_id": 5, "iscrowd": 0, "bbox": [6, 6, 0, 3],
             "segmentation": []},
            {"id": 5, "image_id": 3, "category_id": 5, "bbox": [25.5, -1, 10, 5.5]},
            {"id": 6, "image_id": 3, "category_id": 5, "bbox": [30, 3, 10, 5]},
        ],
    }  # fmt: skip


def read_coco(content, tmp_path, head="things"):
    (tmp_path / "a.json").write_text(json.dumps(content))
    return CocoJson(name="c", images=tmp_path / "coco", annotations=tmp_path / "a.json", head=head)


def test_coco_boxes_classes_and_masks(coco, tmp_path):
    source = read_coco(coco, tmp_path)
    assert source.label_spaces == {"things": LabelSpace("boxes", ("cow", "zebra"))}
    assert [source.image_id(i) for i in range(3)] == ["b.png", "a.png", "none.png"]
    np.testing.assert_array_equal(source.image(1), picture(1))
    crowd, several, none = (source.labels(i)["things"] for i in range(3))
    box = [2 / 20, 4 / 30, 12 / 20, 14 / 30]
    np.testing.assert_allclose(crowd["boxes"], [box])
    assert crowd["ignore"].tolist() == [True] and crowd["classes"].tolist() == [0]
    np.testing.assert_allclose(several["boxes"], [box, box, [0, 25.5 / 30, 4.5 / 20, 1]], atol=1e-7)
    assert several["classes"].tolist() == [1, 0, 0]
    assert several["ignore"].tolist() == [False] * 3
    assert several["has_mask"].tolist() == [True, True, False]
    assert source.num_dropped == 2
    expected = np.ones((56, 56))
    expected[:28, 28:] = 0
    for mask in (crowd["masks"][0], several["masks"][1]):
        np.testing.assert_array_equal(mask, expected)
    # pycocotools draws a polygon's border a little differently: within a pixel of the box's ten.
    assert np.mean(several["masks"][0] != expected) < 0.1
    assert none["boxes"].shape == (0, 4) and none["masks"].shape == (0, 56, 56)
    assert none["labelled"] == 1


def test_coco_labels_have_the_form_of_the_task(coco, tmp_path):
    source = read_coco(coco, tmp_path)
    spec = Detection(name="things", classes=("cow", "zebra")).labels.stored_spec()
    for index in range(3):
        label = source.labels(index)["things"]
        assert label.keys() == spec.keys()
        for key, part in spec.items():
            assert label[key].dtype == part.dtype and label[key].ndim == len(part.shape)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["annotations"][0].update(image_id=8), "annotation 1 is of image 8, which"),
        (lambda c: c["annotations"][2].update(category_id=1), "annotation 3 is of category 1"),
        (lambda c: c["annotations"][2].update(bbox=[1, 2, 3]), "annotation 3 has the bbox"),
        (lambda c: c["annotations"][2].update(bbox=[1, 2, 3, float("nan")]), "annotation 3 has"),
        (lambda c: c["annotations"][2].update(bbox=[1, 2, -3, 4]), "annotation 3 has the bbox"),
        (
            lambda c: c["annotations"][1]["segmentation"].update(counts="\x7f~"),
            "annotation 2 has run",
        ),
        (lambda c: c["annotations"][1]["segmentation"].update(size=[3, 4]), "annotation 2 has run"),
        (lambda c: c["annotations"][1]["segmentation"].update(counts=[4]), "annotation 2 has run"),
        (lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]), "annotation 1 has a poly"),
        (lambda c: c["annotations"][0].update(segmentation=[["x"] * 6]), "annotation 1 has 'x'"),
        (lambda c: c["annotations"][4].pop("bbox"), "annotation 5 has no 'bbox'"),
        (
            lambda c: c["images"][0].update(file_name="gone.png"),
            r"image 70 has the file_name .gone\.png., which is not in",
        ),
        (lambda c: c["images"][0].update(id=3), "is listed twice"),
        (lambda c: c["categories"][0].update(id=5), "has the id of another category"),
        (lambda c: c.pop("categories"), "no 'categories'"),
        (lambda c: c.update(images=[], annotations=[]), "lists no image"),
        (lambda c: c.update(annotations=[3]), "annotation at position 0 is 3"),
    ],
)
def test_coco_files_that_do_not_fit(coco, tmp_path, change, message):
    change(coco)
    with pytest.raises(UserError, match=rf"a\.json.*{message}"):
        read_coco(coco, tmp_path)


def test_coco_files_may_begin_with_a_mark_and_tell_of_boxes_without_area(coco, tmp_path, capsys):
    read_coco(coco, tmp_path)
    said = capsys.readouterr().err
    assert "a.json: 2 boxes have no area" in said and "the first is that of annotation" in said
    path = tmp_path / "a.json"
    path.write_text(path.read_text(), encoding="utf-8-sig")
    assert len(CocoJson(name="c", images=tmp_path / "coco", annotations=path, head=None)) == 3


def test_coco_files_that_are_no_json(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "a.json").write_text('{"images": [')
    arguments = {"name": "c", "images": tmp_path / "images", "head": "h"}
    with pytest.raises(UserError, match=r"a\.json cannot be read as JSON"):
        CocoJson(annotations=tmp_path / "a.json", **arguments)
    with pytest.raises(UserError, match=r"no file .*b\.json"):
        CocoJson(annotations=tmp_path / "b.json", **arguments)
    (tmp_path / "a.json").write_text("[]")
    with pytest.raises(UserError, match=r"not in COCO's format"):
        CocoJson(annotations=tmp_path / "a.json", **arguments)


def test_coco_sizes_that_are_not_the_images(coco, tmp_path):
    coco["images"][0].update(height=30, width=20)
    coco["annotations"] = []
    with pytest.raises(UserError, match=r"b\.png is 30x20 pixels upright, .*a\.json has 20x30"):
        read_coco(coco, tmp_path).image(0)


# ---- Pascal VOC -------------------------------------------------------------------------------


def thing(name, xmin, ymin, xmax, ymax, difficult=0):
    return (
        f"<object><name>{name}</name><difficult>{difficult}</difficult><bndbox><xmin>{xmin}</xmin>"
        f"<ymin>{ymin}</ymin><xmax>{xmax}</xmax><ymax>{ymax}</ymax></bndbox>"
        "<part><name>wheel</name></part></object>"
    )


@pytest.fixture
def voc(tmp_path):
    size = "<size><width>30</width><height>20</height><depth>3</depth></size>"
    (tmp_path / "Annotations").mkdir()
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for stem, content in {
        "x1": size + thing("cow", 1, 1, 30, 20) + thing("ant", 3, 5, 3, 5, difficult=1),
        "x2": size,
        "x3": thing("bee", 11, 2, 45, 10) + thing("bee", 40, 2, 45, 10),
    }.items():
        save(tmp_path / "JPEGImages" / f"{stem}.jpg", picture())
        (tmp_path / "Annotations" / f"{stem}.xml").write_text(f"<annotation>{content}</annotation>")
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("x3\nx1  1\n\n")
    return tmp_path


def test_voc_pixels_are_inclusive(voc):
    source = VocXml(name="v", root=voc, split="train", head="things")
    # The classes of all splits' annotations, so that splits agree.
    assert source.label_spaces == {"things": LabelSpace("boxes", ("ant", "bee", "cow"))}
    assert [source.image_id(i) for i in range(2)] == ["x3.jpg", "x1.jpg"]
    bees, cow = (source.labels(i)["things"] for i in range(2))
    np.testing.assert_allclose(bees["boxes"], [[1 / 20, 10 / 30, 10 / 20, 1]], rtol=1e-6)
    assert source.num_dropped == 1
    np.testing.assert_allclose(
        cow["boxes"], [[0, 0, 1, 1], [4 / 20, 2 / 30, 5 / 20, 3 / 30]], rtol=1e-6
    )
    assert cow["classes"].tolist() == [2, 0] and cow["ignore"].tolist() == [False, True]
    assert not cow["has_mask"].any()
    everything = VocXml(name="v", root=voc, split=None, head="things")
    assert len(everything) == 3 and everything.labels(1)["things"]["boxes"].shape == (0, 4)


def test_voc_folders_that_do_not_fit(voc):
    arguments = {"name": "v", "root": voc, "head": "h"}
    with pytest.raises(UserError, match=r"x3\.xml: object 1 names the class 'bee'.*not one of cow"):
        VocXml(split="train", classes=("cow", "ant"), **arguments)
    with pytest.raises(UserError, match=r"no file .*val\.txt"):
        VocXml(split="val", **arguments)
    lists = voc / "ImageSets" / "Main"
    (lists / "empty.txt").write_text("\n")
    with pytest.raises(UserError, match=r"empty\.txt is empty"):
        VocXml(split="empty", **arguments)
    (lists / "gone.txt").write_text("x9\n")
    with pytest.raises(UserError, match=r"no image x9\.\*"):
        VocXml(split="gone", **arguments)
    (lists / "twice.txt").write_text("x1\nx1\n")
    with pytest.raises(UserError, match=r"twice\.txt names an image twice"):
        VocXml(split="twice", **arguments)
    (voc / "Annotations" / "x2.xml").unlink()
    (lists / "bare.txt").write_text("x2\n")
    with pytest.raises(UserError, match=r"no file .*x2\.xml"):
        VocXml(split="bare", **arguments)


def test_voc_lists_of_other_encodings(voc):
    lists = voc / "ImageSets" / "Main"
    (lists / "marked.txt").write_bytes("x3\r\nx1\r\n".encode("utf-8-sig"))
    source = VocXml(name="v", root=voc, split="marked", head="h")
    assert [source.image_id(i) for i in range(2)] == ["x3.jpg", "x1.jpg"]
    (lists / "wide.txt").write_text("x3\n", encoding="utf-16")
    with pytest.raises(UserError, match=r"wide\.txt, line 1: .* is not UTF-8 text"):
        VocXml(name="v", root=voc, split="wide", head="h")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<annotation>", "cannot be read as XML"),
        ("<a><object><name>cow</name></object></a>", "object 1 .'cow'. has no <bndbox>"),
        ("<a><object><name>cow</name><bndbox/></object></a>", "has no <xmin>"),
        (f"<a>{thing('', 1, 1, 2, 2)}</a>", "has no <name>"),
        (f"<a>{thing('cow', 'left', 1, 2, 2)}</a>", "object 1 .'cow'. has <xmin> 'left'"),
        (f"<a>{thing('cow', 'nan', 1, 2, 2)}</a>", "has <xmin> 'nan'"),
    ],
)
def test_voc_files_that_cannot_be_read(voc, content, message):
    (voc / "Annotations" / "x1.xml").write_text(content)
    with pytest.raises(UserError, match=rf"x1\.xml.*{message}"):
        VocXml(name="v", root=voc, split="train", head="h")


def test_voc_sizes_that_are_not_the_images(voc):
    save(voc / "JPEGImages" / "x1.jpg", picture(0, 40, 60))
    source = VocXml(name="v", root=voc, split="train", head="h")
    with pytest.raises(UserError, match=r"x1\.jpg is 60x40 pixels upright, .*x1\.xml has 30x20"):
        source.image(1)


# ---- pictures as labels -----------------------------------------------------------------------


@pytest.fixture
def street(tmp_path):
    for seed, name in enumerate(("1.jpg", "deep/2.jpg", "3.jpg")):
        save(tmp_path / "street" / "images" / name, picture(seed))
    return tmp_path / "street"


MAP = np.tile(np.array([0, 1, 2, 11, 255], np.uint8), (20, 6))


def maps(street, **arguments):
    arguments = {"classes": ("sky", "road", "car"), "ignore": (11,), "head": "map"} | arguments
    return LabelMaps(name="m", images=street / "images", maps=street / "maps", **arguments)


def test_label_maps(street):
    save(street / "maps" / "1.png", MAP)
    palette = Image.fromarray(MAP[:, ::-1].copy(), "L").convert("P")
    palette.putdata(MAP[:, ::-1].ravel().tolist())
    palette.putpalette(list(range(255, -1, -1)) * 3)
    (street / "maps" / "deep").mkdir()
    palette.save(street / "maps" / "deep" / "2.png")
    source = maps(street)
    assert source.label_spaces == {"map": LabelSpace("map", ("sky", "road", "car"))}
    assert [source.image_id(i) for i in range(3)] == ["1.jpg", "3.jpg", "deep/2.jpg"]
    expected = np.where(MAP == 11, 255, MAP)
    found = source.labels(0)["map"]["map"]
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(source.labels(2)["map"]["map"], expected[:, ::-1])
    assert source.labels(1) == {}


def test_values_of_classes_may_be_given(street):
    save(street / "maps" / "1.png", MAP)
    found = maps(street, values=(11, 0, 2), ignore=(1,)).labels(0)["map"]["map"]
    lookup = {0: 1, 1: 255, 2: 2, 11: 0, 255: 255}
    np.testing.assert_array_equal(found, np.vectorize(lookup.get)(MAP))
    # 255 can be a class where it is said to be one; 16 bits are allowed.
    save(street / "maps" / "1.png", (MAP == 11).astype(np.uint16) * 700)
    found = maps(street, classes=("a", "b"), values=(700, 0)).labels(0)["map"]["map"]
    np.testing.assert_array_equal(found, MAP != 11)


def test_values_that_mean_nothing(street):
    save(street / "maps" / "1.png", MAP)
    with pytest.raises(
        UserError, match=r"1\.png has values .* ignored: 2, 11; classes are 0-1, ignored 9, 255"
    ):
        maps(street, classes=("sky", "road"), ignore=(9,)).labels(0)
    for arguments in (
        {"values": (0, 1)},
        {"values": (0, 1, 1)},
        {"values": (0, 1, 11)},
        {"values": (0, 1, 2.5)},
        {"classes": ()},
    ):
        with pytest.raises(UserError, match="source 'm'"):
            maps(street, **arguments)


def test_maps_that_do_not_fit_their_images(street):
    save(street / "maps" / "1.png", MAP[:10])
    with pytest.raises(UserError, match=r"1\.png is 30x10 pixels, .*1\.jpg is 30x20"):
        maps(street).labels(0)
    save(street / "maps" / "1.png", picture())
    with pytest.raises(UserError, match=r"maps/1\.png has colors"):
        maps(street).labels(0)
    save(street / "maps" / "4.png", MAP)
    with pytest.raises(UserError, match=r"maps/4\.png has no image 4\.\*"):
        maps(street)
    (street / "maps" / "4.png").unlink()
    save(street / "images" / "1.png", picture())
    with pytest.raises(UserError, match=r"images holds both 1\.(jpg|png) and 1\.(jpg|png)"):
        maps(street)


def test_a_map_of_an_image_on_its_side_is_upright(street):
    exif = Image.Exif()
    exif[0x0112] = 6
    save(street / "images" / "1.jpg", picture(), exif=exif)
    save(street / "maps" / "1.png", np.zeros((30, 20), np.uint8))
    source = maps(street)
    assert source.image(0).shape == (30, 20, 3)
    assert source.labels(0)["map"]["map"].shape == (30, 20)
    save(street / "maps" / "1.png", np.zeros((20, 30), np.uint8))
    with pytest.raises(UserError, match="upright"):
        maps(street).labels(0)


def test_depth_is_in_meters(street):
    counts = np.tile(np.array([0, 1, 1000, 40000, 65535], np.uint16), (20, 6))
    save(street / "depth" / "3.png", counts)
    arguments = {"name": "d", "images": street / "images", "depths": street / "depth"}
    source = DepthMaps(head="far", **arguments)
    assert source.label_spaces == {"far": LabelSpace("metric")}
    found = source.labels(1)["far"]["depth"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0, :5], [0, 0.001, 1, 40, 0], rtol=1e-6)
    tum = DepthMaps(head="far", depth_scale=1 / 5000, unknown=(), **arguments)
    np.testing.assert_allclose(tum.labels(1)["far"]["depth"], counts / 5000, rtol=1e-6)
    with pytest.raises(UserError, match="depth_scale"):
        DepthMaps(head="far", depth_scale=0, **arguments)
    save(street / "depth" / "3.png", counts.astype(np.uint8))
    with pytest.raises(UserError, match=r"3\.png has 8 bits"):
        source.labels(1)


def test_depth_of_floats(street):
    meters = np.tile(np.array([0, -1, np.nan, np.inf, 2.5], np.float32), (20, 6))
    save(street / "depth" / "3.tif", meters)
    arguments = {"name": "d", "images": street / "images", "depths": street / "depth"}
    found = DepthMaps(head="far", depth_scale=2, **arguments).labels(1)["far"]["depth"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.where(meters == 2.5, 5, 0))


def test_normals_are_unit_vectors(street):
    random = np.random.default_rng(0).normal(size=(20, 30, 3))
    random[..., 2] = -np.abs(random[..., 2])
    random /= np.linalg.norm(random, axis=-1, keepdims=True)
    coded = np.round((random + 1) / 2 * 255).astype(np.uint8)
    coded[:5] = 0
    save(street / "normals" / "1.png", coded)
    arguments = {"name": "n", "images": street / "images", "normals": street / "normals"}
    source = NormalMaps(head="turned", **arguments)
    assert source.label_spaces == {"turned": LabelSpace("normals")}
    found = source.labels(0)["turned"]["normals"]
    assert found.dtype == np.float32 and not found[:5].any()
    angles = np.degrees(np.arccos(np.clip((found * random).sum(-1), -1, 1)))[5:]
    assert angles.max() < 0.5
    save(street / "normals" / "1.png", 255 - coded)
    with pytest.raises(UserError, match=r"1\.png: most normals point away"):
        source.labels(0)


def test_normals_are_no_photo(street):
    arguments = {"name": "n", "images": street / "images", "normals": street / "normals"}
    colors = np.full((20, 30, 4), (128, 128, 0, 255), np.uint8)
    colors[:5, :, 3] = 0
    save(street / "normals" / "1.png", colors)
    found = NormalMaps(head="n", **arguments).labels(0)["n"]["normals"]
    assert not found[:5].any()
    np.testing.assert_allclose(found[5:, :, 2], -1, atol=1e-4)
    save(street / "normals" / "1.png", colors[:, :, 2])
    with pytest.raises(UserError, match=r"1\.png has mode L"):
        NormalMaps(head="n", **arguments).labels(0)
    exif = Image.Exif()
    exif[0x0112] = 3
    save(street / "normals" / "1.png", colors, exif=exif)
    with pytest.raises(UserError, match=r"1\.png has the EXIF orientation 3"):
        NormalMaps(head="n", **arguments).labels(0)


# ---- TensorFlow data sets ---------------------------------------------------------------------

TFDS_PIXELS = {
    "gray": np.array([[0, 100], [7, 255]], np.uint8)[:, :, None],
    "clear": np.array([[[9, 8, 7, 255], [9, 8, 7, 0]]], np.uint8),
    "deep": np.array([[0, 65535], [257, 300]], np.uint16)[:, :, None],
    "numbers": np.array([[0, 100], [7, 255]], np.uint8)[:, :, None],
    "floats": np.zeros((2, 2, 1), np.float32),
    "map": np.array([[0, 2], [255, 3]], np.uint8)[:, :, None],
}


class Odd(tfds.core.GeneratorBasedBuilder):
    """One example whose pictures are not [h, w, 3] uint8."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {
            key: tfds.features.Image(
                shape=pixels.shape, dtype=pixels.dtype.type, encoding_format="png"
            )
            for key, pixels in TFDS_PIXELS.items()
        }
        features["numbers"] = tfds.features.Tensor(shape=(2, 2, 1), dtype=np.uint8)
        features["label"] = np.int64
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        example = {"label": -1} | TFDS_PIXELS
        for key in ("gray", "clear", "deep", "map"):
            stream = io.BytesIO()
            pixels = TFDS_PIXELS[key]
            pixels = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
            Image.fromarray(pixels).save(stream, "PNG")
            stream.seek(0)
            example[key] = stream
        yield 0, example


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    builder = Odd(data_dir=str(tmp_path_factory.mktemp("odd")))
    builder.download_and_prepare()
    return builder


@pytest.mark.parametrize(
    ("feature", "expected"),
    [
        ("gray", [[0, 100], [7, 255]]),
        ("clear", [[[9, 8, 7], [255, 255, 255]]]),
        ("deep", [[0, 255], [1, 1]]),
        ("numbers", [[0, 100], [7, 255]]),
    ],
)
def test_every_tfds_image_is_rgb(odd, feature, expected):
    image = TfdsSource(name="t", builder=odd, split="train", labels={}, image=feature).image(0)
    expected = np.array(expected, np.uint8)
    expected = expected if expected.ndim == 3 else np.repeat(expected[:, :, None], 3, 2)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, expected)


@pytest.mark.parametrize("feature", ["floats", "label"])
def test_tfds_features_that_are_no_image(odd, feature):
    source = TfdsSource(name="t", builder=odd, split="train", labels={}, image=feature)
    with pytest.raises(UserError, match=rf"'t', image 0 .*'{feature}' is no image of 8 or 16"):
        source.image(0)


def test_tfds_labels_outside_their_classes(odd):
    def source(num_classes):
        space = LabelSpace("map", tuple("abcd"[:num_classes]))
        reading = Reading(space, lambda example: {"map": example["map"][:, :, 0]})
        return TfdsSource(name="t", builder=odd, split="train", labels={"m": reading}, image="gray")

    np.testing.assert_array_equal(source(4).labels(0)["m"]["map"], [[0, 2], [255, 3]])
    with pytest.raises(
        UserError, match=r"source 't', image 0 .*'m': class 3 is in its map; classes are 0 to 2"
    ):
        source(3).labels(0)
    reading = Reading(
        LabelSpace("classes", ("a", "b")), lambda example: class_label(int(example["label"]), 2)
    )
    unlabeled = TfdsSource(
        name="t", builder=odd, split="train", labels={"c": reading}, image="gray"
    )
    with pytest.raises(UserError, match=r"source 't', image 0 .*'c': class -1 of 2: expected 0 to"):
        unlabeled.labels(0)


# ---- all of them ------------------------------------------------------------------------------


def test_no_head_means_no_truth(animals, street, coco, voc, tmp_path):
    save(street / "maps" / "1.png", MAP)
    pairs = {"name": "p", "images": street / "images", "head": None}
    sources = [
        FolderPerClass(name="p", root=animals, head=None),
        read_coco(coco, tmp_path, head=None),
        VocXml(name="p", root=voc, split="train", head=None),
        LabelMaps(maps=street / "maps", classes=("a",), **pairs),
        DepthMaps(depths=street / "maps", **pairs),
        NormalMaps(normals=street / "maps", **pairs),
        ImagesOnly(name="p", root=animals),
        without_labels(FolderPerClass(name="p", root=animals, head="animal")),
    ]
    for source in sources:
        assert source.label_spaces == {} and source.labels(0) == {}
        assert source.image(0).ndim == 3 and source.image_id(0)


def test_labels_are_for_the_head_of_the_sources_name(animals, street, coco, voc, tmp_path):
    save(street / "maps" / "1.png", MAP)
    images = {"name": "own", "images": street / "images"}
    for source in (
        FolderPerClass(name="own", root=animals),
        read_coco(coco, tmp_path, head=""),
        VocXml(name="own", root=voc, split="train"),
        LabelMaps(maps=street / "maps", classes=("a",), **images),
        DepthMaps(depths=street / "maps", **images),
        NormalMaps(normals=street / "maps", **images),
    ):
        assert list(source.label_spaces) == [source.name]
    named = FolderPerClass(name="own", root=animals, head="own")
    assert FolderPerClass(name="own", root=animals).describe() == named.describe()
    with pytest.raises(UserError, match="its head cannot be named 'my photos'") as error:
        FolderPerClass(name="my photos", root=animals)
    assert error.value.value == "my photos"


def test_views_of_a_source(animals):
    whole = FolderPerClass(name="a", root=animals, head="animal")
    part = Subset(whole, [3, 0], name="part")
    assert len(part) == 2 and part.image_id(0) == "dog/2.png"
    assert part.labels(0)["animal"]["probabilities"].tolist() == [0, 1]
    np.testing.assert_array_equal(part.image(1), whole.image(0))
    with pytest.raises(IndexError):
        Subset(whole, [4], name="part")
    bare = without_labels(part)
    assert bare.name == "part" and len(bare) == 2 and bare.image_id(1) == part.image_id(1)
    np.testing.assert_array_equal(bare.image(1), part.image(1))


def test_a_union_of_sources(animals):
    whole = FolderPerClass(name="a", root=animals, head="animal")
    bare = ImagesOnly(name="b", root=animals)
    union = Concatenated([Subset(whole, [1], name="one"), bare, whole], name="union")
    assert len(union) == 9 and union.label_spaces == whole.label_spaces
    assert [union.image_id(i) for i in (0, 1, 4, 5, 8)] == [
        "one/cat/b/1.PNG", "b/cat/a.png", "b/dog/2.png", "a/cat/a.png", "a/dog/2.png",
    ]  # fmt: skip
    assert union.labels(1) == {} and union.labels(0)["animal"]["probabilities"][0] == 1
    np.testing.assert_array_equal(union.image(8), whole.image(3))
    for index in (-1, 9):
        with pytest.raises(IndexError):
            union.image(index)
    with pytest.raises(UserError, match="different names"):
        Concatenated([whole, whole], name="union")
    other = FolderPerClass(name="o", root=animals, head="animal", classes=("dog", "cat"))
    with pytest.raises(UserError, match=r"source 'o' .* source 'a' .* 'animal': .*order differs"):
        Concatenated([whole, other], name="union")


def test_label_spaces_say_what_differs():
    tasks = {
        "classes": Classification(name="t", classes=("a", "b")),
        "boxes": Detection(name="t", classes=("a", "b")),
        "map": Segmentation(name="t", classes=("a", "b")),
        "metric": Depth(name="t"),
        "relative_inverse": Depth(name="t", kind="relative_inverse"),
        "normals": Normals(name="t"),
    }
    for kind, task in tasks.items():
        space = LabelSpace.of(task)
        assert space.kind == kind and space.difference(LabelSpace.of(task)) is None
        for other in set(tasks) - {kind}:
            assert f"'{other}'" in space.difference(LabelSpace.of(tasks[other]))
    many = LabelSpace("classes", tuple("bcdefghij"))
    difference = LabelSpace("classes", ("a", "b")).difference(many)
    assert difference == "it has 2 classes, the other 9; not in both: a, c, d, e, f and 4 more"


def test_descriptions_follow_the_content_and_not_the_place(animals, tmp_path):
    def described(root):
        return json.dumps(describe(FolderPerClass(name="a", root=root, head="animal")))

    before = described(animals)
    animals.rename(tmp_path / "elsewhere")
    assert described(tmp_path / "elsewhere") == before
    save(tmp_path / "elsewhere" / "dog" / "new.png", picture())
    assert described(tmp_path / "elsewhere") != before


def test_a_corrected_label_of_the_same_size_is_another(street, voc):
    def described():
        pair = LabelMaps(
            name="m", images=street / "images", maps=street / "maps", head="h", classes=("a", "b")
        )
        return [
            json.dumps(describe(source))
            for source in (pair, VocXml(name="v", root=voc, split="train", head="h"))
        ]

    label, annotation = street / "maps" / "1.bmp", voc / "Annotations" / "x3.xml"
    save(label, MAP % 2)
    before = described()
    assert described() == before
    sizes = label.stat().st_size, annotation.stat().st_size
    save(label, 1 - MAP % 2)
    annotation.write_text(annotation.read_text().replace("11", "12"))
    assert (label.stat().st_size, annotation.stat().st_size) == sizes
    assert all(a != b for a, b in zip(before, described(), strict=True))


def test_every_source_can_be_described(street, voc, coco, animals, tmp_path):
    save(street / "maps" / "1.png", MAP)
    save(street / "depth" / "1.png", MAP)
    pairs = {"images": street / "images", "head": "h"}
    parts = [
        Subset(maps(street), [0], name="subset"),
        DepthMaps(name="depth", depths=street / "depth", **pairs),
        NormalMaps(name="normals", normals=street / "depth", **pairs | {"head": "n"}),
        without_labels(read_coco(coco, tmp_path)),
        VocXml(name="voc", root=voc, split="train", head="things"),
        ImagesOnly(name="alone", root=animals),
    ]
    text = json.dumps(describe(Concatenated(parts, name="union")))
    assert str(tmp_path) not in text


def test_threads_see_the_same(coco, tmp_path):
    source = read_coco(coco, tmp_path)
    alone = source.labels(1)["things"]["masks"]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for label in pool.map(source.labels, [1] * 100):
            np.testing.assert_array_equal(label["things"]["masks"], alone)


def test_stored_labels_from_plain_values():
    with pytest.raises(UserError, match="class 3 of 3"):
        class_label(3, 3)
    with pytest.raises(UserError, match="class -1"):
        class_label(-1, 3)
    empty = objects(boxes=[], classes=[])
    assert empty["boxes"].shape == (0, 4) and empty["ignore"].shape == (0,)
    with pytest.raises(ValueError):
        objects(boxes=[[0, 0, 1, 1]], classes=[1, 2])


# ---- names as people have them ------------------------------------------------------------------

NFC, NFD = "caf\u00e9", "cafe\u0301"


def test_class_folders_are_matched_as_people_read_them(tmp_path):
    for name in (NFD, "cat ", "\u0645\u06cc\u200c\u0634\u0648\u062f"):
        save(tmp_path / name / "1.png", picture())
    classes = ("cat", "\u0645\u06cc\u200c\u0634\u0648\u062f", NFC)
    source = FolderPerClass(name="a", root=tmp_path, head="h", classes=classes)
    found = {source.image_id(i).split("/")[0]: source.labels(i)["h"] for i in range(3)}
    assert found[NFD]["probabilities"].argmax() == 2
    assert found["cat "]["probabilities"].argmax() == 0
    assert LabelSpace("classes", (NFC,)).difference(LabelSpace("classes", (NFD,))) is None
    for other in ("cat", f"{NFC}\u00a0"):
        save(tmp_path / "two" / other / "1.png", picture())
    for name in ("cat\u00a0", NFD):
        save(tmp_path / "two" / name / "1.png", picture())
    with pytest.raises(UserError, match="which read the same"):
        FolderPerClass(name="a", root=tmp_path / "two", head="h")


def test_rows_of_a_table_name_pictures_and_classes_as_people_do(tmp_path):
    for name in (f"{NFD}\u202fPM.png", "x y.png\u00a0", "d/z.JPG", "plain.png"):
        save(tmp_path / "photos" / name.strip("\u00a0"), picture())
    (tmp_path / "photos" / "x y.png").rename(tmp_path / "photos" / "x y.png\u00a0")
    rows = [
        (f"{NFC} PM.png", NFC),
        ("x y.png\u00a0", NFD),
        (".\\d\\z.jpg", " b\u00a0"),
        ("plain.png", "b"),
    ]
    (tmp_path / "t.csv").write_text("file,class\n" + "".join(f"{a},{b}\n" for a, b in rows))
    source = CsvClasses(name="c", images=tmp_path / "photos", csv_file=tmp_path / "t.csv", head="h")
    names = source.label_spaces["h"].classes
    assert len(names) == 2 and names[0] == "b"
    found = [int(source.labels(i)["h"]["probabilities"].argmax()) for i in range(4)]
    ids = [source.image_id(i) for i in range(4)]
    assert dict(zip(ids, found, strict=True)) == {
        f"{NFD}\u202fPM.png": 1, "x y.png\u00a0": 1, "d/z.JPG": 0, "plain.png": 0,
    }  # fmt: skip
    (tmp_path / "t.csv").write_text("file,class\nplain.png,b\n.\\plain.png,b\n")
    with pytest.raises(UserError, match=r"line 3: .*also on line 2"):
        CsvClasses(name="c", images=tmp_path / "photos", csv_file=tmp_path / "t.csv", head="h")


def test_a_column_of_a_table_names_splits(tmp_path):
    for i in range(4):
        save(tmp_path / "photos" / f"{i}.png", picture())
    table = tmp_path / "t.csv"
    table.write_text("file,class,part\n0.png,oak,Train\n1.png,elm,val\n2.png,, val\n")

    def source(split, column="part"):
        return CsvClasses(
            name="c", images=tmp_path / "photos", csv_file=table, split_column=column, split=split
        )

    train, validation = source("Train"), source("val")
    assert [train.image_id(0), len(train)] == ["0.png", 1]
    assert [validation.image_id(i) for i in range(len(validation))] == ["1.png", "2.png"]
    assert train.label_spaces["c"].classes == validation.label_spaces["c"].classes == ("elm", "oak")
    assert validation.labels(0)["c"]["probabilities"].argmax() == 0 and not validation.labels(1)
    assert train.describe() != validation.describe()
    with pytest.raises(UserError, match=r"no picture is of split=train; did you mean 'Train'") as e:
        source("train")
    assert e.value.key == "split"
    with pytest.raises(UserError, match="has no column 'split'"):
        source("train", column="split")
    assert len(CsvClasses(name="c", images=tmp_path / "photos", csv_file=table)) == 4


def test_label_maps_belong_to_images_that_read_the_same(tmp_path):
    images = (f"{NFD}.jpg", "b\u00a0c.jpg", "d.jpg", "IMG.01")
    for name in images[:3]:
        save(tmp_path / "i" / name, picture())
    save(tmp_path / "i" / "IMG.01.png", picture())
    (tmp_path / "i" / "IMG.01.png").rename(tmp_path / "i" / "IMG.01")
    for name in (f"{NFC}.png", "b c.png", "d.jpg.png", "IMG.01.png"):
        save(tmp_path / "m" / name, np.zeros((20, 30), np.uint8))
    arguments = {"name": "m", "images": tmp_path / "i", "maps": tmp_path / "m", "head": "h"}
    source = LabelMaps(classes=("a",), **arguments)
    assert sorted(source.image_id(i) for i in range(4)) == sorted(images)
    assert all(source.labels(i)["h"]["map"].shape == (20, 30) for i in range(4))
    save(tmp_path / "m" / "d.png", np.zeros((20, 30), np.uint8))
    with pytest.raises(UserError, match=r"both 'd.*' and 'd.*' for the image d\.jpg"):
        LabelMaps(classes=("a",), **arguments)


def test_coco_files_are_named_as_other_systems_do(coco, tmp_path):
    (tmp_path / "coco" / "d").mkdir()
    (tmp_path / "coco" / "b.png").rename(tmp_path / "coco" / "d" / f"{NFD} 1.png")
    coco["images"][0]["file_name"] = f".\\d\\{NFC}%201.PNG"
    source = read_coco(coco, tmp_path)
    assert [source.image_id(i) for i in range(3)] == [f"d/{NFD} 1.png", "a.png", "none.png"]
    assert source.image(0).shape == (HEIGHT, WIDTH, 3)
    coco["images"][1]["file_name"] = f"d/{NFD} 1.png"
    with pytest.raises(UserError, match="listed twice"):
        read_coco(coco, tmp_path)


def test_voc_lists_may_name_files_with_spaces_and_accents(voc):
    for folder, suffix in (("JPEGImages", "jpg"), ("Annotations", "xml")):
        (voc / folder / f"x1.{suffix}").rename(voc / folder / f"my {NFD}\u202f1.{suffix}")
    (voc / "ImageSets" / "Main" / "train.txt").write_text(f"my {NFC} 1  -1\nx3\n")
    source = VocXml(name="v", root=voc, split="train", head="things")
    assert [source.image_id(i) for i in range(2)] == [f"my {NFD}\u202f1.jpg", "x3.jpg"]
    assert len(source.labels(0)["things"]["boxes"]) == 2


def test_sources_are_joined_by_ids_that_read_the_same(tmp_path):
    save(tmp_path / f"{NFD}.png", picture())
    save(tmp_path / "maps" / f"{NFD}.png", picture())
    (tmp_path / "c.json").write_text(
        json.dumps(
            {
                "images": [{"id": 1, "file_name": f"./{NFD}.png", "height": 20, "width": 30}],
                "categories": [{"id": 1, "name": "a"}],
                "annotations": [],
            }
        )
    )
    boxes = CocoJson(name="b", images=tmp_path, annotations=tmp_path / "c.json", head="b")
    joined = Joined([ImagesOnly(name="p", root=tmp_path), boxes], name="all")
    place = next(i for i in range(len(joined)) if joined.image_id(i) == f"{NFD}.png")
    assert set(joined.labels(place)) == {"b"} and not joined.labels(1 - place)
