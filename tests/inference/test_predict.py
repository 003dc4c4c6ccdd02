"""`python -m must_keras.predict` on images of several sizes and forms."""

import functools
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import unicodedata

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from pycocotools.coco import COCO

from fakes.few_layers import NETWORK
from fakes.random_examples import ALL, CLASSES, NORM, PARTS
from fakes.rotated_photos import ORIENTATIONS, save_turned
from must_keras import command, predict
from must_keras.data.io.images import read_image
from must_keras.data.sources import CocoJson
from must_keras.errors import DataError, UserError
from must_keras.inference import image_paths
from must_keras.inference.model import Model
from must_keras.inference.results import Results
from must_keras.tasks.visualization import enlarge
from must_keras.training.building import build_model

ROOT = pathlib.Path(__file__).resolve().parents[2]
MAPS = ("parts", "far", "facing")
SIZES = {"one.jpg": (40, 60), "deep/two.PNG": (97, 50), "deep/er/three.webp": (64, 64)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name, size in SIZES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(root / name)
    (root / "broken.jpg").write_bytes(b"no image")
    return root


def status_of(arguments, **values):
    """The exit status of the program with these arguments and options."""
    options = [f"--{key}={value}" for key, value in values.items() if value is not True]
    options += [f"--{key}" for key, value in values.items() if value is True]
    return command.run_alone(predict.COMMAND, [*map(str, arguments), *options])


@pytest.fixture(scope="module")
def out(photos, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "new"
    assert status_of([photos], model=run, out=folder) == 0
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_a_line_for_every_image(out):
    found = {line["name"]: line for line in lines(out)}
    assert set(found) == set(SIZES)
    line = found["deep/two.PNG"]
    assert (line["height"], line["width"]) == SIZES["deep/two.PNG"]
    probabilities = [entry["probability"] for entry in line["kind"]["classes"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-3)
    assert sum(line["parts"]["shares"].values()) == pytest.approx(1.0, abs=1e-3)
    depth = line["far"]
    assert depth["unit"] == "m" and depth["nearest"] <= depth["median"] <= depth["farthest"]
    for thing in line["things"]["objects"]:
        assert thing["class"] in CLASSES
        ymin, xmin, ymax, xmax = thing["box"]
        assert 0 <= ymin <= ymax <= 97.01 and 0 <= xmin <= xmax <= 50.01
    assert any(line["things"]["objects"] for line in found.values())


def test_maps_have_the_size_of_the_image(out):
    for name, size in SIZES.items():
        parts, far, facing = (np.asarray(Image.open(out / m / f"{name}.png")) for m in MAPS)
        assert parts.shape == far.shape == size and facing.shape == (*size, 3)
        assert parts.dtype == np.uint8 and parts.max() <= 2 and far.dtype == np.uint16
    line = next(line for line in lines(out) if line["name"] == "one.jpg")
    far = np.asarray(Image.open(out / line["far"]["map"]))
    assert np.median(far) / 1000 == pytest.approx(line["far"]["median"], rel=0.01)


def test_a_picture_shows_the_image_and_every_head(out, photos):
    name, caption, gap = "deep/two.PNG", 14, 4
    picture = np.asarray(Image.open(out / "pictures" / f"{name}.png"))
    # Enlarged so that the shorter side has at least 160 pixels.
    image = enlarge(read_image(photos / name))
    height, width = image.shape[:2]
    assert picture.shape[1:] == (6 * (width + gap) - gap, 3)
    assert len(picture) > caption + height, "the legends are below"
    columns = [picture[:, i * (width + gap) : i * (width + gap) + width] for i in range(6)]
    legends = [column[caption + height :] for column in columns]
    assert (legends[0] == 255).all() and (legends[3] < 255).any() and (legends[4] < 255).any()
    columns = [column[: caption + height] for column in columns]
    np.testing.assert_array_equal(columns[0][caption:], image)
    for one, other in itertools.combinations(columns, 2):
        assert (one[:caption] != other[:caption]).any()
    # Classes are text over a darker image, maps have colors of their own; there may be no box.
    for head, column in zip(ALL, columns[1:], strict=True):
        assert head.name == "things" or (column[caption:] != image).mean() > 0.5, head.name


def test_boxes_are_a_coco_data_set(out, photos):
    coco = COCO(str(out / "things.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.getImgIds()) == 3 and coco.getAnnIds()
    for annotation in coco.loadAnns(coco.getAnnIds()):
        assert 0 < annotation["score"] <= 1
        image = coco.loadImgs(annotation["image_id"])[0]
        assert coco.annToMask(annotation).shape == (image["height"], image["width"])
    source = CocoJson(name="own", images=photos, annotations=out / "things.json", head="things")
    assert len(source) == 3 and set(source.labels(0)) == {"things"}


def test_an_unreadable_image_is_skipped(photos, run, tmp_path, capsys):
    assert status_of([photos / "broken.jpg"], model=run, out=tmp_path / "out") == 2
    assert re.search(r"skipped: .*broken.jpg", capsys.readouterr().err)
    assert not any((tmp_path / "out").iterdir())


@pytest.fixture(scope="module")
def exported(run):
    return Model.load(run / "export" / "saved_model", trusted=True)


def test_the_exported_model_predicts_the_same(exported, photos, out, tmp_path):
    model = exported
    assert [task.name for task in model.tasks] == [task.name for task in ALL]
    results = Results(tmp_path / "out", model.tasks)
    for name, file in image_paths.find([str(photos)]).items():
        if name != "broken.jpg":
            image = np.asarray(Image.open(file).convert("RGB"))
            results.add(name, file, image, model.predict(image).outputs)
    results.close()
    for found, expected in zip(lines(tmp_path / "out"), lines(out), strict=True):
        assert found["name"] == expected["name"]
        assert found["far"]["median"] == pytest.approx(expected["far"]["median"], rel=1e-3)
        assert found["kind"] == expected["kind"]
        assert len(found["things"]["objects"]) == len(expected["things"]["objects"])


def test_a_photo_that_exif_turns_is_predicted_upright(exported, tmp_path):
    random = np.random.default_rng(4)
    pixels = np.kron(random.integers(0, 256, (5, 8, 3)), np.ones((9, 9, 1))).astype(np.uint8)
    for orientation in ORIENTATIONS:
        save_turned(tmp_path / "photos" / f"{orientation}.png", pixels, orientation)
    results = Results(tmp_path / "out", exported.tasks)
    for name, file in image_paths.find([str(tmp_path / "photos")]).items():
        image = read_image(file)
        results.add(name, file, image, exported.predict(image).outputs)
    results.close()
    upright, *turned = lines(tmp_path / "out")
    assert (upright["height"], upright["width"]) == (45, 72) and upright["things"]["objects"]
    for line in turned:
        for key in ("height", "width", "kind", "things"):
            assert line[key] == upright[key], (line["name"], key)
        for head in MAPS:
            one, other = (Image.open(tmp_path / "out" / x[head]["map"]) for x in (upright, line))
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    coco = json.loads((tmp_path / "out" / "things.json").read_text())
    assert {(i["height"], i["width"]) for i in coco["images"]} == {(45, 72)}


# ---- which pictures, which model ----------------------------------------------------------------


@pytest.mark.parametrize("size", [(2, 6000), (6000, 1), (3, 7), (5000, 300)])
def test_pictures_for_people_stay_small(tmp_path, size):
    results = Results(tmp_path / "out", ALL)
    outputs = {
        "kind": {"probabilities": np.array([0.2, 0.3, 0.5], np.float32)},
        "things": {
            "boxes": np.array([[0, 0, *size], [0, 0, 1, 1]], np.float32),
            "scores": np.array([0.9, 0.8], np.float32),
            "classes": np.array([0, 1], np.int32),
            "masks": np.ones((2, 10, 10), np.float32),
        },
        "parts": {"map": np.ones(size, np.uint8), "confidence": np.ones(size, np.float32)},
        "far": {"depth": np.ones(size, np.float32)},
        "facing": {"normals": np.ones((*size, 3), np.float32) / 3**0.5},
    }
    results.add("long", tmp_path / "long.png", np.zeros((*size, 3), np.uint8), outputs)
    results.close()
    with Image.open(tmp_path / "out" / "pictures" / "long.png") as picture:
        assert picture.width <= 2400 and picture.height <= 4800
    with Image.open(tmp_path / "out" / "parts" / "long.png") as parts:
        assert parts.size == size[::-1]


def test_pictures_whose_names_are_one_on_some_disks(tmp_path):
    names = [
        "cat.jpg",
        "Cat.jpg",
        "caf\u00e9.jpg",
        "cafe\u0301.jpg",
        "cat.jpg.png/1.jpg",
        "x" * 254,
    ]
    results = Results(tmp_path / "out", [PARTS])
    outputs = {"parts": {"map": np.ones((4, 4), np.uint8), "confidence": np.ones((4, 4))}}
    for name in names:
        results.add(name, tmp_path / name, np.zeros((4, 4, 3), np.uint8), outputs)
    results.close()
    found = lines(tmp_path / "out")
    assert [line["name"] for line in found] == names
    for paths in ([x["picture"] for x in found], [x["parts"]["map"] for x in found]):
        assert len({unicodedata.normalize("NFC", path).casefold() for path in paths}) == 6
        assert all((tmp_path / "out" / path).is_file() for path in paths)
    assert found[0]["picture"] == "pictures/cat.jpg.png"


def test_heads_that_a_file_names_lead_nowhere(tmp_path):
    entry = {"kind": "classes", "unit": "", "classes": ["a", "b"]}
    module = tf.Module()
    module.serve = tf.function(lambda images: {}, input_signature=[tf.TensorSpec([], tf.uint8)])
    tf.saved_model.save(module, str(tmp_path / "saved_model"))
    for head in ("../../x", "/x", "a/b", "name", "pictures", "a.b", ""):
        (tmp_path / "labels.json").write_text(json.dumps({head: entry}))
        with pytest.raises(UserError) as error:
            Model.load(tmp_path, trusted=True)
        assert (error.value.key, error.value.value) == ("name", head)
    (tmp_path / "labels.json").write_text(json.dumps({"kind": entry, "Kind": entry}))
    with pytest.raises(UserError) as error:
        Model.load(tmp_path, trusted=True)
    assert (error.value.key, error.value.value) == ("name", "Kind")


def test_heads_that_labels_json_does_not_list(tmp_path):
    model = Model(ALL[:1], lambda images: {"other.map": images}, path=tmp_path / "saved_model")
    with pytest.raises(DataError) as error:
        model.predict(np.zeros((4, 4, 3), np.uint8))
    assert error.value.path == tmp_path / "saved_model" and error.value.key == "other"


def test_nothing_is_left_where_no_image_could_be_read(tmp_path):
    results = Results(tmp_path / "out", ALL)
    results.close()
    assert not any((tmp_path / "out").iterdir())
    Results(tmp_path / "out", ALL)


def test_models_are_found_where_runs_keep_them(tmp_path):
    (tmp_path / "student").mkdir()
    path = tmp_path / "student" / "model.keras"
    build_model(NETWORK, [PARTS], seed=0, norm=NORM).save(path)
    for given in (tmp_path, path.parent, path):
        assert Model.load(given).tasks == (PARTS,)


def test_a_saved_model_runs_only_when_it_is_trusted(run, photos, tmp_path, capsys):
    for path in (run / "export", run / "export" / "saved_model"):
        with pytest.raises(UserError) as error:
            Model.load(path)
        assert error.value.path == run / "export" / "saved_model" and error.value.key == "trusted"
    assert status_of([photos], model=run / "export", out=tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--trusted" in line and not (tmp_path / "out").exists()


def path_of(read):
    """The path of the UserError or DataError that a function raises."""
    with pytest.raises((UserError, DataError)) as error:
        read()
    return error.value.path


def test_models_and_folders_that_cannot_be_used(photos, tmp_path):
    (tmp_path / "gone-1234").mkdir()
    with pytest.raises(UserError, match="did you mean 'gone-1234'") as error:
        Model.load(tmp_path / "gone")
    assert error.value.path == tmp_path / "gone" and error.value.allowed == ("gone-1234",)
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"")
    for text in ('{"kind": {}}', '{"kind": {"kind": "classes", "classes": [3]}}', "{"):
        (tmp_path / "labels.json").write_text(text)
        read = functools.partial(Model.load, tmp_path / "saved_model", trusted=True)
        assert path_of(read) == tmp_path / "labels.json"
    assert path_of(lambda: Model.load(photos)) == photos
    (tmp_path / "odd.keras").write_text("no model")
    with pytest.raises(UserError, match=r"odd\.keras"):
        Model.load(tmp_path / "odd.keras")
    (tmp_path / "file").write_text("a file")
    assert path_of(lambda: Results(tmp_path / "file", ALL)) == tmp_path / "file"


def test_mistakes_end_with_status_2_and_nothing_made(photos, run, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    new = tmp_path / "new"
    for arguments, values, fact in [
        ([photos], {"out": new}, "--model"),
        ([photos], {"model": run}, "--out"),
        ([photos], {"model": run, "out": tmp_path / "full"}, "full"),
        ([tmp_path / "gone.jpg"], {"model": run, "out": new}, "gone.jpg"),
    ]:
        assert status_of(arguments, **values) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ") and fact in line
    assert not new.exists() and [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_an_unknown_flag_ends_the_program():
    answer = subprocess.run(
        [sys.executable, "-m", "must_keras.predict", "x.jpg", "--outt=y"],
        cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ},
    )  # fmt: skip
    assert answer.returncode == 2 and "--outt" in answer.stderr and "'out'" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1
