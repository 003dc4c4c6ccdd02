"""experiments/startup.py: a fifth of the target is unlabeled, the rest is for episodes."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fakes import public_datasets
from must_keras import experiment
from must_keras.errors import UserError
from must_keras.training.initialization import FromScratch, FromTeacher

CLASSES = ("cat", "dog", "frog")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A target of three classes with ten images each, a folder for each class."""
    home, random = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    for name in CLASSES:
        for number in range(10):
            path = home / "photos" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    return home


def load(home, **arguments):
    given = {"target": str(home / "photos"), "ways": "3", "queries": "2", "shots": "1+3"}
    return experiment.load("startup", given | arguments, data_dir=str(home / "tfds"))


def ids(source) -> set[str]:
    return {source.image_id(index) for index in range(len(source))}


def test_the_target_is_cut_in_an_unlabeled_fifth_and_the_rest(home):
    recipe = load(home)
    (pool,), (transfer,) = recipe.pools, recipe.transfers
    unlabeled, rest = ids(pool.source), ids(transfer.sets.test)
    assert len(unlabeled) == 6 and len(rest) == 24 and not unlabeled & rest
    assert ids(transfer.sets.train) == unlabeled
    assert not pool.source.label_spaces and pool.source.labels(0) == {}
    other = load(home, data_seed="1")
    assert ids(other.pools[0].source) != unlabeled
    assert ids(load(home, seed="1").pools[0].source) == unlabeled


def test_the_student_begins_with_the_teacher_and_learns_three_losses(home):
    recipe = load(home)
    student, (teacher,) = recipe.student, recipe.teachers
    assert student.start == FromTeacher("source") and student.equal_sources and student.union
    # Each batch is of both domains, half and half: twice their mean is the sum of both losses.
    assert teacher.loss_weight == 2.0 and not teacher.task.hard, "the distribution is the label"
    (contrast,) = student.self_labeled
    assert contrast.loss_weight == 1.0 and contrast.task.temperature == 1.0
    assert contrast.sources == (recipe.pools[0].source.name,)
    assert recipe.selfsup[0].name == "simclr" and recipe.selfsup[0].tasks == (contrast,)
    assert [str(p) for p in recipe.protocols] == ["episodes-fpn-1", "episodes-fpn-3"]


def test_a_student_without_one_of_its_parts(home):
    assert load(home, student_start="random").student.start == FromScratch()
    assert not load(home, contrast="false").student.self_labeled
    alone = load(home, labels="false")
    (teacher,) = alone.teachers
    assert [s.name for s in alone.sources_labeled_by(teacher)] == [] and teacher.loss_weight == 1.0


def test_a_source_of_folders(home):
    recipe = load(home, source=str(home / "photos"), target="digits")
    sets = recipe.teachers[0].sets
    assert [len(part) for part in (sets.train, sets.validation, sets.test)] == [24, 3, 3]
    assert recipe.teachers[0].task.classes == CLASSES


def test_a_far_set_of_tfds(tmp_path):
    public_datasets.mocked("eurosat/rgb", tmp_path)
    recipe = experiment.load("startup", {"target": "eurosat"}, data_dir=str(tmp_path))
    assert len(recipe.transfers[0].task.classes) == 10
    assert len(recipe.pools[0].source) == 2 and len(recipe.transfers[0].sets.test) == 8


def test_archives_and_the_published_lists(home, tmp_path):
    names = [f"ISIC_{number}" for number in range(6)]
    images, table = (tmp_path / f"ISIC2018_Task3_Training_{n}" for n in ("Input", "GroundTruth"))
    images.mkdir()
    for number, name in enumerate(names):
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(images / f"{name}.jpg")
    table.mkdir()
    rows = [f"{name},{','.join('01'[k == i] for k in range(7))}" for i, name in enumerate(names)]
    header = "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC"
    (table / f"{table.name}.csv").write_text("\n".join((header, *rows)))
    for file, listed in (("unlabeled.csv", names[:2]), ("rest.csv", names[2:])):
        (tmp_path / file).write_text("\n".join(("img_path", *listed)))
    lists = {key: str(tmp_path / f"{key}.csv") for key in ("unlabeled", "rest")}
    recipe = load(home, target="isic", data=str(tmp_path), **lists)
    assert ids(recipe.pools[0].source) == {"ISIC_0.jpg", "ISIC_1.jpg"}
    assert len(recipe.transfers[0].sets.test) == 4


def test_what_is_missing_is_named(home):
    with pytest.raises(UserError, match="data=None: belongs to the targets isic and chest_xray"):
        load(home, target="isic")
    with pytest.raises(UserError, match="unlabeled and rest belong together"):
        load(home, unlabeled="a.csv")


@pytest.mark.slow
def test_the_whole_method_compares_features_on_episodes(home, tmp_path):
    arguments = (
        f"startup:target='{home / 'photos'}',images=40,batch=8,teacher_steps=2,student_steps=2,"
        "ways=3,queries=2,shots=1,episodes=4"
    )
    command = [sys.executable, "-m", "must_keras.main", f"--experiment={arguments}"]
    command += [f"--workdir={tmp_path / 'run'}", f"--data_dir={home / 'tfds'}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    starts = [row["start"] for row in report["transfers"]]
    assert starts == ["random", "teacher-source", "simclr", "student"]
    assert all(row["episodes"]["count"] == 4 and row["shots"] == 1 for row in report["transfers"])
    assert "teachers/source/model.keras (backbone)" in answer.stdout
    assert "simclr: starts from scratch" in answer.stdout
