"""`Model.predict`: what it takes, and the typed result, its pictures and its files."""

import io
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fakes.random_examples import ALL, CLASSES, KIND, PARTS, THINGS
from fakes.rotated_photos import save_turned
from must_keras.errors import UserError
from must_keras.inference.model import Model
from must_keras.inference.result import Result

SIZE = (20, 30)


def flat(size=SIZE):
    """What a model's function returns for one image: two objects, and room for a third."""
    return {
        "kind.probabilities": np.float32([[0.2, 0.3, 0.5]]),
        "things.boxes": np.float32([[[2, 3, 12, 23], [0, 0, 4, 4], [0, 0, 0, 0]]]),
        "things.scores": np.float32([[0.9, 0.8, 0]]),
        "things.classes": np.int32([[2, 0, -1]]),
        "things.masks": np.ones((1, 3, 4, 4), np.float32),
        "parts.map": np.ones((1, *size), np.uint8),
        "parts.confidence": np.ones((1, *size), np.float32),
        "far.depth": np.full((1, *size), 2.5, np.float32),
        "facing.normals": np.broadcast_to(np.float32([0, 0, -1]), (1, *size, 3)),
    }


@pytest.fixture
def model(tmp_path):
    return Model(ALL, lambda images: flat(images.shape[1:3]), path=tmp_path / "saved_model")


@pytest.fixture
def result(model):
    return model.predict(np.full((*SIZE, 3), 200, np.uint8))


# ---- what is predicted --------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    for name, value in (("a.png", 10), ("b.png", 20)):
        Image.new("RGB", SIZE[::-1], (value,) * 3).save(tmp_path / "photos" / name)
    return tmp_path / "photos"


def test_one_image_gives_one_result(model, photos):
    array = np.full((*SIZE, 3), 10, np.uint8)
    for given in (array, Image.fromarray(array), photos / "a.png", str(photos / "a.png")):
        found = model.predict(given)
        np.testing.assert_array_equal(found.image, array)
    assert (found.name, found.path, found.size) == ("a.png", photos / "a.png", SIZE)


def test_a_list_a_folder_and_a_glob_give_a_list(model, photos, capsys):
    (photos / "broken.png").write_bytes(b"no image")
    for given in (photos, str(photos), str(photos / "*.png")):
        found = model.predict(given)
        assert [one.name for one in found] == ["a.png", "b.png"]
        assert "broken.png" in capsys.readouterr().err
    array = np.zeros((4, 5, 3), np.uint8)
    names = [one.name for one in model.predict([photos / "b.png", array, photos / "b.png"])]
    assert names == ["b.png", "image 1", "b.png"]
    assert len(model.predict(str(photos / "a*.png"))) == 1 and model.predict([]) == []
    with pytest.raises(UserError):
        model.predict([photos / "broken.png"])


