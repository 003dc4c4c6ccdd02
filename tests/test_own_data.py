"""The tutorial of own data and the page of sources: every recipe, command and source is run."""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile

import numpy as np
import OpenEXR
import pyarrow
import pytest
from PIL import Image
from pyarrow import parquet

import fenced_blocks
from fenced_blocks import ROOT
from must_keras import experiment
from must_keras.data import sources, splits
from must_keras.data.io.text_files import read_class_names

TUTORIAL = "docs/tutorials/own_data.md"
# In this order: the pool grows at last.
PAGES = (TUTORIAL, "docs/how_to/label_a_pool.md", "docs/how_to/growing_pool.md")
NAMES = vars(sources) | vars(splits) | {"read_class_names": read_class_names}
HEIGHT, WIDTH = 48, 64
RANDOM = np.random.default_rng(0)
SCENES = {
    "scene.csv": "file,beach,people\n0.jpg,1,0\n1.jpg,,1\n",
    "findings.csv": "file,labels\n0.jpg,Edema|Mass\n1.jpg,No Finding\n",
}


def blocks(kind: str) -> list[str]:
    return [block.code for block in fenced_blocks.blocks("python", kind)]


def save(path: pathlib.Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def photo(path: pathlib.Path) -> None:
    save(path, RANDOM.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))


