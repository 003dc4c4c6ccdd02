import sys

import cv2
import numpy as np
import pytest

from must_keras.data import few_shot_sets
from must_keras.data.sources import FolderPerClass
from must_keras.errors import UserError

HEAD = "target"


def photos(folder, names):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((6, 8, 3), number, np.uint8))


def classes_of(source):
    labels = [source.labels(index)[HEAD]["probabilities"] for index in range(len(source))]
    names = source.label_spaces[HEAD].classes
    return {source.image_id(i): names[int(np.argmax(x))] for i, x in enumerate(labels)}


def test_digits():
    pytest.importorskip("sklearn")
    source = few_shot_sets.digits(HEAD)
    assert len(source) == 1797 and classes_of(source)["0000"] == "0"
    image = source.image(0)
    # A bright ring around a dark center.
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8
    assert image[16, 16, 0] < 40 and image[:, 8:12].max() > 200
    parts = few_shot_sets.unlabeled_fifth(source, seed=0)
    assert (len(parts.unlabeled), len(parts.rest)) == (359, 1438)
    ids = [{part.image_id(i) for i in range(len(part))} for part in parts]
    assert not ids[0] & ids[1] and len(ids[0] | ids[1]) == 1797
    other = few_shot_sets.unlabeled_fifth(source, seed=1).unlabeled
    assert {other.image_id(i) for i in range(len(other))} != ids[0]
    assert (parts.unlabeled.name, parts.rest.name) == ("digits_unlabeled", "digits")


def test_digits_need_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    few_shot_sets._loaded_digits.cache_clear()
    with pytest.raises(UserError, match="is not installed: pip install scikit-learn"):
        few_shot_sets.digits(HEAD)


@pytest.fixture
def isic(tmp_path):
    names = ["ISIC_0024306", "ISIC_0024307", "ISIC_0024308"]
    photos(tmp_path / "ISIC2018_Task3_Training_Input", [f"{name}.jpg" for name in names])
    table = tmp_path / "ISIC2018_Task3_Training_GroundTruth"
    table.mkdir()
    rows = ["image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"]
    rows += [
        f"{n},{','.join('01'[k == c] + '.0' for k in range(7))}"
        for n, c in zip(names, (1, 0, 6), strict=True)
    ]
    (table / f"{table.name}.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_isic(isic):
    source = few_shot_sets.isic(isic, head=HEAD)
    expected = {"ISIC_0024306.jpg": "NV", "ISIC_0024307.jpg": "MEL", "ISIC_0024308.jpg": "VASC"}
    assert classes_of(source) == expected and source.image(1).shape == (6, 8, 3)


def test_an_image_of_two_classes_is_named(isic):
    (table,) = isic.glob("*GroundTruth/*.csv")
    table.write_text(table.read_text().replace("0.0,1.0", "1.0,1.0", 1))
    with pytest.raises(UserError, match="line 2: 2 of its classes are not 0, expected 1"):
        few_shot_sets.isic(isic, head=HEAD)


def test_published_parts(isic, tmp_path):
    lists = {"a.csv": "img_path\nISIC_0024308\n", "b.csv": "img_path,label\nx/ISIC_0024306.jpg,1\n"}
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
    source = few_shot_sets.isic(isic, head=HEAD)
    parts = few_shot_sets.published_fifth(source, tmp_path / "a.csv", tmp_path / "b.csv")
    found = [[part.image_id(i) for i in range(len(part))] for part in parts]
    assert found == [["ISIC_0024308.jpg"], ["ISIC_0024306.jpg"]]
    (tmp_path / "a.csv").write_text("img_path\nISIC_1\n")
    with pytest.raises(UserError, match=r"a.csv, line 2: source 'isic' has no image 'ISIC_1'"):
        few_shot_sets.published_fifth(source, tmp_path / "a.csv", tmp_path / "b.csv")


def test_chest_xray_takes_images_with_one_finding(tmp_path):
    photos(tmp_path / "images", ["00000001_000.png", "00000002_000.png", "00000003_000.png"])
    (tmp_path / "Data_Entry_2017.csv").write_text(
        "Image Index,Finding Labels,Follow-up #\n00000001_000.png,Mass,0\n"
        "00000002_000.png,Mass|Nodule,0\n00000003_000.png,No Finding,0\n"
    )
    source = few_shot_sets.chest_xray(tmp_path, head=HEAD)
    assert classes_of(source) == {"00000001_000.png": "Mass"}
    (tmp_path / "Data_Entry_2017.csv").write_text("Image Index,Finding Labels\na.png,Hernia\n")
    with pytest.raises(UserError, match="has no image with one of Atelectasis"):
        few_shot_sets.chest_xray(tmp_path, head=HEAD)


def test_lists_that_do_not_say_which_image(isic, tmp_path):
    for file in ("a.csv", "b.csv"):
        (tmp_path / file).write_text("img_path\nISIC_0024308\n")
    source = few_shot_sets.isic(isic, head=HEAD)
    with pytest.raises(UserError, match="both list ISIC_0024308.jpg"):
        few_shot_sets.published_fifth(source, tmp_path / "a.csv", tmp_path / "b.csv")
    for name in ("x", "y"):
        photos(tmp_path / "classes" / name, ["0.png"])
    twice = FolderPerClass(name="c", root=tmp_path / "classes", head=HEAD)
    with pytest.raises(UserError, match="has x/0.png and y/0.png: lists name images without"):
        few_shot_sets.published_fifth(twice, tmp_path / "a.csv", tmp_path / "b.csv")
