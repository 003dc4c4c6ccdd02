"""`python -m must_keras.predict` on pictures of several sizes and forms."""

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
from absl import flags
from PIL import Image
from pycocotools.coco import COCO

import must_keras.predict
from exif import ORIENTATIONS, save_turned
from must_keras.data.io.images import read_image
from must_keras.data.sources import CocoJson
from must_keras.errors import DataError, UserError
from must_keras.files import write_json
from must_keras.inference import image_paths
from must_keras.inference.model import Model
from must_keras.inference.results import Results
from must_keras.inference.saved_model import export_saved_model
from must_keras.modeling.backbone import ResNet
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.training.model import build_model
from must_keras.training.network import Network

ROOT = pathlib.Path(__file__).resolve().parents[1]
NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
PIXELS = {"channels": 16, "num_convs": 1, "loss_stride": 4}
TASKS = (
    Classification(name="kind", classes=("a", "b", "c")),
    Detection(
        name="things", classes=("cat", "dog"), max_boxes=4, max_stored=8, anchor_scales=(2.0,),
        rpn_channels=16, num_sampled_anchors=16, num_candidates=32, num_proposals=8, num_regions=8,
        box_region=3, box_channels=8, box_units=16, mask_region=5, mask_channels=8, mask_convs=1,
        num_mask_regions=4, max_detections=8,
    ),
    Segmentation(name="street", classes=("road", "sky"), **PIXELS),
    Depth(name="far", **PIXELS),
    Normals(name="walls", **PIXELS),
)  # fmt: skip
SIZES = {"one.jpg": (40, 60), "deep/two.PNG": (97, 50), "deep/er/three.webp": (64, 64)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name, size in SIZES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (*size, 3), np.uint8)).save(root / name)
    (root / "broken.jpg").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run's folder as far as predicting needs it: a student and its export."""
    root = tmp_path_factory.mktemp("run")
    (root / "student").mkdir()
    network = Network(backbone=ResNet.small(), size=64, channels=16)
    model = build_model(network, TASKS, seed=0, norm=NORM)
    # A fresh detector is sure of nothing.
    layer = model.get_layer("things")
    for variable in layer.weights:
        if "class" in variable.path and variable.path.endswith("bias"):
            variable.assign(np.array([-2.0, 1.0, 2.0], "float32"))
    model.save(root / "student" / "model.keras")
    export_saved_model(model, str(root / "export" / "saved_model"))
    labels = {
        t.name: {"kind": t.kind, "unit": t.unit, "classes": list(getattr(t, "classes", ()))}
        for t in TASKS
    }
    write_json(root / "export" / "labels.json", labels)
    return root