def coco(images: pathlib.Path, names: list[str], classes: list[str]) -> dict:
    entries = [
        {"id": i, "file_name": name, "height": HEIGHT, "width": WIDTH}
        for i, name in enumerate(names)
    ]
    boxes = [
        {"id": i, "image_id": i, "category_id": 1 + i % len(classes), "bbox": [8, 8, 30, 24],
         "segmentation": [[8, 8, 38, 8, 38, 32, 8, 32]], "iscrowd": 0}
        for i in range(len(names))
    ]  # fmt: skip
    for name in names:
        photo(images / name)
    return {
        "images": entries,
        "annotations": boxes,
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(classes)],
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with the data of every form that the page names."""
    home = tmp_path_factory.mktemp("home")
    for root in (home, home / "garden"):
        for i in range(12):
            photo(root / "species" / ("oak", "elm", "fir")[i % 3] / f"{i}.{('jpg', 'PNG')[i % 2]}")
            photo(root / "trees" / ("old", "young")[i % 2] / f"{i}.jpg")
        (root / "fruit").mkdir()
        classes = ["apple", "pear", "cherry"]
        content = coco(root / "fruit" / "images", [f"{i}.jpg" for i in range(9)], classes)
        (root / "fruit" / "instances.json").write_text(json.dumps(content))
        for i in range(10):
            photo(root / "depth" / "rgb" / f"{i:03}.jpg")
            meters = RANDOM.uniform(0.5, 4, (HEIGHT, WIDTH)).astype(np.float32)
            save(root / "depth" / "depth" / f"{i:03}.png", (meters * 1000).astype(np.uint16))
            for kind in ("npy", "exr"):
                (root / "depth" / kind).mkdir(exist_ok=True)
            np.save(root / "depth" / "npy" / f"{i:03}.npy", meters)
            header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
            with OpenEXR.File(header, {"Y": meters}) as file:
                file.write(str(root / "depth" / "exr" / f"{i:03}.exr"))
            towards = np.tile(np.uint8([128, 128, 0]), (HEIGHT, WIDTH, 1))
            save(root / "depth" / "normals" / f"{i:03}.png", towards)
    for i in range(6):
        photo(home / "garden" / "pile" / "deep" / f"{i}.webp")
        photo(home / "photos" / f"{i}.jpg")
        photo(home / "street" / "images" / f"{i}.jpg")
        classes = RANDOM.integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint8)
        colors = np.uint8([(128, 64, 128), (70, 130, 180), (0, 0, 142), (0, 0, 0)])
        save(home / "street" / "colors" / f"{i}.png", colors[np.where(classes == 2, 3, classes)])
        save(
            home / "street" / "maps" / f"{i}.png", np.where(classes == 2, 11, classes).astype("u1")
        )
    for i in range(6):
        photo(home / "parts" / ("train", "val", "test")[i % 3] / ("oak", "elm")[i % 2] / f"{i}.jpg")
    photo(home / "scenes" / "beach" / "1.jpg")
    for tag in ("people", "none"):
        (home / "scenes" / tag).mkdir()
    shutil.copy(home / "scenes" / "beach" / "1.jpg", home / "scenes" / "people" / "1.jpg")
    photo(home / "scenes" / "none" / "2.jpg")
    save(home / "photo_maps" / "3.png", np.zeros((HEIGHT, WIDTH), np.uint8))
    (home / "classes.txt").write_text("elm\nfir\noak\n")
    (home / "tags.csv").write_text("file,species\n0.jpg,oak\n1.jpg,elm\n")
    for name, lines in SCENES.items():
        (home / name).write_text(lines)
    (home / "lists").mkdir()
    for name, content in (("train", "0\n1\n2\n3\n"), ("val", "4.jpg\n"), ("test", "5.jpg\n")):
        (home / "lists" / f"{name}.txt").write_text(content)
    photo(home / "pets" / "images" / "1.jpg")
    (home / "pets" / "labels").mkdir()
    (home / "pets" / "labels" / "1.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    (home / "pets" / "data.yaml").write_text("names: [cat]\ntrain: images\n")
    size = {"original_width": WIDTH, "original_height": HEIGHT}
    value = {"x": 1, "y": 1, "width": 9, "height": 9, "rectanglelabels": ["cat"]}
    results = [{"type": "rectanglelabels", "value": value, **size}]
    task = {"id": 1, "data": {"image": "1.jpg"}, "annotations": [{"result": results}]}
    (home / "pets" / "export.json").write_text(json.dumps([task]))
    (home / "beans").mkdir()
    rows = {"image": [{"bytes": (home / "photos" / "1.jpg").read_bytes()}], "label": ["rust"]}
    parquet.write_table(pyarrow.table(rows), home / "beans" / "a.parquet")
    voc = home / "voc"
    photo(voc / "JPEGImages" / "1.jpg")
    (voc / "Annotations").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    (voc / "Annotations" / "1.xml").write_text(
        f"<annotation><object><name>ace</name>{box}</object></annotation>"
    )
    (voc / "ImageSets" / "Main").mkdir(parents=True)
    (voc / "ImageSets" / "Main" / "train.txt").write_text("1\n")
    return home


@pytest.mark.parametrize("code", blocks("source"), ids=lambda code: code.split("(")[0])
def test_every_source_reads(code, home, monkeypatch):
    monkeypatch.chdir(home)
    source = eval(code, dict(NAMES))
    assert len(source) > 0 and source.label_spaces
    assert any(source.labels(i) for i in range(len(source)))
    assert source.image(0).shape == (HEIGHT, WIDTH, 3)


def test_a_pool_in_archives_reads(tmp_path, home, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").mkdir()
    with tarfile.open("shards/a.tar", "w") as tar:
        tar.add(home / "photos" / "1.jpg", "1.jpg")
    (code,) = blocks("pool")
    assert eval(code, dict(NAMES)).image(0).shape == (HEIGHT, WIDTH, 3)


def test_there_is_a_source_for_every_form():
    named = {code.split("(")[0] for code in blocks("source")}
    forms = {
        "FolderPerClass", "CsvClasses", "CsvTags", "FolderPerTag", "CocoJson", "VocXml", "YoloTxt", "LabelStudioJson", "LabelMaps", "DepthMaps",
        "NormalMaps", "ParquetImages", "Concatenated", "Joined", "Relabeled",
    }  # fmt: skip
    assert named == forms


@pytest.mark.parametrize("code", blocks("splits"), ids=lambda code: code.split("(")[0])
def test_every_split_is_a_split(code, home, monkeypatch):
    monkeypatch.chdir(home)
    photos = sources.ImagesOnly(name="photos", root="photos")
    other = sources.ImagesOnly(name="others", root="street/images")
    found = eval(code, dict(NAMES) | {"photos": photos, "other_photos": other})
    parts = [
        {(part.name == "others", part.image_id(i)) for i in range(len(part))}
        for part in (found.train, found.validation, found.test)
    ]
    assert all(parts) and not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])


def test_names_of_the_tfds_example_are_there():
    (code,) = blocks("tfds")
    for name in re.findall(r"\b(\w+)\(", code):
        assert name in NAMES, name


# ---- the recipe and its commands ----------------------------------------------------------------


@pytest.fixture(scope="module")
def garden(home):
    (code,) = blocks("recipe")
    (home / "garden.py").write_text(code)
    return home / "garden.py"


def test_the_shortest_recipe_is_one(home, monkeypatch):
    monkeypatch.chdir(home)
    (code,) = blocks("shortest")
    pathlib.Path("shortest.py").write_text(code)
    recipe = experiment.load("shortest.py", {"data": "garden"}, data_dir=None)
    assert [(t.name, t.task.kind) for t in recipe.teachers] == [
        ("fruit", "boxes"), ("species", "classes"),
    ]  # fmt: skip
    assert recipe.teacher("species").task.classes == ("elm", "fir", "oak")
    assert [pool.source.name for pool in recipe.pools] == ["pile"]
    lines = code.splitlines()
    assert len(lines) <= 20 and [line for line in lines if "import" in line] == lines[:1]


def commands() -> list[str]:
    """The commands of the pages, as modules of Python."""
    found = [
        command.replace("must-keras", "python -m must_keras.cli")
        for page in PAGES
        for block in fenced_blocks.blocks("sh", "garden", page)
        for command in block.commands()
    ]
    return [command.removeprefix("python ") for command in found]


def test_the_recipe_is_one(garden, home, monkeypatch):
    monkeypatch.chdir(home)
    recipe = experiment.load("garden.py", {"data": "garden"}, data_dir=None)
    assert [t.name for t in recipe.teachers] == ["species", "fruit", "far"]
    assert len(commands()) == 9


@pytest.mark.slow
def test_the_commands_take_a_newcomer_to_a_report(garden, home):
    def run(command):
        # Four steps a training run and small images: every file is read, nothing is learned.
        tiny = command.replace("data=garden", "data=garden,steps=4,size=64")
        if "<8 digits>" in tiny:
            found = next((home / "runs").glob("garden-*")).relative_to(home)
            tiny = tiny.replace("runs/garden-<8 digits>", str(found))
        answer = subprocess.run(
            [sys.executable, *tiny.split()],
            cwd=home, capture_output=True, text=True, check=False,
            env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(home)},
        )  # fmt: skip
        assert answer.returncode == 0, f"{tiny}\n{answer.stderr[-3000:]}"
        return answer.stdout

    *first, grow = commands()
    for command in first:
        run(command)
    (run_folder,) = (home / "runs").glob("garden-*")
    report = json.loads((run_folder / "report.json").read_text())
    assert set(report["teachers"]) == {"species", "fruit", "far"}
    assert {row["start"] for row in report["transfers"]} == {"random", "student"}
    assert (run_folder / "report.html").is_file()
    assert len((home / "runs" / "predicted" / "predictions.jsonl").read_text().splitlines()) == 6
    # The pile grows: another run takes all that is the same, and labels what is new.
    photo(home / "garden" / "pile" / "new.jpg")
    said = run(f"{grow} --stage=label")
    assert "pile: 1 new images, pile_block2" in said
    made = [line for line in said.splitlines() if line.startswith("labels of") and "images" in line]
    assert len(made) == 3 and all("pile_block2: " in line for line in made), said
