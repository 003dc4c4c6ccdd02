"""The supervised and the self-supervised baselines: a tiny run of both, and transfers from each."""

import dataclasses
import json

import keras
import pytest

from must_keras.config.recipe import Pool, Recipe, Student
from must_keras.data.sources import FolderPerClass
from must_keras.errors import UserError
from must_keras.files import write_json
from must_keras.pseudo_labels import examples, leakage
from must_keras.runs import executor, graph, status
from must_keras.runs.workdir import Workdir
from must_keras.self_supervised import MoCo, SimCLR
from must_keras.stages import selfsup, transfer
from must_keras.training.loss_weights import Uncertainty
from must_keras.transfer.grid import cells
from must_keras.transfer.trainer import Bench
from tiny import NETWORK
from woods import RUN, draw, recipe_with, run

BASELINES = ("supervised", "simclr", "moco")


def recipe_of(data, **changes) -> Recipe:
    values = {
        "student": Student(training=RUN, weighting=Uncertainty()),
        "starts": ("random", *BASELINES),
        "supervised": RUN,
        "selfsup": (SimCLR(training=RUN), MoCo(training=RUN)),
    }
    return recipe_with(data, **(values | changes))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("baselines")
    draw(folder)
    return folder


@pytest.fixture(scope="module")
def whole(data) -> Workdir:
    """Both stages, the transfers and the report, with neither teacher nor student."""
    recipe, workdir = recipe_of(data), Workdir(data / "run")
    workdir.root.mkdir()
    write_json(workdir.root / "run.json", {"recipe": {}, "seed": 0, "versions": {}})
    leakage.run(recipe, workdir)
    for stage in ("supervised", "selfsup", "transfer", "report"):
        run(stage, recipe, workdir.root)
    return workdir


def test_each_baseline_is_a_start_of_the_transfers(whole):
    report = json.loads((whole.root / "report.json").read_text())
    rows = {row["start"]: row for row in report["transfers"]}
    assert list(rows) == ["random", *BASELINES]
    assert rows["random"]["copied"] == []
    assert all(rows[start]["copied"] == ["backbone"] for start in BASELINES)
    aligned = {start: row["aligned"] for start, row in rows.items()}
    assert aligned == {"random": "none", "supervised": "task", "simclr": "none", "moco": "none"}


def test_the_report_has_their_own_numbers(whole):
    report = json.loads((whole.root / "report.json").read_text())
    head = report["supervised"]["tasks"]["trees"]
    assert 0 <= head["metrics"]["top1"] <= 1 and head["metrics"].keys() == head["trivial"].keys()
    assert report["supervised"]["images_seen"] == 12
    assert report["supervised"]["loss_weight_sources"] == {"trees": "learned"}, "as the student's"
    assert report["supervised"]["loss_weights"]["trees"] != 1.0
    origins = report["supervised"]["origins"]
    assert origins == {"trees_train": {"trees": {"true": 1000, "pseudo": 0, "missing": 0}}}
    assert list(report["selfsup"]) == ["simclr", "moco"]
    for result, method in zip(report["selfsup"].values(), ("SimCLR", "MoCo"), strict=True):
        assert result["method"] == method and result["images_seen"] == 12
        assert result["images"] == 6 + 6 - 1, "but for the copy of a test image"
        assert result["metrics"]["loss"] > 0 and 0 <= result["metrics"]["accuracy"] <= 1
    page = (whole.root / "report.html").read_text()
    assert "Baselines beside the student" in page and "11 images without labels (MoCo)" in page
    assert page.count("true labels alone") == 2, "a column of the heads, and a baseline"


def test_every_step_is_logged(whole):
    for part in (whole.supervised, whole.selfsup("simclr"), whole.selfsup("moco")):
        rows = [json.loads(x) for x in (part.folder / "metrics.jsonl").read_text().splitlines()]
        steps = [row for row in rows if row["split"] == "train"]
        assert [row["step"] for row in steps] == [1, 2, 3]
        assert all({"loss", "learning_rate", "images_per_second"} <= row.keys() for row in steps)
        assert ("accuracy" in steps[0]) == (part != whole.supervised)
        assert list(part.folder.glob("tensorboard/train/*events*"))


def test_what_is_finished_is_not_made_again(data, whole, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.root.rglob("finished.json")}
    # Two sources are compared with the test split; three baselines; four transfers.
    assert len(before) == 2 + 3 + 4
    for stage in ("supervised", "selfsup", "transfer"):
        run(stage, recipe_of(data), whole.root)
        assert "finished before" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in before}
    status.run(recipe_of(data), whole)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["supervised", "finished"] in lines and ["selfsup", "moco", "finished"] in lines
    assert ["next:", "--stage=teacher"] in lines


