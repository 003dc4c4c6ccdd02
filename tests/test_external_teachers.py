"""experiments/external_teachers.py and its pages: teachers whose right answers are known."""

import json
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

import fenced_blocks
from fakes import published_models
from making import make
from must_keras import experiment, tasks
from must_keras.config.recipe import ExternalTeacher, ImportedLabels
from must_keras.data import sources
from must_keras.data.io.text_files import read_class_names
from must_keras.data.sources import ImagesOnly
from must_keras.inference.external import ExternalModel, ExternalPredictor
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.run import Run
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation

ROOT = pathlib.Path(__file__).resolve().parents[1]
# (height, width) by turns, and a bright rectangle (top, left, bottom, right) in each picture.
SIZES = [(40, 60), (60, 40), (48, 60)]
COUNT = 9
TINY = {"size": "64", "depth_size": "128", "detector_size": "240", "steps": "2"}


def place(i: int) -> tuple[int, int, int, int]:
    return 8 + i, 10 + i, 24 + i, 30


def picture(i: int) -> np.ndarray:
    pixels = np.full((*SIZES[i % 3], 3), (20, 30, 40), np.uint8)
    top, left, bottom, right = place(i)
    pixels[top:bottom, left:right] = (250, 240, 230)
    return pixels


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    root = tmp_path_factory.mktemp("home")
    for i in range(COUNT):
        for folder in ("images/deep", f"kinds/{'ab'[i % 2]}"):
            path = root / folder / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(i)).save(path)
    height, width = np.transpose([SIZES[i % 3] for i in range(COUNT)]).tolist()
    content = {
        "images": [
            {"id": i, "file_name": f"deep/{i}.png", "height": height[i], "width": width[i]}
            for i in range(6)
        ],
        "categories": [{"id": 3, "name": "lamp"}],
        # x, y, width, height: the whole upper half of the even pictures.
        "annotations": [
            {"id": i, "image_id": i, "category_id": 3, "bbox": [0, 0, width[i], height[i] / 2]}
            for i in (0, 2, 4)
        ],
    }
    (root / "boxes.json").write_text(json.dumps(content))
    (root / "detector_classes.txt").write_text("dark\nbright\n")
    published_models.midas(root / "midas.keras", 128)
    published_models.detector(root / "detector")
    paths = {"data": root, "depth_model": root / "midas.keras", "detector": root / "detector"}
    return TINY | {key: str(path) for key, path in paths.items()}


def test_three_teachers_label_a_folder(arguments, tmp_path):
    recipe = experiment.load("external_teachers", arguments, data_dir=None)
    run = Run(recipe=recipe, path=tmp_path)
    make("teacher", run)
    make("label", run)
    pool = recipe.pools[0].source
    assert isinstance(pool, ImagesOnly) and len(pool) == COUNT
    labels = {}
    for item in recipe.teachers:
        column = PseudoLabelReader(run.labels(item.name, "images").folder, pool, item.task)
        assert ("origin" in column.ledger) == (item.name == "elsewhere")
        labels[item.name] = [
            None if column.is_empty(i) else item.task.records.to_label(column.read(i), None)
            for i in range(COUNT)
        ]
    for i in range(COUNT):
        height, width = SIZES[i % 3]
        top, left, bottom, right = place(i)
        box = [top / height, left / width, bottom / height, right / width]
        found = labels["detector"][i]
        np.testing.assert_allclose(found["boxes"], [box], atol=1e-6)
        assert found["classes"].tolist() == [1]
        depth = labels["midas"][i]["depth"]
        # 128 for the longer side of 60, and no padding.
        shape = tuple(round(side * 128 / 60) for side in (height, width))
        assert np.abs(np.subtract(depth.shape, shape)).max() <= 1
        row, column = (
            int((a + b) / 2 * cells / side)
            for a, b, cells, side in zip(
                (top, left), (bottom, right), depth.shape, (height, width), strict=True
            )
        )
        np.testing.assert_allclose(depth[row, column], 720 / 3 / 255, atol=1e-3)
        np.testing.assert_allclose(depth[0, 0], 90 / 3 / 255, atol=1e-3)
        found = labels["elsewhere"][i]
        if i >= 6:
            assert found is None
        else:
            assert found["boxes"].tolist() == ([[0, 0, 0.5, 1]] if i % 2 == 0 else [])
    assert {weight.source for weight in recipe.loss_weights().values()} == {"given"}


