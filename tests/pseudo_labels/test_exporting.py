"""Pseudo labels for other tools: by hand, on photos of 40 x 60 pixels (height x width)."""

import csv
import dataclasses
import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

import must_keras as mk
from fakes import labeled_run
from must_keras.data.io.brush_codes import decode_brush
from must_keras.data.sources import CocoJson, CsvClasses, DepthMaps, LabelMaps, NormalMaps, YoloTxt
from must_keras.errors import UserError
from must_keras.pseudo_labels.exporting import Exported, export

HEIGHT, WIDTH = 40, 60


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return labeled_run.make(tmp_path_factory.mktemp("run"))


def exported(run, to, format, teacher, **arguments):
    found = export(run, to, format=format, teacher=f"teacher_{teacher}", **arguments)
    assert found.path == to and (to / "certainty.csv").is_file()
    return found


def table(folder):
    with (folder / "certainty.csv").open(newline="") as file:
        return list(csv.DictReader(file))


# ---- objects ------------------------------------------------------------------------------------


def test_coco_has_pixels_of_the_originals_scores_and_masks(run, tmp_path):
    found = exported(run, tmp_path / "out", "coco", "things", threshold=0.5)
    assert (found.num_images, found.num_labeled) == (5, 5)
    content = json.loads((tmp_path / "out/annotations.json").read_text())
    assert content["categories"] == [{"id": 1, "name": "car"}, {"id": 2, "name": "bench"}]
    images = {image["id"]: image for image in content["images"]}
    assert all((i["height"], i["width"]) == (HEIGHT, WIDTH) for i in images.values())
    names = [images[a["image_id"]]["file_name"] for a in content["annotations"]]
    assert sorted(names) == ["0.png", "0.png", "1.png", "4.png", "4.png"]
    (bench,) = (a for a in content["annotations"] if a["category_id"] == 2)
    # From 0.6 to 0.9 of 60 pixels and 0.25 to 0.75 of 40.
    assert bench["bbox"] == [36.0, 10.0, 18.0, 20.0] and bench["score"] == 0.8
    mask = coco_mask.decode(bench["segmentation"])
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[10:30, 36:54] = 1
    np.testing.assert_array_equal(mask, expected)
    assert bench["area"] == 360 and bench["iscrowd"] == 0
    coco = COCO(str(tmp_path / "out/annotations.json"))
    assert coco.annToMask(bench).sum() == 360 and len(coco.getImgIds()) == 5


def test_coco_comes_back_with_its_scores(run, tmp_path):
    exported(run, tmp_path / "out", "coco", "things", threshold=0.05)
    source = CocoJson(
        name="things", images=tmp_path / "out/images", annotations=tmp_path / "out/annotations.json"
    )
    assert source.has_scores and len(source) == 5
    places = {source.image_id(i): i for i in range(5)}
    for number, objects in enumerate(labeled_run.FOUND):
        label = source.labels(places[f"{number}.png"])["things"]
        np.testing.assert_allclose(label["scores"], [score for score, _, _ in objects], atol=1e-4)
        np.testing.assert_allclose(
            label["boxes"], np.reshape([box for _, _, box in objects], (-1, 4)), atol=1e-3
        )
        assert label["has_mask"].all() and label["masks"].all()


def test_yolo_has_polygons_of_masks_and_an_empty_file_without_objects(run, tmp_path):
    exported(run, tmp_path / "out", "yolo", "things", threshold=0.5)
    assert (tmp_path / "out/labels/3.txt").read_text() == ""
    assert (tmp_path / "out/labels/2.txt").read_text() == ""
    (line,) = (tmp_path / "out/labels/1.txt").read_text().splitlines()
    index, *values = line.split()
    points = np.reshape([float(v) for v in values], (-1, 2))
    assert index == "1" and sorted(points.tolist()) == [
        [0.6, 0.25], [0.6, 0.75], [0.9, 0.25], [0.9, 0.75],
    ]  # fmt: skip
    source = YoloTxt(name="things", data=tmp_path / "out/data.yaml", split="train")
    assert source.label_spaces["things"].classes == ("car", "bench")
    assert [len(source.labels(i)["things"]["boxes"]) for i in range(5)] == [2, 1, 0, 0, 2]
    np.testing.assert_allclose(source.labels(1)["things"]["boxes"], [labeled_run.RIGHT], atol=1e-6)


def test_label_studio_has_percents_and_the_scores(run, tmp_path):
    exported(run, tmp_path / "out", "label-studio", "things", threshold=0.5)
    tasks = {t["data"]["file"]: t for t in json.loads((tmp_path / "out/tasks.json").read_text())}
    assert tasks["1.png"]["data"]["image"] == "/data/local-files/?d=images/1.png"
    (prediction,) = tasks["1.png"]["predictions"]
    assert prediction["model_version"] == "teacher_things" and 0 <= prediction["score"] <= 1
    (result,) = prediction["result"]
    assert (result["original_width"], result["original_height"]) == (WIDTH, HEIGHT)
    assert result["score"] == 0.8 and result["value"]["polygonlabels"] == ["bench"]
    assert sorted(result["value"]["points"]) == [[60, 25], [60, 75], [90, 25], [90, 75]]
    config = ElementTree.parse(tmp_path / "out/labeling.xml").getroot()
    assert [child.tag for child in config] == ["Image", "RectangleLabels", "PolygonLabels"]
    assert [label.get("value") for label in config[2]] == ["car", "bench"]
    assert config[2].get("name") == result["from_name"]


