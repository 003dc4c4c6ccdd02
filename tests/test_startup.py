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
    """A target of three classes with ten images each, in the folders that the recipe names."""
    home, random = tmp_path_factory.mktemp("home"), np.random.default_rng(0)
    for name in CLASSES:
        for number in range(10):
            path = home / "cls_cifar10" / "train" / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (32, 32, 3), np.uint8)).save(path)
    return home


def load(home, **arguments):
    given = {"target": "cifar10", "data": str(home), "ways": "3", "queries": "2", "shots": "1+3"}
    return experiment.load("startup", given | arguments, data_dir=str(home / "tfds"))


def ids(source) -> set[str]:
    return {source.image_id(index) for index in range(len(source))}


def test_the_target_is_cut_in_an_unlabeled_fifth_and_the_rest(home):
    recipe = load(home)
    (pool,), (transfer,) = recipe.pools, recipe.transfers
    unlabeled, rest = ids(pool.source), ids(transfer.sets.test)
    assert len(unlabeled) == 6 and len(rest) == 24 and not unlabeled & rest
    assert ids(transfer.sets.train) | ids(transfer.sets.validation) == unlabeled
    assert not pool.source.label_spaces and pool.source.labels(0) == {}
    other = load(home, data_seed="1")
    assert ids(other.pools[0].source) != unlabeled
    assert ids(load(home, seed="1").pools[0].source) == unlabeled


def test_the_student_begins_with_the_teacher_and_sees_both_domains_alike(home):
    student = load(home).student
    assert student.start == FromTeacher("source") and student.equal_sources and student.union
    assert load(home, student_start="random").student.start == FromScratch()
    recipe = load(home)
    assert recipe.start_names == ("random", "teacher-source", "student")
    assert [str(p) for p in recipe.protocols] == ["episodes-fpn-1", "episodes-fpn-3"]
    assert not recipe.teachers[0].task.hard, "the whole distribution is the label"


def test_a_far_set_of_tfds(tmp_path):
    public_datasets.mocked("eurosat/rgb", tmp_path)
    recipe = experiment.load("startup", {"target": "eurosat"}, data_dir=str(tmp_path))
    assert len(recipe.transfers[0].task.classes) == 10
    assert len(recipe.pools[0].source) == 2 and len(recipe.transfers[0].sets.test) == 8


def test_what_is_missing_is_named(home, monkeypatch):
    with pytest.raises(UserError, match=r"data='': it is the folder that holds cls_cifar10/train"):
        load(home, data="")
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(UserError, match="needs scikit-learn: python -m pip install scikit-learn"):
        load(home, target="digits")


def test_digits_are_gray_images_of_ten_classes():
    pytest.importorskip("sklearn")
    recipe = experiment.load("startup", {}, data_dir=None)
    far = recipe.transfers[0].sets.test
    assert len(far) + len(recipe.pools[0].source) == 1797
    image = far.image(0)
    assert (
        image.shape == (8, 8, 3)
        and image.dtype == np.uint8
        and (image[..., 0] == image[..., 2]).all()
    )
    assert image.max() > 200 and far.labels(0)["target"]["probabilities"].sum() == 1.0


@pytest.mark.slow
def test_the_whole_method_compares_features_on_episodes(home, tmp_path):
    arguments = (
        f"startup:target=cifar10,data='{home}',images=40,batch=8,teacher_steps=2,student_steps=2,"
        "ways=3,queries=2,shots=1,episodes=4,starts=random+teacher-source+simclr+student"
    )
    command = [sys.executable, "-m", "must_keras.main", f"--experiment={arguments}"]
    command += [f"--workdir={tmp_path / 'run'}", f"--data_dir={home / 'tfds'}"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    starts = [row["start"] for row in report["transfers"]]
    assert starts == ["random", "teacher-source", "simclr", "student"]
    assert all(row["episodes"]["count"] == 4 and row["shots"] == 1 for row in report["transfers"])
    assert (
        "starts from" in answer.stdout and "teachers/source/model.keras (backbone)" in answer.stdout
    )
