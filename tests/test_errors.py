"""What a user does wrong: one clear line, status 2, and nothing made."""

import errno
import json
import re

import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from PIL import Image

from must_keras import command, main

RECIPE = """
import pathlib

from must_keras.data.sources import CocoJson, DepthMaps, FolderPerClass, ImagesOnly, LabelMaps
from must_keras.data.splits import Splits, split_by_fraction
from must_keras.modeling.backbone import ResNet
from must_keras.config.recipe import Pool, Recipe, Student, Teacher
from must_keras.tasks import Classification, Depth, Detection, Segmentation
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW
from must_keras.training.config import TrainingConfig


def recipe(*, data: str, data_dir: str | None = None, steps: int = 1) -> Recipe:
    root = pathlib.Path(data)
    kinds = FolderPerClass(name="kinds", root=root / "kinds", head="kinds", classes=("a", "b"))
    boxes = CocoJson(
        name="boxes", images=root / "images", annotations=root / "boxes.json", head="boxes"
    )
    street = LabelMaps(
        name="street", images=root / "images", maps=root / "maps", head="street",
        classes=("road", "sky"),
    )
    far = DepthMaps(name="far", images=root / "images", depths=root / "depths", head="far")
    training = TrainingConfig(steps=steps, batch=2, learning_rate=1e-3, optimizer=AdamW())
    pairs = (
        (kinds, Classification(name="kinds", classes=("a", "b"))),
        (boxes, Detection(name="boxes", classes=("cat",))),
        (street, Segmentation(name="street", classes=("road", "sky"))),
        (far, Depth(name="far")),
    )
    return Recipe(
        name="mine",
        seed=0,
        network=Network(backbone=ResNet.small(), size=64, channels=16),
        teachers=tuple(
            Teacher(
                name=source.name, task=task, sets=split_by_fraction(source), training=training,
                loss_weight=1.0,
            )
            for source, task in pairs
        ),
        pools=(Pool(source=ImagesOnly(name="pool", root=root / "images")),),
        student=Student(training=training),
        transfers=(),
        starts=("random",),
    )
"""


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def home(tmp_path):
    """A folder with data that are as they should be, and a recipe for them."""
    data = tmp_path / "data"
    for i in range(6):
        photo = np.full((8, 10, 3), 40 * i, np.uint8)
        save(data / "images" / f"{i}.png", photo)
        save(data / "kinds" / "ab"[i % 2] / f"{i}.png", photo)
        save(data / "maps" / f"{i}.png", np.full((8, 10), i % 2, np.uint8))
        save(data / "depths" / f"{i}.png", np.full((8, 10), 2000, np.uint16))
    write_boxes(data, coco())
    (tmp_path / "mine.py").write_text(RECIPE)
    return tmp_path


def coco():
    return {
        "images": [{"id": i, "file_name": f"{i}.png", "height": 8, "width": 10} for i in range(6)],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": i, "image_id": i, "category_id": 1, "bbox": [1, 1, 5, 4]} for i in range(6)
        ],
    }


def write_boxes(data, content):
    (data / "boxes.json").write_text(json.dumps(content))


def run(home, capsys, **values):
    """(status, what stderr says last) of the program with these flags."""
    if not flags.FLAGS.is_parsed():
        flags.FLAGS(["main"])
    settings = {
        "experiment": f"{home / 'mine.py'}:data={home / 'data'}",
        "workdir": str(home / "run"),
        "strategy": "one",
    }
    with flagsaver.flagsaver(**(settings | values)):
        status = command._status(lambda: main.main(["main"]), flags.FLAGS)
    lines = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
    return status, lines


def spoiled(change):
    content = coco()
    change(content)
    return lambda data: write_boxes(data, content)


def other_classes(data):
    (data / "kinds" / "b").rename(data / "kinds" / "c")


def empty(folder):
    def spoil(data):
        for file in sorted((data / folder).rglob("*.png")):
            file.unlink()

    return spoil


def nothing_known(data):
    for file in (data / "depths").glob("*.png"):
        save(file, np.zeros((8, 10), np.uint16))