def test_the_threshold_is_that_of_the_recipe_unless_given(run, tmp_path):
    counts = {}
    for threshold in (None, 0.05, (0.7, 1.0)):
        to = tmp_path / str(threshold)
        exported(run, to, "coco", "things", threshold=threshold)
        counts[threshold] = len(json.loads((to / "annotations.json").read_text())["annotations"])
    assert counts == {None: 5, 0.05: 6, (0.7, 1.0): 2}
    with pytest.raises(UserError, match="threshold 0.01 .* is not within"):
        export(run, tmp_path / "x", format="coco", threshold=0.01)
    with pytest.raises(UserError, match="take no threshold"):
        export(run, tmp_path / "x", format="maps", teacher="teacher_far", threshold=0.5)
    assert not list(tmp_path.glob("x*"))


# ---- maps and classes ---------------------------------------------------------------------------


def test_maps_have_the_size_of_the_images_and_255_below_the_threshold(run, tmp_path):
    exported(run, tmp_path / "out", "maps", "parts", threshold=0.8)
    found = np.asarray(Image.open(tmp_path / "out/maps/0.png"))
    expected = np.full((HEIGHT, WIDTH), 255, np.uint8)
    expected[:, : WIDTH // 2] = 1
    np.testing.assert_array_equal(found, expected)
    assert (tmp_path / "out/classes.txt").read_text() == "sky\nCar\n"
    source = LabelMaps(
        name="p", images=tmp_path / "out/images", maps=tmp_path / "out/maps", classes=("sky", "Car")
    )
    np.testing.assert_array_equal(source.labels(0)["p"]["map"], expected)


def test_depth_is_16_bits_of_millimeters(run, tmp_path):
    exported(run, tmp_path / "out", "maps", "far")
    found = Image.open(tmp_path / "out/maps/0.png")
    assert found.mode.startswith("I;16") and found.size == (WIDTH, HEIGHT)
    values = np.asarray(found)
    assert values[20, 15] == 1000 and values[20, 45] == 2000 and values[2, 2] == 2000
    out = {"images": tmp_path / "out/images", "maps": tmp_path / "out/maps"}
    depth = DepthMaps(name="far", images=out["images"], depths=out["maps"], depth_scale=0.001)
    np.testing.assert_allclose(depth.labels(0)["far"]["depth"], values / 1000, rtol=1e-6)


def test_normals_are_colors(run, tmp_path):
    exported(run, tmp_path / "out", "maps", "facing")
    source = NormalMaps(
        name="n", images=tmp_path / "out/images", normals=tmp_path / "out/maps", axes="camera"
    )
    np.testing.assert_allclose(source.labels(0)["n"]["normals"][5, 5], [0, 0, -1], atol=0.01)


def test_maps_are_brush_masks_for_label_studio(run, tmp_path):
    exported(run, tmp_path / "out", "label-studio", "parts", threshold=0.8)
    (task, *_) = (
        t for t in json.loads((tmp_path / "out/tasks.json").read_text())
        if t["data"]["file"] == "0.png"
    )  # fmt: skip
    (result,) = task["predictions"][0]["result"]
    assert result["value"]["brushlabels"] == ["Car"]
    mask = decode_brush(result["value"]["rle"], (HEIGHT, WIDTH))
    assert mask[:, : WIDTH // 2].all() and not mask[:, WIDTH // 2 :].any()


def test_classes_are_a_table_and_choices(run, tmp_path):
    exported(run, tmp_path / "csv", "csv", "kind")
    source = CsvClasses(
        name="k", images=tmp_path / "csv/images", csv_file=tmp_path / "csv/classes.csv"
    )
    assert source.label_spaces["k"].classes == ("a",)  # "b" is never the most likely.
    exported(run, tmp_path / "ls", "label-studio", "kind")
    tasks = json.loads((tmp_path / "ls/tasks.json").read_text())
    assert [t["predictions"][0]["result"][0]["value"] for t in tasks] == [{"choices": ["a"]}] * 5


# ---- certainty ----------------------------------------------------------------------------------


def test_the_least_certain_images_come_first_and_may_be_all(run, tmp_path):
    exported(run, tmp_path / "all", "label-studio", "kind")
    rows = table(tmp_path / "all")
    assert [row["image"] for row in rows] == [f"{i}.png" for i in range(5)]
    assert [row["mean_score"] for row in rows] == ["0.5000", "0.6000", "0.7000", "0.8000", "0.9000"]
    found = exported(run, tmp_path / "two", "label-studio", "kind", least_certain=2)
    assert (found.num_images, found.num_labeled) == (2, 5) and len(table(tmp_path / "two")) == 5
    tasks = json.loads((tmp_path / "two/tasks.json").read_text())
    assert [task["data"]["file"] for task in tasks] == ["0.png", "1.png"]
    assert sorted(p.name for p in (tmp_path / "two/images").iterdir()) == ["0.png", "1.png"]
    originals = run.recipe.pools[0].source.file(0).parent
    for path in (tmp_path / "two/images").iterdir():
        assert not path.is_symlink() and path.read_bytes() == (originals / path.name).read_bytes()
    exported(run, tmp_path / "none", "label-studio", "kind", with_images=False)
    assert not (tmp_path / "none/images").exists()


def test_scores_are_those_at_or_above_the_threshold(run, tmp_path):
    exported(run, tmp_path / "out", "coco", "things", threshold=0.5)
    means = {row["image"]: row["mean_score"] for row in table(tmp_path / "out")}
    assert means == {
        "0.png": "0.7500", "1.png": "0.8000", "2.png": "", "3.png": "", "4.png": "0.7250",
    }  # fmt: skip
    exported(run, tmp_path / "map", "maps", "parts", threshold=0.8)
    means = {row["image"]: row["mean_score"] for row in table(tmp_path / "map")}
    assert means["3.png"] == "" and means["0.png"] == f"{int(0.9 * 255) / 255:.4f}"


def test_depth_has_no_certainty(run, tmp_path):
    with pytest.raises(UserError, match="least_certain=2: labels of kind 'metric' have no scores"):
        export(run, tmp_path / "x", format="maps", teacher="teacher_far", least_certain=2)
    with pytest.raises(UserError, match="least_certain=0: expected at least 1"):
        export(run, tmp_path / "x", format="coco", least_certain=0)
    exported(run, tmp_path / "out", "maps", "far")
    assert {row["certainty"] for row in table(tmp_path / "out")} == {""}


# ---- mistakes -----------------------------------------------------------------------------------


def test_nothing_is_overwritten(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    with pytest.raises(UserError, match="is not empty; give a new folder") as error:
        export(run, tmp_path / "out", format="coco")
    assert error.value.key == "to"
    with pytest.raises(UserError, match=r"mine\.txt is a file; give a new folder"):
        export(run, tmp_path / "out/mine.txt", format="coco")
    (tmp_path / "other.tmp").mkdir()
    with pytest.raises(UserError, match="another export writes to it, or was killed"):
        export(run, tmp_path / "other", format="coco")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["mine.txt"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"format": "voc"}, "format=voc; allowed are coco, yolo, maps, label-studio, csv"),
        (
            {"format": "coco", "teacher": "teacher_thing"},
            "format=coco has boxes and masks; teacher=teacher_thing; did you mean 'teacher_things'?",
        ),
        (
            {"format": "coco", "teacher": "teacher_far"},
            "format=coco has boxes and masks; teacher=teacher_far; did you mean 'teacher_things'?",
        ),
        (
            {"format": "maps"},
            "format=maps has maps of classes, depth and normals; 3 teachers have such labels; allowed "
            "are teacher_parts, teacher_far, teacher_facing",
        ),
        ({"format": "coco", "pool": "pile"}, "pool=pile; allowed are pool"),
    ],
)
def test_what_a_run_does_not_have(run, arguments, problem, tmp_path):
    with pytest.raises(UserError) as error:
        export(run, tmp_path / "x", **arguments)
    assert problem in str(error.value) and not list(tmp_path.iterdir())


