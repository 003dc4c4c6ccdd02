"""A task in one file of its own goes through every stage: nothing else names its kind."""

import json

import numpy as np
import pytest
from PIL import Image

from fakes.few_layers import NETWORK
from fakes.random_examples import training
from fakes.tiny_run import make
from must_keras.config.recipe import Pool, Recipe, Student, Teacher, Transfer
from must_keras.data.sources import ScenesSource
from must_keras.data.splits import Splits
from must_keras.inference.model import Model
from must_keras.inference.results import Results
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.synthetic import SceneConfig
from tasks.edges import Edges, EdgesOf

RUN = training(3, batch=4, learning_rate=0.01, log_every=1)
SIZE = 32


def scenes(name: str, split: str, data, *, data_seed: int = 0, head: str | None = None):
    config = SceneConfig(
        family="rooms", size=SIZE, data_seed=data_seed, train=8, validation=4, test=4
    )
    heads = {} if head is None else {"semantic": head}
    source = ScenesSource(name=name, config=config, split=split, heads=heads, data_dir=str(data))
    return source if head is None else EdgesOf(source, head=head)


def sets(name: str, data, data_seed: int) -> Splits:
    parts = {
        split: scenes(f"{name}_{split}", split, data, data_seed=data_seed, head=name)
        for split in ("train", "validation", "test")
    }
    return Splits(**parts)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("edges")
    data = folder / "data"
    pool = {head: scenes("pool", "train", data, data_seed=2, head=head) for head in (None, "edges")}
    recipe = Recipe(
        name="edges",
        seed=0,
        network=NETWORK,
        teachers=(
            Teacher(
                name="edges", task=Edges(name="edges"), sets=sets("edges", data, 0), training=RUN
            ),
        ),
        pools=(Pool(source=pool[None], truth=pool["edges"]),),
        student=Student(training=RUN),
        transfers=(
            Transfer(
                name="borders", task=Edges(name="borders"), sets=sets("borders", data, 1),
                training=RUN, learning_rates=(0.01, 0.001),
            ),
        ),
        starts=("random", "student"),
        evaluation_batch=4,
    )  # fmt: skip
    make("all", recipe, folder / "run")
    return folder / "run"


def test_every_stage_knows_its_metrics(run):
    report = json.loads((run / "report.json").read_text())
    teacher, student = report["teachers"]["edges"], report["student"]["tasks"]["edges"]
    for scored in (teacher, student):
        assert list(scored["metrics"]) == list(scored["trivial"]) == ["edge_error", "edge_recall"]
        assert 0 <= scored["metrics"]["edge_error"] <= 1
    assert report["labels"]["edges"]["pool"]["quality"].keys() == teacher["metrics"].keys()
    assert {row["metric"] for row in report["transfers"]} == {"edge_error"}


def test_a_sweep_takes_the_rate_with_the_smallest_error(run):
    for row in json.loads((run / "report.json").read_text())["transfers"]:
        values = {one["learning_rate"]: one["value"] for one in row["sweep"]}
        assert values[row["learning_rate"]] == min(values.values())


def test_its_labels_are_in_a_pseudo_label_dataset(run):
    pool = scenes("pool", "train", run.parent / "data", data_seed=2)
    column = PseudoLabelReader(run / "labels" / "edges" / "pool", pool, Edges(name="edges"))
    label = Edges(name="edges").records.to_label(column.read(0), None)
    assert label["edges"].shape == (SIZE, SIZE) and set(np.unique(label["edges"])) <= {0, 1}


@pytest.mark.parametrize("model", ["student", "export/saved_model"])
def test_it_is_predicted_from_both_files(run, model, tmp_path):
    trained = Model.load(run / model, trusted=True)
    assert trained.tasks == (Edges(name="edges"),)
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    results = Results(tmp_path / "out", trained.tasks)
    results.add("noise", tmp_path / "noise.png", image, trained.predict(image).outputs)
    results.close()
    line = json.loads((tmp_path / "out" / "predictions.jsonl").read_text())
    assert 0 <= line["edges"]["share"] <= 1
    assert Image.open(tmp_path / "out" / line["edges"]["map"]).size == (60, 40)
    assert (tmp_path / "out" / line["picture"]).is_file()


def test_the_export_names_its_kind(run):
    labels = json.loads((run / "export" / "labels.json").read_text())
    assert labels == {"edges": {"kind": "edges", "unit": "", "classes": []}}


def test_the_pages_show_it(run):
    page = (run / "report.html").read_text()
    assert "edge_error" in page and "borders" in page
    assert "edges are white" in (run / "labels.html").read_text()