def predict(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "must_keras.predict", *map(str, arguments)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def out(photos, run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "new"
    answer = predict(photos, f"--model={run}", f"--out={folder}")
    assert answer.returncode == 0, answer.stderr
    assert re.search(r"skipped: .*broken.jpg cannot be read", answer.stderr)
    assert "3 of 4 pictures" in answer.stdout
    return folder


def lines(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


def test_a_line_for_every_picture(out):
    found = {line["name"]: line for line in lines(out)}
    assert set(found) == set(SIZES)
    line = found["deep/two.PNG"]
    assert (line["height"], line["width"]) == SIZES["deep/two.PNG"]
    probabilities = [entry["probability"] for entry in line["kind"]["classes"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1.0, abs=1e-3)
    assert sum(line["street"]["shares"].values()) == pytest.approx(1.0, abs=1e-3)
    depth = line["far"]
    assert depth["unit"] == "m" and depth["nearest"] <= depth["median"] <= depth["farthest"]
    for thing in line["things"]["objects"]:
        assert thing["class"] in ("cat", "dog")
        ymin, xmin, ymax, xmax = thing["box"]
        assert 0 <= ymin <= ymax <= 97.01 and 0 <= xmin <= xmax <= 50.01
    assert any(line["things"]["objects"] for line in found.values())


def test_maps_have_the_pictures_size(out):
    for name, size in SIZES.items():
        street, far, walls = (
            np.asarray(Image.open(out / head / f"{name}.png"))
            for head in ("street", "far", "walls")
        )
        assert street.shape == far.shape == size and walls.shape == (*size, 3)
        assert street.dtype == np.uint8 and street.max() <= 1 and far.dtype == np.uint16
    line = next(line for line in lines(out) if line["name"] == "one.jpg")
    far = np.asarray(Image.open(out / line["far"]["map"]))
    assert np.median(far) / 1000 == pytest.approx(line["far"]["median"], rel=0.01)


def test_a_picture_shows_every_head(out):
    for name in SIZES:
        path = out / "pictures" / f"{name}.png"
        picture = np.asarray(Image.open(path))
        assert picture.shape[1] > 6 * 150 or picture.shape[1] == 2400


def test_boxes_are_a_coco_data_set(out, photos, tmp_path):
    coco = COCO(str(out / "things.json"))
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == ["cat", "dog"]
    assert len(coco.getImgIds()) == 3 and coco.getAnnIds()
    for annotation in coco.loadAnns(coco.getAnnIds()):
        assert 0 < annotation["score"] <= 1
        image = coco.loadImgs(annotation["image_id"])[0]
        assert coco.annToMask(annotation).shape == (image["height"], image["width"])
    source = CocoJson(name="said", images=photos, annotations=out / "things.json", head="things")
    assert len(source) == 3 and set(source.labels(0)) == {"things"}


@pytest.fixture(scope="module")
def exported(run):
    return Model.load(run / "export" / "saved_model", trusted=True)


def test_the_exported_model_says_the_same(exported, photos, out, tmp_path):
    model = exported
    assert [task.name for task in model.tasks] == [task.name for task in TASKS]
    results = Results(tmp_path / "out", model.tasks)
    for name, file in image_paths.find([str(photos)]).items():
        if name != "broken.jpg":
            image = np.asarray(Image.open(file).convert("RGB"))
            results.add(name, file, image, model.predict(image))
    results.close()
    for said, expected in zip(lines(tmp_path / "out"), lines(out), strict=True):
        assert said["name"] == expected["name"]
        assert said["far"]["median"] == pytest.approx(expected["far"]["median"], rel=1e-3)
        assert said["kind"] == expected["kind"]
        assert len(said["things"]["objects"]) == len(expected["things"]["objects"])


def test_a_photo_that_exif_turns_is_predicted_upright(exported, tmp_path):
    random = np.random.default_rng(4)
    pixels = np.kron(random.integers(0, 256, (5, 8, 3)), np.ones((9, 9, 1))).astype(np.uint8)
    for orientation in ORIENTATIONS:
        save_turned(tmp_path / "photos" / f"{orientation}.png", pixels, orientation)
    results = Results(tmp_path / "out", exported.tasks)
    for name, file in image_paths.find([str(tmp_path / "photos")]).items():
        image = read_image(file)
        results.add(name, file, image, exported.predict(image))
    results.close()
    upright, *turned = lines(tmp_path / "out")
    assert (upright["height"], upright["width"]) == (45, 72) and upright["things"]["objects"]
    for line in turned:
        for key in ("height", "width", "kind", "things"):
            assert line[key] == upright[key], (line["name"], key)
        for head in ("street", "far", "walls"):
            one, other = (Image.open(tmp_path / "out" / x[head]["map"]) for x in (upright, line))
            np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
    coco = json.loads((tmp_path / "out" / "things.json").read_text())
    assert {(i["height"], i["width"]) for i in coco["images"]} == {(45, 72)}


# ---- which pictures, which model ----------------------------------------------------------------


def test_pictures_are_files_folders_and_globs(photos):
    found = image_paths.find([str(photos / "one.jpg"), str(photos / "deep"), str(photos / "*.jpg")])
    assert list(found) == ["one.jpg", "er/three.webp", "two.PNG", "broken.jpg"]
    assert found["two.PNG"] == photos / "deep" / "two.PNG"


def test_pictures_that_cannot_be_found(photos, tmp_path):
    with pytest.raises(UserError, match="no picture is named"):
        image_paths.find([])
    with pytest.raises(UserError, match=r"there is no picture .*gone.jpg"):
        image_paths.find([str(tmp_path / "gone.jpg")])


def test_pictures_of_one_name_are_told_apart(photos, tmp_path):
    for name in ("one.png", "one.PNG", "a/one.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    first, other = photos / "one.jpg", tmp_path / "one.png"
    assert image_paths.find([str(first), str(other)]) == {"one.jpg": first, "one.png": other}
    assert list(image_paths.find([str(tmp_path)])) == ["a/one.jpg", "one.PNG", "one.png"]
    same = tmp_path / "a" / "one.jpg"
    found = image_paths.find([str(first), str(same), str(same)])
    assert found == {f"{photos.name}/one.jpg": first, "a/one.jpg": same}


def test_pictures_of_any_name_are_found_and_others_counted(tmp_path, capsys):
    names = ["a\u202fb.jpg", "c.jfif", "d", "e\u200df.png"]
    for name in names:
        Image.new("RGB", (4, 4)).save(tmp_path / name, "JPEG")
    odd = tmp_path / os.fsdecode(b"caf\xe9.jpg")
    odd.write_bytes((tmp_path / "d").read_bytes())
    os.mkfifo(tmp_path / "pipe.jpg")
    assert {file.name for file in image_paths.find([str(tmp_path)]).values()} == set(names)
    assert "2 files" in capsys.readouterr().err
    assert list(image_paths.find([str(odd), str(tmp_path / "d")])) == ["d"]
    assert "1 files are passed over" in capsys.readouterr().err
    with pytest.raises(UserError, match="no picture is left"):
        image_paths.find([str(odd)])
    with pytest.raises(UserError, match=r"there is no picture .*pipe\.jpg"):
        image_paths.find([str(tmp_path / "pipe.jpg")])


@pytest.mark.parametrize("size", [(2, 6000), (6000, 1), (3, 7), (5000, 300)])
def test_pictures_for_people_stay_small(tmp_path, size):
    results = Results(tmp_path / "out", TASKS)
    outputs = {
        "kind": {"probabilities": np.array([0.2, 0.3, 0.5], np.float32)},
        "things": {
            "boxes": np.array([[0, 0, *size], [0, 0, 1, 1]], np.float32),
            "scores": np.array([0.9, 0.8], np.float32),
            "classes": np.array([0, 1], np.int32),
            "masks": np.ones((2, 10, 10), np.float32),
        },
        "street": {"map": np.ones(size, np.uint8), "confidence": np.ones(size, np.float32)},
        "far": {"depth": np.ones(size, np.float32)},
        "walls": {"normals": np.ones((*size, 3), np.float32) / 3**0.5},
    }
    results.add("long", tmp_path / "long.png", np.zeros((*size, 3), np.uint8), outputs)
    results.close()
    with Image.open(tmp_path / "out" / "pictures" / "long.png") as picture:
        assert picture.width <= 2400 and picture.height <= 4800
    with Image.open(tmp_path / "out" / "street" / "long.png") as street:
        assert street.size == size[::-1]


def test_pictures_whose_names_are_one_on_some_disks(tmp_path):
    names = [
        "cat.jpg",
        "Cat.jpg",
        "caf\u00e9.jpg",
        "cafe\u0301.jpg",
        "cat.jpg.png/1.jpg",
        "x" * 254,
    ]
    task = next(task for task in TASKS if task.kind == "map")
    results = Results(tmp_path / "out", [task])
    outputs = {task.name: {"map": np.ones((4, 4), np.uint8), "confidence": np.ones((4, 4))}}
    for name in names:
        results.add(name, tmp_path / name, np.zeros((4, 4, 3), np.uint8), outputs)
    results.close()
    found = lines(tmp_path / "out")
    assert [line["name"] for line in found] == names
    for paths in ([x["picture"] for x in found], [x[task.name]["map"] for x in found]):
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
        with pytest.raises(UserError, match=r"--model=.*saved_model: a head cannot be named"):
            Model.load(tmp_path, trusted=True)
    (tmp_path / "labels.json").write_text(json.dumps({"kind": entry, "Kind": entry}))
    with pytest.raises(UserError, match=r"--model=.*saved_model: the heads 'kind' and 'Kind'"):
        Model.load(tmp_path, trusted=True)


def test_heads_that_labels_json_does_not_list(tmp_path):
    model = Model(TASKS[:1], lambda images: {"other.map": images}, path=tmp_path / "saved_model")
    with pytest.raises(DataError, match=r"saved_model predicts 'other.map'.*--stage=export"):
        model.predict(np.zeros((4, 4, 3), np.uint8))


def test_nothing_is_left_where_no_picture_could_be_read(tmp_path):
    results = Results(tmp_path / "out", TASKS)
    results.close()
    Results(tmp_path / "out", TASKS)


def test_models_are_found_where_runs_keep_them(run):
    for path in (run, run / "student", run / "student" / "model.keras", run / "export"):
        model = Model.load(path, trusted=path.name == "export")
        assert {task.name for task in model.tasks} == {task.name for task in TASKS}


def test_the_flags_are_these():
    found = flags.FLAGS.get_key_flags_for_module(must_keras.predict.__name__)
    assert [flag.name for flag in found] == ["model", "trusted", "out"]


def test_a_saved_model_runs_only_when_asked(run, photos, tmp_path):
    for path in (run / "export", run / "export" / "saved_model"):
        with pytest.raises(UserError, match=r"saved_model is a SavedModel, a program.*--trusted"):
            Model.load(path)
    answer = predict(photos, f"--model={run / 'export'}", f"--out={tmp_path / 'out'}")
    assert answer.returncode == 2 and "--trusted" in answer.stderr
    assert len(answer.stderr.splitlines()) == 1 and not (tmp_path / "out").exists()


def test_models_and_folders_that_cannot_be_used(photos, tmp_path):
    (tmp_path / "gone-1234").mkdir()
    with pytest.raises(UserError, match=r"gone is not there: did you mean 'gone-1234'\?"):
        Model.load(tmp_path / "gone")
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "labels.json").write_text('{"kind": {}}')
    with pytest.raises(UserError, match="labels.json does not say what the heads are"):
        Model.load(tmp_path / "saved_model", trusted=True)
    with pytest.raises(UserError, match=r"is no model; expected a run's folder"):
        Model.load(photos)
    (tmp_path / "odd.keras").write_text("no model")
    with pytest.raises(UserError, match=r"odd.keras cannot be read"):
        Model.load(tmp_path / "odd.keras")
    (tmp_path / "file").write_text("a file")
    with pytest.raises(UserError, match="file is a file; a folder is needed"):
        Results(tmp_path / "file", TASKS)


def test_mistakes_end_with_status_2_and_nothing_made(photos, run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    new, model = tmp_path / "new", f"--model={run}"
    for arguments, message in [
        ([photos, f"--out={new}"], "--model is missing"),
        ([photos, model], "--out is missing"),
        ([photos, model, f"--out={tmp_path / 'full'}"], "full is not empty"),
        ([tmp_path / "gone.jpg", model, f"--out={new}"], "there is no picture"),
        ([photos, model, f"--outt={new}"], "unknown flag --outt: did you mean 'out'"),
    ]:
        answer = predict(*arguments)
        assert answer.returncode == 2, answer.stderr
        assert "Traceback" not in answer.stderr and message in answer.stderr, answer.stderr
    assert not new.exists() and [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