def test_a_run_without_such_labels(run, tmp_path):
    few = dataclasses.replace(run.recipe, teachers=run.recipe.teachers[:1])
    with pytest.raises(UserError, match="has boxes and masks; no teacher of this run has such"):
        export(dataclasses.replace(run, recipe=few), tmp_path / "x", format="coco")


def test_labels_that_are_not_complete(tmp_path):
    run = labeled_run.make(tmp_path, heads=("kind",))
    with pytest.raises(UserError, match="has no complete labels of teacher 'teacher_things'"):
        export(run, tmp_path / "x", format="coco")


def test_an_image_that_has_changed_is_left_out(tmp_path, capsys):
    run = labeled_run.make(tmp_path, heads=("things",))
    reader = run.recipe.pools[0].source
    gone = type("Gone", (), {"is_gone": lambda self, i: i == 0})
    reader.is_gone = gone().is_gone
    found = export(run, tmp_path / "out", format="coco")
    assert found.num_labeled == 4 and "1 images are gone" in capsys.readouterr().err


def test_the_same_from_python(run, tmp_path):
    run.record()
    found = mk.export_labels(
        run.recipe, run.path, to=str(tmp_path / "out"), format="coco", threshold=0.7
    )
    assert found == Exported(path=tmp_path / "out", num_images=5, num_labeled=5)
    assert str(found) == f"5 of 5 labeled images: {tmp_path}/out"
    content = json.loads((tmp_path / "out/annotations.json").read_text())
    assert sorted(a["score"] for a in content["annotations"]) == [0.8, 0.9, 0.9]