# {mistake: (how it is made, the facts of the message: file or source, key, value, what is allowed)}.
DATA = {
    "depths that know nothing": (nothing_known, ("source 'far", "head 'far'")),
    "no map": (empty("maps"), ("/maps",)),
    "a box outside in": (
        spoiled(lambda c: c["annotations"][2].update(bbox=[5, 5, -2, 3])),
        ("boxes.json", "annotation 2", "bbox", "[5, 5, -2, 3]"),
    ),
    "an empty folder": (empty("kinds"), ("/kinds",)),
    "no folder": (lambda d: (d / "maps").rename(d / "map"), ("/maps",)),
    "a missing file": (lambda d: (d / "boxes.json").unlink(), ("/boxes.json",)),
    "a folder that is no class": (other_classes, ("/kinds/c", "a, b")),
    "a class id out of range": (
        spoiled(lambda c: c["annotations"][2].update(category_id=7)),
        ("boxes.json", "annotation 2", "category 7"),
    ),
    "other classes than the head": (
        spoiled(lambda c: c["categories"][0].update(name="dog")),
        ("source 'boxes", "head 'boxes'", "cat, dog"),
    ),
    "a map's value out of range": (
        lambda d: save(d / "maps" / "3.png", np.full((8, 10), 9, np.uint8)),
        ("/maps/3.png", "9", "0-1"),
    ),
    "an annotation for an absent image": (
        spoiled(lambda c: c["annotations"][1].update(image_id=70)),
        ("boxes.json", "annotation 1", "image 70"),
    ),
    "an absent image": (
        spoiled(lambda c: c["images"][1].update(file_name="gone.png")),
        ("boxes.json", "image 1", "file_name", "'gone.png'", "/images"),
    ),
    "a map of another size": (
        lambda d: save(d / "maps" / "3.png", np.zeros((8, 9), np.uint8)),
        ("/maps/3.png", "9x8", "3.png", "10x8"),
    ),
    "a map without an image": (
        lambda d: save(d / "maps" / "77.png", np.zeros((8, 10), np.uint8)),
        ("/maps/77.png", "image 77"),
    ),
    "a depth in another unit": (
        lambda d: save(d / "depths" / "3.png", np.full((8, 10), 3, np.uint16)),
        ("/depths/3.png", "0.003 m", "depth_scale=0.001"),
    ),
    "JSON that is none": (lambda d: (d / "boxes.json").write_text("{"), ("boxes.json", "JSON")),
}


@pytest.mark.parametrize("mistake", DATA)
def test_mistakes_in_data(mistake, home, capsys):
    spoil, facts = DATA[mistake]
    spoil(home / "data")
    status, lines = run(home, capsys)
    assert status == 2 and len(lines) == 1
    assert all(fact in lines[0] for fact in facts), lines[0]
    assert not (home / "run").exists()


def no_pictures(data):
    for file in (data / "kinds").rglob("*.png"):
        file.write_bytes(b"no picture")


def links_that_lead_nowhere(data):
    for file in (data / "kinds").rglob("*.png"):
        file.unlink()
        file.symlink_to(data / "nowhere.png")


@pytest.mark.parametrize("spoil", [no_pictures, links_that_lead_nowhere])
def test_pictures_that_cannot_be_read(spoil, home, capsys):
    spoil(home / "data")
    status, (line,) = run(home, capsys)
    assert status == 3 and re.search(r"more than max_unreadable=0.1.*kinds/[ab]/\d.png", line)
    assert not (home / "run").exists()


FLAGS = {
    "an unknown recipe": ({"experiment": "folder"}, "did you mean 'folders'"),
    "a file that is no recipe": ({"experiment": "gone.py"}, "gone.py"),
    "an unknown argument": ({"experiment": "MINE,step=3"}, "did you mean 'steps'"),
    "an argument of another type": ({"experiment": "MINE,steps=many"}, "steps='many'"),
    "an unknown teacher's state": ({"stage": "status", "only": ["kind"]}, "did you mean 'kinds'"),
    "an unknown stage": ({"stage": "students"}, "--stage=students; did you mean 'student'"),
    "an unknown teacher": ({"only": ["kind"]}, "did you mean 'kinds'"),
    "an unknown strategy": ({"strategy": "tow"}, "--strategy=tow"),
    "a run that is none": ({"reuse": "."}, "--reuse=."),
}


