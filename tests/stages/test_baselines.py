"""The supervised and the self-supervised baselines: a tiny run of both, and transfers from each."""

import dataclasses
import json

import keras
import pytest

import pages
from fakes.few_layers import NETWORK
from fakes.results import finish
from fakes.tiny_run import RUN, draw, make, recipe_with, status
from must_keras import stages
from must_keras.config.recipe import Pool, Recipe, Student
from must_keras.data.sources import FolderPerClass
from must_keras.errors import UserError
from must_keras.pseudo_labels import leakage, training_set
from must_keras.runs import plan
from must_keras.runs.run import Run
from must_keras.self_supervised import MoCo, SimCLR
from must_keras.stages import selfsup, supervised
from must_keras.training.loss_weights import Uncertainty
from must_keras.transfer.grid import transfer_runs
from must_keras.transfer.trainer import TransferTrainer

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


STAGES = stages.load()


def other_recipe(run: Run, recipe: Recipe) -> Run:
    return dataclasses.replace(run, recipe=recipe)


@pytest.fixture(scope="module")
def whole(data) -> Run:
    """Both stages, the transfers and the report, with neither teacher nor student."""
    run = Run(recipe=recipe_of(data), path=data / "run")
    for stage in ("supervised", "selfsup", "transfer", "report"):
        make(stage, run.recipe, run.path)
    return run


def test_each_baseline_is_a_start_of_the_transfers(whole):
    report = json.loads((whole.path / "report.json").read_text())
    rows = {row["start"]: row for row in report["transfers"]}
    assert list(rows) == ["random", *BASELINES]
    assert rows["random"]["copied"] == []
    assert all(rows[start]["copied"] == ["backbone"] for start in BASELINES)
    aligned = {start: row["aligned"] for start, row in rows.items()}
    assert aligned == {"random": "none", "supervised": "task", "simclr": "none", "moco": "none"}


def test_the_report_has_their_own_numbers(whole):
    report = json.loads((whole.path / "report.json").read_text())
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
    page = pages.parse((whole.path / "report.html").read_text())
    baselines = {
        name: [pages.text(cell) for cell in pages.row(page, name)] for name in report["selfsup"]
    }
    assert baselines["moco"][1] == "11 images without labels (MoCo)"
    assert float(baselines["simclr"][4]) == pytest.approx(
        report["selfsup"]["simclr"]["metrics"]["loss"], abs=6e-4
    )
    assert pages.text(pages.row(page, "supervised")[1]) == "ground truth"
    assert not any(line[0] == "head" for line in pages.rows(page)), "no teacher is scored"


def test_every_step_is_logged(whole):
    for part in (whole.supervised, whole.self_supervised("simclr"), whole.self_supervised("moco")):
        rows = [json.loads(x) for x in (part.folder / "metrics.jsonl").read_text().splitlines()]
        steps = [row for row in rows if row["split"] == "train"]
        assert [row["step"] for row in steps] == [1, 2, 3]
        assert all({"loss", "learning_rate", "images_per_second"} <= row.keys() for row in steps)
        assert ("accuracy" in steps[0]) == (part != whole.supervised)
        assert list(part.folder.glob("tensorboard/train/*events*"))


def test_what_is_complete_is_not_made_again(whole, capsys):
    before = {path: path.stat().st_mtime_ns for path in whole.path.rglob("finished.json")}
    # Two sources are compared with the test split; three baselines; four transfers.
    assert len(before) == 2 + 3 + 4
    for stage in ("supervised", "selfsup", "transfer"):
        make(stage, whole.recipe, whole.path)
        printed = capsys.readouterr().out
        assert f"{stage}: " in printed and "complete (skipped)" in printed
    assert before == {path: path.stat().st_mtime_ns for path in before}
    status(whole.recipe, whole.path)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["supervised", "complete"] in lines and ["selfsup", "moco", "complete"] in lines
    assert ["next:", 'stage="teacher"'] in lines


def test_what_is_changed_is_named_with_what_was_made_from_it(data, whole):
    other = recipe_of(data, selfsup=(SimCLR(training=RUN, temperature=0.5), MoCo(training=RUN)))
    with pytest.raises(UserError, match="method.temperature = 0.1.* 0.5") as no:
        plan.of(other_recipe(whole, other), STAGES).check()
    named = str(no.value).split("made again: ")[1].split(" ")
    made = ("selfsup/simclr", "transfers/houses/simclr/full-fpn-all/seed0")
    assert named == [str(whole.path / name) for name in made]
    plan.of(other_recipe(whole, other), STAGES, "supervised").check()
    longer = recipe_of(data, supervised=dataclasses.replace(RUN, steps=4))
    with pytest.raises(UserError, match="training.steps = 3.* 4"):
        plan.of(other_recipe(whole, longer), STAGES).check()
    wider = recipe_of(data, network=dataclasses.replace(NETWORK, channels=16))
    method = wider.selfsup[0]
    assert selfsup.artifact(other_recipe(whole, wider), method).is_complete(), "no pyramid"