def test_what_is_changed_is_named_with_what_was_made_from_it(data, whole):
    other = recipe_of(data, selfsup=(SimCLR(training=RUN, temperature=0.5), MoCo(training=RUN)))
    with pytest.raises(UserError, match="method.temperature = 0.1, the recipe now says 0.5") as no:
        graph.check(other, whole)
    named = str(no.value).split("made again: ")[1].split(" ")
    made = ("selfsup/simclr", "transfers/houses/simclr/full-fpn-all/seed0")
    assert named == [str(whole.root / name) for name in made]
    graph.check(other, whole, "supervised")
    longer = recipe_of(data, supervised=dataclasses.replace(RUN, steps=4))
    with pytest.raises(UserError, match="training.steps = 3, the recipe now says 4"):
        graph.check(longer, whole)
    wider = recipe_of(data, network=dataclasses.replace(NETWORK, channels=16))
    method = wider.selfsup[0]
    assert whole.selfsup("simclr").is_finished(selfsup.inputs(wider, whole, method)), "no pyramid"


def test_parts_of_another_run_are_taken(data, whole, tmp_path):
    mine = Workdir(tmp_path / "mine", (whole.root,))
    graph.check(recipe_of(data), mine)
    assert mine.supervised.result() == whole.supervised.result()
    assert leakage.are_known(recipe_of(data), mine)
    graph.check(recipe_of(data), mine)
    assert mine.selfsup("moco").result() == whole.selfsup("moco").result()


def test_a_head_learns_on_the_frozen_features_of_a_baseline(data, whole, tmp_path):
    recipe = recipe_of(data, starts=("moco",), mode="frozen", shots=(2,))
    mine = Workdir(tmp_path / "mine", (whole.root,))
    bench = Bench(recipe, recipe.transfers[0], mine)
    (cell,) = cells(recipe, recipe.transfers[0])
    trained = keras.saving.load_model(whole.selfsup("moco").model_path)
    bench.run(cell, trained, transfer.inputs(recipe, mine, cell))
    result = cell.part(mine).result()
    found = {key: result[key] for key in ("start", "mode", "copied", "images")}
    assert found == {"start": "moco", "mode": "frozen", "copied": ["backbone"], "images": 4}


def test_only_what_a_transfer_starts_from_is_trained(data, tmp_path):
    recipe = recipe_of(data, starts=("random", "moco"))
    assert recipe.wanted_supervised is None
    assert [method.name for method in recipe.wanted_selfsup] == ["moco"]
    made = {(s.stage, s.name) for s in graph.steps(recipe, Workdir(tmp_path))}
    assert ("selfsup", "moco") in made and ("selfsup", "simclr") not in made
    assert "supervised" not in {stage for stage, _ in made}
    assert executor._stages(recipe) == [
        "teacher", "label", "student", "selfsup", "transfer", "export", "report",
    ]  # fmt: skip
    with pytest.raises(UserError, match="no transfer of this recipe starts from it; starts are ra"):
        run("supervised", recipe, tmp_path / "run")
    with pytest.raises(UserError, match="--only=simclr"):
        run("selfsup", recipe, tmp_path / "run", only=("simclr",))


def test_true_labels_of_a_pool_are_learned_from(data):
    """And heads that nothing labels are left out."""
    labeled = FolderPerClass(name="more", root=data / "trees" / "train", head="trees")
    recipe = recipe_of(data, pools=(Pool(source=labeled),))
    assert [s.name for s in recipe.labeled_sources] == ["trees_train", "more"]
    assert [t.name for t in recipe.labeled_teachers] == ["trees"]
    union = examples.union(
        recipe.labeled_sources, recipe.tasks, left_out={"more": {0: "x"}}, who="it"
    )
    assert len(union) == 6 + 5
    assert {union.parts[1].origins(i)["trees"] for i in range(5)} == {"true"}
    with pytest.raises(UserError, match="it has no set to learn from"):
        examples.union([], recipe.tasks, left_out={}, who="it")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selfsup": (SimCLR(training=RUN, name="student"),)}, "cannot be named 'student'"),
        ({"selfsup": (SimCLR(training=RUN, name="teacher-x"),)}, "cannot be named 'teacher-x'"),
        ({"selfsup": (SimCLR(training=RUN, name="a/b"),)}, "cannot be named 'a/b'"),
        ({"selfsup": (SimCLR(training=RUN),) * 2}, "two self-supervised methods are named"),
        ({"selfsup": SimCLR(training=RUN)}, "selfsup is no tuple"),
        ({"supervised": 3}, "supervised is a int"),
        ({"supervised": None}, "starts=supervised"),
        ({"starts": ("random", "mocco")}, "did you mean 'moco'"),
    ],
)
def test_recipes_that_cannot_be(data, changes, message):
    with pytest.raises(UserError, match=message):
        recipe_of(data, **changes)