# ---- the pages in docs/how_to --------------------------------------------------------------------

NAME = "docs/how_to/external_teachers.md"
PAGE = (ROOT / NAME).read_text()
NAMES = vars(sources) | vars(tasks) | {
    "read_class_names": read_class_names,
    "ExternalTeacher": ExternalTeacher,
    "ExternalModel": ExternalModel,
    "ImportedLabels": ImportedLabels,
}  # fmt: skip


def blocks(kind: str) -> list[str]:
    return [block.code for block in fenced_blocks.blocks("python", kind)]


@pytest.fixture
def home(arguments, tmp_path, monkeypatch):
    """What the page's examples name."""
    data = pathlib.Path(arguments["data"])
    shutil.copytree(data / "images" / "deep", tmp_path / "images" / "deep")
    shutil.copy(data / "boxes.json", tmp_path)
    found = [{"image_id": 2, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}]
    (tmp_path / "results.json").write_text(json.dumps(found))
    for i in range(COUNT):
        pixels = (picture(i)[..., 0] > 100).astype(np.uint8)
        (tmp_path / "maps" / "deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "maps" / "deep" / f"{i}.png")
    (tmp_path / "classes.txt").write_text("elm\nfir\noak\n")
    image = keras.Input((64, 64, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(image)
    keras.Model(image, keras.layers.Dense(3)(pooled)).save(tmp_path / "classifier.keras")
    published_models.midas(tmp_path / "midas.keras", 256)
    published_models.midas_of_tf_hub(tmp_path / "midas_v2_1_small", 256)
    published_models.detector(tmp_path / "detector" / "saved_model")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_teacher_of_the_page_answers(home):
    found = [eval(code, dict(NAMES)) for code in blocks("teacher")]
    assert [t.name for t in found] == ["imagenet", "midas", "midas", "detector", "detector"]
    for item in found:
        ExternalPredictor(item.model, item.task, (64, 64)).check()


def test_all_labels_of_the_page_come_in(home):
    pool = ImagesOnly(name="pool", root="images")
    found = [eval(code, dict(NAMES)) for code in blocks("labels")]
    assert [item.has_scores for item in found] == [False, True, False]
    for item in found:
        item.check_pools([pool])
        record = item.record("deep/2.png")
        assert record.keys() == item.task.records.spec().keys()


def test_the_page_names_every_form_and_its_command_is_one(arguments):
    kinds = (Classification, Detection, Segmentation)
    heads = [kind(name="x", classes=("a", "b")) for kind in kinds]
    heads += [Depth(name="x"), Normals(name="x")]
    forms = {form for head in heads for form in head.external.forms}
    assert len(forms) > len(heads)
    assert all(f'`"{form}"`' in PAGE for form in forms)
    (command,) = re.findall(r"^python -m must_keras\.main --experiment=(\S+)$", PAGE, re.M)
    name, given = experiment.parse(command)
    assert given.keys() <= arguments.keys()
    assert experiment.load(name, arguments, data_dir=None).name == name


# ---- the whole recipe ---------------------------------------------------------------------------


@pytest.mark.slow
def test_the_recipe_goes_through_every_stage(arguments, tmp_path):
    told = ",".join(f"{key}={value}" for key, value in arguments.items())

    def run(*flags: str) -> str:
        answer = subprocess.run(
            [
                sys.executable, "-m", "must_keras.main", f"--workdir={tmp_path / 'run'}",
                f"--experiment=external_teachers:{told},transfer_steps=2", *flags,
            ],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr[-3000:]
        return answer.stdout

    run("--stage=teacher")
    said = run("--stage=label", "--plan")
    assert "labels of about 6 of 9 images come from elsewhere" in said
    assert "images: 9 images, about" in said and "for midas, detector" in said
    run()
    assert run("--stage=label", "--verify").count("9 records, as they were written") == 3
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert set(report["labels"]) == {"midas", "detector", "elsewhere"}
    assert report["labels"]["elsewhere"]["images"]["labelled"] == 6
    assert {row["start"] for row in report["transfers"]} == {"random", "student"}
    assert report["student"]["tasks"].keys() == {"depth", "things", "elsewhere"}
    assert (tmp_path / "run" / "export" / "backbone.keras").is_file()
    assert "all stages are complete" in run("--stage=status")
