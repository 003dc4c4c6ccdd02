"""YOLO's text files, made by hand as Ultralytics, Roboflow, CVAT and Label Studio lay them out."""

import numpy as np
import pytest
from PIL import Image

from must_keras.data.sources import LabelSpace, YoloTxt
from must_keras.errors import UserError
from must_keras.runs.fingerprint import describe
from must_keras.tasks import Detection

# Not square: x and y are fractions of different sides.
HEIGHT, WIDTH = 20, 40
NAMES = "names: [cat, dog]\n"


def photo(path, **arguments):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path, **arguments)


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def dataset(root, labels, yaml=f"train: images\n{NAMES}"):
    """data.yaml, images/<name>.jpg, and labels/<name>.txt of those with a text."""
    for name, text in labels.items():
        photo(root / "images" / f"{name}.jpg")
        if text is not None:
            write(root / "labels" / f"{name}.txt", text)
    return write(root / "data.yaml", yaml)


def read(root, line, **arguments):
    return YoloTxt(name="pets", data=dataset(root, {"a": line}), **arguments)


# ---- labels -------------------------------------------------------------------------------------


def test_boxes_are_center_and_size_in_fractions(tmp_path):
    source = read(tmp_path, "1 0.5 0.4 0.5 0.2\n0 0.125 0.5 0.25 1\n")
    assert source.label_spaces == {"pets": LabelSpace("boxes", ("cat", "dog"))}
    label = source.labels(0)["pets"]
    np.testing.assert_allclose(label["boxes"], [[0.3, 0.25, 0.5, 0.75], [0, 0, 1, 0.25]], atol=1e-7)
    assert label["classes"].tolist() == [1, 0]
    assert not label["has_mask"].any() and not label["ignore"].any() and "scores" not in label
    assert not source.has_scores and source.image(0).shape == (HEIGHT, WIDTH, 3)


def test_a_polygon_is_a_box_and_a_mask_of_the_upright_image(tmp_path):
    # The left half of a box from x 10 to 30 and y 5 to 15, and a box without a mask.
    line = "0 .25 .25 .5 .25 .5 .75 .25 .75 .25 .25 .75 .25\n1 .5 .5 .5 .5\n"
    source = YoloTxt(name="pets", data=dataset(tmp_path, {"a": line.replace(" .75 .25\n", "\n")}))
    label = source.labels(0)["pets"]
    np.testing.assert_allclose(label["boxes"][0], [0.25, 0.25, 0.75, 0.5])
    assert label["has_mask"].tolist() == [True, False] and label["masks"][0].all()
    triangle = YoloTxt(name="pets", data=dataset(tmp_path, {"a": "0 0 0 1 0 0 1"}))
    mask = triangle.labels(0)["pets"]["masks"][0]
    # The upper left half of the image, whichever its shape.
    side = len(mask)
    row, column = np.indices(mask.shape)
    apart = np.abs(row + column - (side - 1)) > 4
    np.testing.assert_array_equal(mask[apart], (row + column < side - 1)[apart])


def test_a_photo_on_its_side_has_the_fractions_of_the_upright_one(tmp_path):
    data = dataset(tmp_path, {"a": "0 0 0 .5 0 .5 .5 0 .5"})
    exif = Image.Exif()
    exif[0x0112] = 6
    photo(tmp_path / "images" / "a.jpg", exif=exif)
    source = YoloTxt(name="pets", data=data)
    assert source.image(0).shape == (WIDTH, HEIGHT, 3)
    label = source.labels(0)["pets"]
    np.testing.assert_allclose(label["boxes"], [[0, 0, 0.5, 0.5]])
    assert label["masks"][0].mean() > 0.9


def test_an_empty_file_is_an_image_without_objects_and_a_missing_one_is_unlabeled(tmp_path, capsys):
    data = dataset(tmp_path, {"a": "0 .5 .5 .5 .5", "b": "\n", "c": None, "d": None})
    source = YoloTxt(name="pets", data=data)
    assert [source.image_id(i) for i in range(4)] == ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    assert len(source.labels(1)["pets"]["boxes"]) == 0 and source.labels(2) == {}
    assert [bool(source.labeled_heads(i)) for i in range(4)] == [True, True, False, False]
    assert source.num_unlabeled == 2
    error = capsys.readouterr().err
    assert f"{data}: 2 images have no label file and are not labeled" in error
    assert "the first is that of c.jpg" in error


def test_boxes_are_cut_to_the_image_and_those_without_an_area_are_dropped(tmp_path, capsys):
    source = read(tmp_path, "0 0 .5 .5 1.005\n1 .5 .5 0 .5")
    np.testing.assert_allclose(source.labels(0)["pets"]["boxes"], [[0, 0, 1, 0.25]])
    assert source.num_dropped == 1 and "labels/a.txt, line 2" in capsys.readouterr().err


