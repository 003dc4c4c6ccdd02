"""The model cards of a student and of its export: what they state, and whose file they are."""

import dataclasses
import json

import pytest

from must_keras import experiment
from must_keras.errors import UserError
from must_keras.report import model_card
from must_keras.runs.marks import check_own, is_signed, signed
from must_keras.runs.run import Run
from must_keras.training.config import TrainingConfig

HEADS = ("shapes", "objects", "surfaces", "distance")
FIRST = dict(zip(HEADS, ("top1", "box_ap50", "miou", "delta1"), strict=True))


@pytest.fixture(scope="module")
def recipe():
    small = {"images": "40", "pool_images": "48"}
    found = experiment.load("scenes", small, data_dir="nowhere")
    return dataclasses.replace(found, data_licenses={"pool": "CC-BY-4.0", "single": "CC0-1.0"})


@pytest.fixture
def run(recipe, tmp_path):
    """A run whose student and export are complete, as far as folders show it."""
    run = Run(recipe=recipe, path=tmp_path / "secret" / "run")
    for artifact in (run.student, run.export):
        artifact.begin()
        (artifact.folder / "finished.json").write_text("{}")
    run.record()
    return run


@pytest.fixture(autouse=True)
def complete(monkeypatch):
    """A folder with a finished.json is complete, whatever stands in it."""
    there = property(lambda artifact: (artifact.folder / "finished.json").is_file())
    monkeypatch.setattr("must_keras.runs.artifact.Artifact.is_there", there)
    monkeypatch.setattr("must_keras.runs.artifact.Artifact.result", lambda artifact: None)


REPORT = {
    "student": {
        "model_sha256": "f" * 64,
        "parameters": 1036242, "images_seen": 12800,
        "tasks": {h: {"metrics": {m: 0.53125}, "trivial": {m: 0.125}} for h, m in FIRST.items()},
        "loss_weights": dict.fromkeys(HEADS, 0.5),
        "loss_weight_sources": dict.fromkeys(HEADS, "formula"),
    },
    "teachers": {
        h: {"metrics": {m: 0.75}, "model_sha256": h[0] * 64} for h, m in FIRST.items()
    },
    "transfers": [
        {"set": "dev_class", "start": start, "value": value, "metric": "top1", "aligned": "none",
         "mode": "full", "neck": "fpn", "shots": None}
        for start, value in (("random", 0.25), ("student", 0.375))
    ],
}  # fmt: skip


def test_the_length_of_a_training_is_that_of_its_images(run):
    student = dataclasses.replace(
        run.recipe.student, training=dataclasses.replace(TrainingConfig(), steps=None, epochs=2)
    )
    recipe = dataclasses.replace(run.recipe, student=student)
    of_epochs = dataclasses.replace(run, recipe=recipe)
    images = REPORT["student"]["images_seen"]
    steps = images // student.training.batch
    assert f"- {steps:,} steps of" in model_card.text(of_epochs, REPORT, of="student")


def test_a_card_states_what_the_run_has_recorded(run):
    card = model_card.text(run, REPORT, of="student")
    for fact in (
        "| top1 | 0.5312 | 0.75 | 0.125 |",
        "s" * 64, "f" * 64, "| test of teacher shapes | CC0-1.0 |", "CC-BY-4.0", "not stated", "| full-fpn-all | dev_class | top1 | 0.25 | 0.375 |",
        "loss weight of objects: 0.5 (formula)", "1,036,242 parameters", "seed 0",
        "pool of the student", "| objects | objects | trained on",
    ):  # fmt: skip
        assert fact in card, fact
    assert json.loads((run.path / "run.json").read_text())["versions"]["keras"] in card
    assert "secret" not in card and "nowhere" not in card, "no path of this machine"
    limits = [line for line in card.splitlines() if line.startswith("| objects | objects |")]
    assert "| 0.3 |" in limits[0]


def test_the_front_matter_is_yaml_of_a_model_card(run):
    yaml = pytest.importorskip("yaml")
    for of in ("student", "export"):
        _, front, body = model_card.text(run, REPORT, of=of).split("---\n", 2)
        found = yaml.safe_load(front)
        assert found["library_name"] == "keras" and "object-detection" in found["tags"]
        (model,) = found["model-index"]
        assert model["name"] == "scenes" and len(model["results"]) == 4
        first = model["results"][0]
        assert first["task"]["type"] == "image-classification"
        assert first["metrics"] == [{"type": "top1", "name": "top1", "value": 0.5312}]
        assert {"type", "name"} <= set(first["dataset"])
        assert body.strip().startswith(f"# scenes: {of}")


def test_cards_are_written_and_written_again(run):
    model_card.write(run, REPORT)
    paths = [artifact.folder / "README.md" for artifact in (run.student, run.export)]
    assert all(is_signed(path) for path in paths)
    check_own(run.student.folder)
    assert "backbone.keras" in paths[1].read_text()
    changed = REPORT | {"student": REPORT["student"] | {"parameters": 7}}
    model_card.write(run, changed)
    assert all("7 parameters" in path.read_text() for path in paths)
    run.student.begin()
    assert not paths[0].exists(), "it is made again with its artifact"


@pytest.mark.parametrize("change", [lambda text: "mine\n", lambda text: f"{text}And more.\n"])
def test_what_a_person_wrote_stays(run, change, capsys):
    model_card.write(run, REPORT)
    path = run.student.folder / "README.md"
    path.write_text(change(path.read_text()))
    mine = path.read_text()
    model_card.write(run, REPORT)
    assert path.read_text() == mine and "README.md stays" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"README\.md"):
        run.student.begin()
    assert path.read_text() == mine


def test_an_edited_line_makes_a_card_a_person_s(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(signed("# A\n\ntext\n"))
    assert is_signed(path)
    path.write_text(path.read_text().replace("text", "my text"))
    assert not is_signed(path)
    path.write_bytes(b"\xff\xfe")
    assert not is_signed(path) and not is_signed(tmp_path / "none")


def test_names_cannot_break_a_card(run, recipe):
    licenses = {"pool": "a|b <script>"}
    odd = dataclasses.replace(run, recipe=dataclasses.replace(recipe, data_licenses=licenses))
    card = model_card.text(odd, REPORT, of="student")
    assert "a\\|b &lt;script&gt;" in card and "<script>" not in card


def test_a_license_names_a_source_of_the_recipe(recipe):
    with pytest.raises(
        UserError, match="data_licenses names the source 'pol'; did you mean 'pool'"
    ):
        dataclasses.replace(recipe, data_licenses={"pol": "MIT"})
    with pytest.raises(UserError, match="data_licenses is a str, expected"):
        dataclasses.replace(recipe, data_licenses="MIT")
