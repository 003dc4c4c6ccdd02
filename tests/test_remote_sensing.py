"""experiments/remote_sensing.py: which sets are upstream and downstream, and the whole of it."""

import json
import subprocess
import sys

import pytest

from fakes import public_datasets
from must_keras import experiment
from must_keras.config.transfers import Protocol
from must_keras.errors import UserError
from must_keras.modeling.backbone import ResNet
from must_keras.tasks import Tags


def load(**arguments):
    return experiment.load("remote_sensing", arguments, data_dir=None)


def test_one_upstream_and_two_downstream_sets_with_100_1000_and_all_samples():
    recipe = load()
    assert [t.name for t in recipe.teachers] == ["gazetteer"]
    assert [t.name for t in recipe.transfers] == ["on_suburb", "on_harvest"]
    assert recipe.start_names == ("random", "teacher-gazetteer", "student")
    sizes = [(p.samples, p.shots) for p in recipe.protocols]
    assert sizes == [(100, None), (1000, None), (None, None)]
    assert recipe.protocols[0] == Protocol(neck="backbone", samples=100)
    assert all(not transfer.aligned for transfer in recipe.transfers)


def test_all_sets_are_a_matrix_whose_diagonal_is_marked():
    recipe = load(sets="all")
    names = ["gazetteer", "suburb", "harvest", "zones", "mosaic"]
    assert [t.name for t in recipe.teachers] == names
    assert [t.name for t in recipe.transfers] == [f"on_{name}" for name in names]
    for name, transfer in zip(names, recipe.transfers, strict=True):
        assert transfer.aligned == {f"teacher-{name}": "set", "student": "set"}
        assert recipe.alignment(transfer, "teacher-gazetteer") in (
            ("set",) if name == "gazetteer" else ("task", "none")
        )
    assert isinstance(recipe.transfers[-1].task, Tags)


def test_a_student_of_all_other_sets():
    recipe = load(sets="all", upstream="suburb+harvest+zones+mosaic")
    (other,) = (t for t in recipe.transfers if not t.aligned)
    assert other.name == "on_gazetteer" and len(recipe.transfers) == 5


def test_public_sets_by_tfds_with_their_published_splits(tmp_path):
    for name in ("eurosat/rgb", "bigearthnet/rgb"):
        public_datasets.mocked(name, tmp_path)
    given = {"collection": "public", "sets": "eurosat+bigearthnet", "samples": "3+none"}
    recipe = experiment.load("remote_sensing", given, data_dir=str(tmp_path))
    assert [t.name for t in recipe.teachers] == ["eurosat"] and not recipe.pools
    (transfer,) = recipe.transfers
    assert isinstance(transfer.task, Tags) and len(transfer.task.classes) == 43
    assert [len(s) for s in vars(transfer.sets).values()] == [6, 2, 2]


def test_a_checkpoint_is_a_start_and_begins_the_teachers(tmp_path):
    ResNet.small().build((64, 64), {}).save(tmp_path / "backbone.keras")
    recipe = load(checkpoint=str(tmp_path / "backbone.keras"))
    assert recipe.start_names == ("random", "checkpoint", "teacher-gazetteer", "student")
    assert str(recipe.teachers[0].start) == "the backbone's own weights"
    random = load(checkpoint=str(tmp_path / "backbone.keras"), upstream_start="random")
    assert str(random.teachers[0].start) == str(random.student.start) == "scratch"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sets": "suburb+town"}, "collection=synthetic: sets=town; .*allowed are gazetteer"),
        ({"sets": "suburb"}, "sets='suburb': .*at least two"),
        ({"sets": "suburb+zones", "upstream": "harvest"}, "upstream=harvest; .*suburb, zones"),
        ({"samples": "5000"}, "'on_suburb': samples=5000: .* 2000 labeled images; lower it"),
        ({"checkpoint": "a", "pretrained": "resnet50"}, "checkpoint='a': .*give one of them"),
    ],
)
def test_arguments_that_do_not_fit(arguments, words):
    with pytest.raises(UserError, match=words):
        load(**arguments)


@pytest.mark.slow
def test_the_whole_matrix_prints_its_tables(tmp_path):
    arguments = (
        "remote_sensing:sets=suburb+mosaic,upstream=suburb+mosaic,images=40,test_images=20,"
        "pool_images=8,samples=20+none,teacher_steps=2,student_steps=2,transfer_steps=1"
    )
    command = [sys.executable, "-m", "must_keras.main", f"--experiment={arguments}"]
    command.append(f"--workdir={tmp_path / 'run'}")
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-3000:]
    rows = json.loads((tmp_path / "run" / "report.json").read_text())["transfers"]
    # Two sets, two sizes, and random weights, both teachers and the student.
    assert len(rows) == 16
    assert {(r.get("samples"), r["images"]) for r in rows} == {(20, 20), (None, 40)}
    assert {r["metric"] for r in rows} == {"top1", "tag_map"}
    for name in ("full-backbone-20samples", "full-backbone-all"):
        assert f"{name}\n\n| downstream set |" in answer.stdout + answer.stderr