def test_a_score_follows_a_box_or_a_polygon(tmp_path):
    source = read(tmp_path, "0 .5 .5 .5 .5 .75\n0 0 0 1 0 0 1 .25\n1 .5 .5 .5 .5\n")
    label = source.labels(0)["pets"]
    assert source.has_scores and label["scores"].tolist() == [0.75, 0.25, 1.0]
    assert label["has_mask"].tolist() == [False, True, False]
    record = Detection(name="pets", classes=("cat", "dog")).records.from_label(label)
    assert record["scores"].tolist() == [1.0, 0.75, 0.25]


def test_keypoints_are_no_polygon(tmp_path):
    yaml = f"train: images\n{NAMES}kpt_shape: [3, 2]\n"
    line = "0 .5 .5 .5 .5 .1 .2 .3 .4 .5 .6"
    label = YoloTxt(name="p", data=dataset(tmp_path, {"a": line}, yaml)).labels(0)["p"]
    assert label["boxes"].tolist() == [[0.25, 0.25, 0.75, 0.75]] and not label["has_mask"].any()


def test_changed_labels_change_the_description_and_another_place_does_not(tmp_path):
    one, two = (dataset(tmp_path / k, {"a": "0 .5 .5 .5 .5"}) for k in "ab")
    described = describe(YoloTxt(name="p", data=one))
    assert described == describe(YoloTxt(name="p", data=two))
    write(tmp_path / "b" / "labels" / "a.txt", "0 .5 .5 .5 .6")
    assert described != describe(YoloTxt(name="p", data=two))


# ---- layouts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("yaml", "ids"),
    [
        ("names: {0: cat, 1: dog}\ntrain: images/train\n", ["1.jpg", "b/2.jpg"]),
        ("names: {'1': dog, '0': cat}\ntrain: ../images/train\n", ["1.jpg", "b/2.jpg"]),
        (f"path: .\n{NAMES}train: ./images/train/\nnc: 2\n", ["1.jpg", "b/2.jpg"]),
        (f"path: elsewhere\n{NAMES}train: images/train\n", ["1.jpg", "b/2.jpg"]),
        (f"{NAMES}train: train.txt\n", ["images/train/b/2.jpg", "images/train/1.jpg"]),
        (
            f"{NAMES}train: [images/train, images/more]\n",
            ["images/train/1.jpg", "images/train/b/2.jpg", "images/more/3.jpg"],
        ),
    ],
)
def test_folders_and_lists_of_images(yaml, ids, tmp_path):
    for place in ("train/1", "train/b/2", "more/3", "val/4"):
        photo(tmp_path / "images" / f"{place}.jpg")
        write(tmp_path / "labels" / f"{place}.txt", "1 .5 .5 .5 .5")
    write(tmp_path / "train.txt", f"./images/train/b/2.jpg\n{tmp_path}/images/train/1.jpg\n")
    data = write(tmp_path / "data.yaml", f"{yaml}val: images/val\n")
    source = YoloTxt(name="p", data=data, split="train", head="pets")
    assert [source.image_id(i) for i in range(len(source))] == ids
    assert all(source.labels(i)["pets"]["classes"].tolist() == [1] for i in range(len(source)))
    assert all(source.file(i).is_file() for i in range(len(source)))
    assert len(YoloTxt(name="p", data=data, head="pets")) == len(ids) + 1


def test_a_list_beside_its_images_in_a_folder_below(tmp_path):
    photo(tmp_path / "set" / "a.jpg")
    write(tmp_path / "set" / "a.txt", "0 .5 .5 .5 .5")
    write(tmp_path / "set" / "list.txt", "a.jpg\n")
    source = YoloTxt(name="p", data=write(tmp_path / "d.yaml", f"{NAMES}train: set/list.txt"))
    assert source.image_id(0) == "set/a.jpg" and len(source.labels(0)["p"]["boxes"]) == 1


def test_one_folder_for_two_splits_is_read_once(tmp_path):
    yaml = f"{NAMES}train: images\nval: images/\n"
    source = YoloTxt(name="p", data=dataset(tmp_path, {"a": "", "b": ""}, yaml))
    assert [source.image_id(i) for i in range(len(source))] == ["a.jpg", "b.jpg"]


def test_the_root_may_be_given(tmp_path):
    data = dataset(
        tmp_path / "x", {"a": "0 .5 .5 .5 .5"}, f"path: /data/pets\n{NAMES}train: images"
    )
    with pytest.raises(UserError, match="path is '/data/pets', outside of .*set root= to"):
        YoloTxt(name="p", data=data)
    assert len(YoloTxt(name="p", data=data, root=tmp_path / "x")) == 1


def test_names_are_compared_as_people_read_them(tmp_path):
    photo(tmp_path / "images" / "caf\u00e9.JPG")
    write(tmp_path / "labels" / "cafe\u0301.txt", "0 .5 .5 .5 .5")
    data = write(tmp_path / "data.yaml", f"{NAMES}train: images")
    assert YoloTxt(name="p", data=data).num_unlabeled == 0


# ---- mistakes -----------------------------------------------------------------------------------