def test_a_pillow_image_is_predicted_upright(model, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    save_turned(tmp_path / "turned.png", pixels, 6)
    with Image.open(tmp_path / "turned.png") as image:
        np.testing.assert_array_equal(model.predict(image).image, pixels)
    assert model.predict(Image.new("L", (3, 2), 7)).image.tolist() == [[[7] * 3] * 3] * 2


@pytest.mark.parametrize(
    ("given", "fact"),
    [
        (np.zeros((2, 4, 4, 3), np.uint8), r"\(2, 4, 4, 3\).*predict\(list\(images\)\)"),
        (np.zeros((4, 4, 3), np.float32), r"float32.*\[0, 255\]"),
        (np.zeros((4, 4), np.uint8), r"\(4, 4\).*\[H, W, 3\]"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (None, "received no array; expected a path, a Pillow image"),
        ("https://example.com/cat.jpg", "download"),
        ("gone.jpg", "there is no image gone.jpg"),
        (Image.new("F", (3, 2)), "floating point"),
    ],
)
def test_what_is_no_image(model, given, fact):
    with pytest.raises(UserError, match=fact):
        model.predict(given)


def test_a_saved_model_has_no_network(model, tmp_path):
    with pytest.raises(UserError, match="SavedModel") as error:
        _ = model.keras_model
    assert error.value.path == tmp_path / "saved_model"


# ---- typed results ------------------------------------------------------------------------------


def test_objects_are_typed(result):
    found = result["things"]
    assert len(found) == 2 and found.boxes.tolist() == [[2, 3, 12, 23], [0, 0, 4, 4]]
    assert found.scores == pytest.approx([0.9, 0.8]) and found.classes.tolist() == [2, 0]
    assert found.class_names == (CLASSES[2], CLASSES[0])
    assert found.masks.shape == (2, *SIZE) and found.masks.dtype == bool
    assert found.masks.sum((1, 2)).tolist() == [200, 16] and found.masks[0, 2:12, 3:23].all()


def test_boxes_without_masks():
    arrays = {key.removeprefix("things."): v[0] for key, v in flat().items() if "things" in key}
    del arrays["masks"]
    assert THINGS.predictions.typed(arrays, SIZE).masks is None


def test_other_heads_are_typed(result):
    kind, parts = result["kind"], result["parts"]
    assert kind.top(2) == [("c", 0.5), ("b", pytest.approx(0.3))] and len(kind.top()) == 3
    assert kind.probabilities.shape == (3,) and kind.class_names == CLASSES
    assert parts.map.shape == parts.confidence.shape == SIZE and parts.class_names == CLASSES
    assert result["far"].depth.shape == SIZE and result["far"].unit == "m"
    assert result["facing"].normals.shape == (*SIZE, 3)


def test_a_result_is_a_mapping_of_heads(result):
    assert list(result) == [task.name for task in ALL] and len(result) == 5
    assert result["kind"] is result["kind"] and "kind" in result and "kid" not in result
    with pytest.raises(KeyError, match="no head 'kid'; heads are kind, things"):
        _ = result["kid"]
    assert repr(result) == "Result('image', 30x20 pixels, heads: kind, things, parts, far, facing)"


# ---- pictures and files -------------------------------------------------------------------------


def test_plot_shows_all_heads_or_some(result):
    everything, one = result.plot(), result.plot("parts")
    assert everything.height > one.height, "the legend of normals has several lines"
    assert everything.width + 4 == 3 * (one.width + 4)  # Six columns, and two.
    with pytest.raises(KeyError):
        result.plot("kid")
    with Image.open(io.BytesIO(result._repr_png_())) as shown:
        assert shown.size == everything.size


def test_save_writes_the_form_of_the_suffix(result, tmp_path):
    result.save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as picture:
        assert picture.size == result.plot().size
    result.save(tmp_path / "a.json")
    line = json.loads((tmp_path / "a.json").read_text())
    assert (line["height"], line["width"]) == SIZE and len(line["things"]["objects"]) == 2
    result.save(tmp_path / "folder")
    (found,) = (tmp_path / "folder" / "predictions.jsonl").read_text().splitlines()
    assert json.loads(found)["kind"] == line["kind"]
    assert (tmp_path / "folder" / "things.json").is_file()
    named = json.loads((tmp_path / "folder" / "predictions.classes.json").read_text())
    assert named["parts"] == {"kind": "map", "unit": "", "classes": list(CLASSES)}
    assert named["far"]["unit"] == "m"
    with pytest.raises(UserError, match=r"\.xyz") as error:
        result.save(tmp_path / "a.xyz")
    assert ".png" in error.value.allowed


def test_objects_of_all_heads_are_one_coco_data_set(result, tmp_path):
    class_only = Result(image=result.image, tasks=[KIND, PARTS], outputs=result.outputs)
    assert class_only.to_coco()["annotations"] == []
    (tmp_path / "coco.json").write_text(json.dumps(result.to_coco()))
    coco = COCO(str(tmp_path / "coco.json"))
    first, second = coco.loadAnns(coco.getAnnIds())
    assert first["bbox"] == [3, 2, 20, 10] and first["score"] == 0.9
    category = coco.loadCats(first["category_id"])[0]
    assert (category["name"], category["supercategory"]) == ("c", "things")
    assert coco.annToMask(second).sum() == 16