def test_one_bad_map_among_many_shows_before_anything_is_made(home, capsys):
    for i in range(6, 60):
        save(home / "data" / "images" / f"{i}.png", np.full((8, 10, 3), 4 * i, np.uint8))
        save(home / "data" / "maps" / f"{i}.png", np.full((8, 10), i % 2, np.uint8))
        save(home / "data" / "depths" / f"{i}.png", np.full((8, 10), 2000, np.uint16))
    save(home / "data" / "maps" / "41.png", np.zeros((9, 10), np.uint8))
    status, lines = run(home, capsys)
    assert status == 2 and "/maps/41.png" in lines[0] and "10x9" in lines[0]
    assert not (home / "run").exists()


# {mistake: (text of the recipe, what stands there instead, the facts of the message)}.
RECIPES = {
    "an unknown field": ("threshold=None", "treshold=0.5", ("mine.py, line ", "treshold")),
    "one pool that is no tuple": ('"images")),),', '"images"))),', ("pools", "Pool")),
    "a set that is not split": (
        "sets=split_by_fraction(source)", "sets=source", ("sets", "Splits"),
    ),
    "an optimizer's name": ("optimizer=AdamW()", "optimizer='adamw'", ("optimizer", "Optimizer")),
    "a recipe that gives nothing": ("return Recipe(", "Recipe(", ("mine.py", "recipe(")),
    "a missing comma": ("seed=0,", "seed=0", ("mine.py, line ", "comma")),
    "an import of nothing": ("import pathlib", "import pathlip", ("mine.py, line 2", "pathlip")),
    "a start that is none": ('starts=("random",)', 'starts=("random")', ("starts", "str")),
    "a head with a space": ('name="kinds", classes', 'name="my kinds", classes', ("'my kinds'",)),
}  # fmt: skip


@pytest.mark.parametrize("mistake", RECIPES)
@pytest.mark.parametrize("stage", ["all", "status"])
def test_mistakes_in_recipes(mistake, stage, home, capsys):
    was, now, facts = RECIPES[mistake]
    text = RECIPE.replace("loss_weight=1.0,", "loss_weight=1.0, threshold=None,")
    assert was in text
    (home / "mine.py").write_text(text.replace(was, now))
    status, lines = run(home, capsys, stage=stage)
    assert status == 2 and len(lines) == 1, lines
    assert all(fact in lines[0] for fact in facts), lines[0]
    assert not (home / "run").exists()


@pytest.mark.parametrize("mistake", FLAGS)
def test_mistakes_in_flags(mistake, home, capsys):
    values, message = FLAGS[mistake]
    mine = f"{home / 'mine.py'}:data={home / 'data'}"
    values = {k: v.replace("MINE", mine) if isinstance(v, str) else v for k, v in values.items()}
    status, lines = run(home, capsys, **values)
    assert status == 2 and len(lines) == 1 and message in lines[0], lines
    assert not (home / "run").exists()


def test_a_workdir_that_is_a_file(home, capsys):
    (home / "run").write_text("mine")
    status, (line,) = run(home, capsys)
    assert status == 2 and str(home / "run") in line
    assert (home / "run").read_text() == "mine"


def test_a_workdir_that_cannot_be_made(home, capsys):
    status, (line,) = run(home, capsys, workdir="/proc/must_keras")
    assert status == 2 and "/proc/must_keras" in line


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.EROFS])
def test_a_disk_that_takes_nothing(number, home, capsys, monkeypatch):
    def full(*_):
        raise OSError(number, "reason", "run/run.json")

    monkeypatch.setattr("must_keras.runs.run.write_json", full)
    status, lines = run(home, capsys)
    assert status == 2 and lines == ["error: run/run.json: reason"]


def test_data_as_they_should_be(home, capsys):
    status, lines = run(home, capsys, stage="status")
    assert status == 0 and not lines and not (home / "run").exists()