EXPECTED = (
    "expected a class and x y width height, or a class and at least three points x y, as fractions "
    "of the image; a score may follow"
)
LINES = {
    "0 .5 .5 .5": f"has 4 numbers, {EXPECTED}",
    "0 .5": f"has 2 numbers, {EXPECTED}",
    "0 nan .5 .5 .5": f"has 'nan', which is no finite number, {EXPECTED}",
    "0 .5 .5 .5 inf": f"has 'inf', which is no finite number, {EXPECTED}",
    "0 .5 .5 .5 x": f"has 'x', which is no finite number, {EXPECTED}",
    "2 .5 .5 .5 .5": "has class 2, {data} has 2 names: expected 0 to 1",
    "-1 .5 .5 .5 .5": "has class -1, {data} has 2 names: expected 0 to 1",
    "cat .5 .5 .5 .5": "begins with 'cat', expected the number of a class from 0 to 1",
    "0.5 .5 .5 .5 .5": "begins with '0.5', expected the number of a class from 0 to 1",
    "0 .5 .5 -0.5 .5": f": -0.5 lies outside of 0 to 1, {EXPECTED}",
    "0 .5 1.02 .5 .5": f": 1.02 lies outside of 0 to 1, {EXPECTED}",
    "0 20 .5 .5 .5": (
        f": 20 lies outside of 0 to 1, {EXPECTED}; are they pixels? divide x by the width, y by "
        "the height"
    ),
    "0 .1 .1 .1 .1 .5 .5": f"has a polygon of fewer than three different points, {EXPECTED}",
    "0 .5 .5 .5 .5 7": "has the score 7, expected a number from 0 to 1",
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_is_no_object(line, tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path, f"0 .5 .5 .5 .5\n\n{line}\n")
    message = LINES[line].format(data=tmp_path / "data.yaml")
    space = "" if message.startswith(":") else " "
    assert str(error.value) == f"{tmp_path}/labels/a.txt, line 3{space}{message}"


YAMLS = {
    "train: images\n": "has no 'names', expected a list of names, or {0: name, 1: name, ...}",
    "train: images\nnames: 3\n": "has the 'names' 3, expected a list of names, or {0: name, 1: name, ...}",
    "train: images\nnames: []\n": "has the 'names' [], expected a list of names, or {0: name, 1: name, ...}",
    "train: images\nnames: {0: cat, 2: dog}\n": ": the keys of 'names' are 0, 2, expected 0 to 1",
    "train: images\nnames: [cat, no]\n": ": name 1 is False, expected text; put it in quotes",
    "train: images\nnames: [cat, cat]\n": ": two of its 'names' are 'cat', expected different names",
    "train: images\nnames: [cat]\nnc: 2\n": ": nc is 2, but there are 1 'names' ('cat')",
    "train: [\n": ", line 2: not YAML: expected the node content, but found '<stream end>'",
    "names: !!python/object/apply:os.abort []\n": ", line 1: not YAML: could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.abort'",
    "- train\n": "is ['train'], expected 'names', 'train' and 'val'",
    f"train: other\n{NAMES}": ": train is 'other', which is not in {root}",
    f"train: /etc\n{NAMES}": ": train is '/etc', which is not in {root}; set root= to the folder that all images lie in",
    f"train: ../../etc\n{NAMES}": ": train is '../../etc', which is not in {root}",
    f"train: 3\n{NAMES}": ": train is 3, expected a folder, a list of images, or several",
    f"train: data.yaml\n{NAMES}": "names {root}/data.yaml, expected folders, or text files with an image a line",
    NAMES: "names no images: expected train, val, ...",
}  # fmt: skip


@pytest.mark.parametrize("yaml", YAMLS)
def test_a_data_file_with_a_mistake(yaml, tmp_path):
    data = dataset(tmp_path, {"a": "0 .5 .5 .5 .5"}, yaml)
    with pytest.raises(UserError) as error:
        YoloTxt(name="p", data=data)
    message = YAMLS[yaml].replace("{root}", str(tmp_path))
    assert str(error.value) == f"{data}{'' if message[0] in ':,' else ' '}{message}"


def test_lists_that_name_absent_images_and_unknown_splits(tmp_path):
    data = dataset(tmp_path, {"a": ""}, f"train: a.txt\n{NAMES}")
    write(tmp_path / "a.txt", "images/a.jpg\nimages/b.jpg\n")
    with pytest.raises(UserError, match=r"a\.txt, line 2: there is no image 'images/b\.jpg' in"):
        YoloTxt(name="p", data=data)
    write(tmp_path / "a.txt", "/etc/b.jpg\n")
    with pytest.raises(UserError, match="line 1.*set root="):
        YoloTxt(name="p", data=data)
    with pytest.raises(UserError, match="has no split 'test'; allowed are train") as error:
        YoloTxt(name="p", data=data, split="test")
    assert error.value.key == "split"


def test_images_without_any_label_file(tmp_path):
    data = dataset(tmp_path, {"a": None, "b": None})
    with pytest.raises(UserError, match=r"not one of 2 images has a label file.*images/a\.jpg"):
        YoloTxt(name="p", data=data)