def test_artifacts_of_another_run_are_reused(whole, tmp_path):
    mine = dataclasses.replace(whole, path=tmp_path / "mine", others=(whole.path,))
    found = plan.of(mine, STAGES)
    found.check()
    assert found.reuse()
    assert mine.supervised.result() == whole.supervised.result()
    assert leakage.is_known(mine, mine.recipe.student_sources)
    assert mine.self_supervised("moco").result() == whole.self_supervised("moco").result()
    assert supervised.artifact(mine).is_complete()


def test_a_head_learns_on_the_frozen_features_of_a_baseline(data, whole, tmp_path):
    recipe = recipe_of(data, starts=("moco",), mode="frozen", shots=(2,))
    mine = Run(recipe=recipe, path=tmp_path / "mine", others=(whole.path,))
    (method,) = recipe.wanted_selfsup
    leakage_artifacts = leakage.artifacts(mine, recipe.student_sources)
    assert all(artifact.is_complete() for artifact in leakage_artifacts)
    assert selfsup.artifact(mine, method).is_complete()
    (one,) = transfer_runs(mine, recipe.transfers[0])
    trained = keras.saving.load_model(whole.self_supervised("moco").model_path)
    artifact = one.artifact(mine)
    TransferTrainer(mine, recipe.transfers[0]).run(one, artifact, trained)
    found = {key: getattr(artifact.result(), key) for key in ("start", "mode", "copied", "images")}
    assert found == {"start": "moco", "mode": "frozen", "copied": ["backbone"], "images": 4}


def test_only_what_a_transfer_starts_from_is_trained(data, tmp_path):
    recipe = recipe_of(data, starts=("random", "moco"))
    assert recipe.wanted_supervised is None
    assert [method.name for method in recipe.wanted_selfsup] == ["moco"]
    run = Run(recipe=recipe, path=tmp_path)
    made = {(i.artifact.stage, i.artifact.name) for i in plan.of(run, STAGES).items}
    assert ("selfsup", "moco") in made and ("selfsup", "simclr") not in made
    assert "supervised" not in {stage for stage, _ in made}
    assert [stage.name for stage in STAGES if stage.is_wanted(run) and stage.is_shown] == [
        "teacher", "label", "student", "selfsup", "transfer", "export", "report",
    ]  # fmt: skip
    with pytest.raises(UserError, match="no transfer of this recipe starts from it; starts are ra"):
        make("supervised", recipe, tmp_path / "run")
    with pytest.raises(UserError, match="only=simclr"):
        make("selfsup", recipe, tmp_path / "run", only=("simclr",))


def test_true_labels_of_a_pool_are_learned_from(data, tmp_path):
    """And heads that nothing labels are left out."""
    labeled = FolderPerClass(name="more", root=data / "trees" / "train", head="trees")
    recipe = recipe_of(data, pools=(Pool(source=labeled),))
    assert [s.name for s in recipe.labeled_sources] == ["trees_train", "more"]
    assert [t.name for t in recipe.labeled_teachers] == ["trees"]
    run = Run(recipe=recipe, path=tmp_path)
    for source in recipe.labeled_sources:
        (compared,) = leakage.artifacts(run, [source])
        path, count = compared.begin() / leakage.LIST, int(source is labeled)
        path.write_text('{"index": 0, "id": "x"}\n' * count)
        finish(compared, images=6, left_out=count)
    union = training_set.examples(run, recipe.labeled_sources, recipe.tasks, title="it")
    assert len(union) == 6 + 5
    assert {union.parts[1].origins(i)["trees"] for i in range(5)} == {"true"}
    with pytest.raises(UserError, match="it has no set to learn from"):
        training_set.examples(run, [], recipe.tasks, title="it")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"selfsup": (SimCLR(training=RUN, name="student"),)}, "cannot be named 'student'"),
        ({"selfsup": (SimCLR(training=RUN, name="teacher-x"),)}, "cannot be named 'teacher-x'"),
        ({"selfsup": (SimCLR(training=RUN, name="a/b"),)}, "cannot be named 'a/b'"),
        ({"selfsup": (SimCLR(training=RUN),) * 2}, "two self-supervised methods are named"),
        ({"selfsup": SimCLR(training=RUN)}, "selfsup is no tuple"),
        ({"supervised": 3}, "supervised is an int"),
        ({"supervised": None}, "starts=supervised"),
        ({"starts": ("random", "mocco")}, "did you mean 'moco'"),
    ],
)
def test_recipes_that_cannot_be(data, changes, message):
    with pytest.raises(UserError, match=message):
        recipe_of(data, **changes)
