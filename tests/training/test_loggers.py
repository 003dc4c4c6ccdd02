"""Loggers: what every one of them receives, what a resume takes back, and reading metrics."""

import json

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from fakes.random_examples import KIND, NETWORK, NORM, PARTS, RandomExamples, training
from must_keras import interruption
from must_keras.data.sources import LabelSpace, Source
from must_keras.data.splits import Splits
from must_keras.errors import DataError
from must_keras.inference.predictor import Predictor
from must_keras.inference.scoring import Scorer
from must_keras.runs.artifact import Artifact
from must_keras.training import loop
from must_keras.training.building import build_model
from must_keras.training.hyperparameters import hyperparameters
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import Logger, Loggers, read_metrics
from must_keras.training.loop import fit
from must_keras.training.strategy import make_strategy


class Memory(Logger):
    """A third logger: a file of its own format, one line for each number or image."""

    def __init__(self, folder):
        self._path = folder / "mine.txt"
        self.is_closed = False

    def lines(self):
        return self._path.read_text().splitlines() if self._path.exists() else []

    def _write(self, lines, mode="a"):
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open(mode) as file:
            file.writelines(f"{line}\n" for line in lines)

    def scalars(self, step, split, values):
        self._write(f"{step} {split} {name}" for name in values)

    def image(self, step, split, name, image):
        self._write([f"{step} {split} {name} {image.dtype} {image.ndim}"])

    def sizes(self):
        return {"lines of mine": len(self.lines())}

    def rewind(self, sizes):
        self._write(self.lines()[: sizes.get("lines of mine", 0)], "w")

    def close(self):
        self.is_closed = True


class Few(Source):
    """Three labeled images."""

    name, label_spaces = "few", {"kind": LabelSpace.of(KIND)}

    def __len__(self):
        return 3

    def image_id(self, index):
        return str(index)

    def image(self, index):
        return RandomExamples((KIND,)).load(index + 1)[0]

    def labels(self, index):
        return {"kind": {"probabilities": np.eye(3, dtype=np.float32)[index],
                         "labelled": np.ones((), np.float32)}}  # fmt: skip

    def describe(self):
        return {"name": self.name}


def test_a_third_logger_receives_everything_and_survives_a_resume(tmp_path, monkeypatch):
    """It is named once, in the TrainingConfig; training, diagnostics, metrics, images reach it."""
    made = []

    def factory(folder):
        made.append(Memory(folder))
        return made[-1]

    run = training(
        6, log_every=2, diagnose_every=3, save_seconds=1e9, loggers=(factory,)
    )  # fmt: skip
    artifact, tasks = Artifact(folder=tmp_path / "student"), (KIND, PARTS)
    artifact = artifact.declare(find_inputs=lambda: {"seed": 3})
    with make_strategy("one").scope():
        model = build_model(NETWORK, tasks, seed=3, **(run.of_model() | {"norm": NORM}))
        run.compile(model)
        pipeline = InputPipeline(RandomExamples(tasks), tasks, run, size=64, seed=5)
        first = model.get_weights()

        def train():
            model.set_weights(first)
            return fit(artifact, model, pipeline, run, title="t", origin="scratch")

        # The checkpoint is of step 5; then a kill comes behind the line of step 6.
        sums, asked = loop.sum_over_workers, iter(range(1, 99))
        monkeypatch.setattr(
            loop, "sum_over_workers", lambda v: [1.0] if next(asked) == 5 else sums(v)
        )
        with pytest.raises(interruption.Interrupted):
            train()
        monkeypatch.undo()
        interruption._State.asked = False
        for logger in (made[-1], Loggers(artifact.folder)):
            logger.scalars(6, "train", {"loss": 99.0})
        loggers = train()
        few = Few()
        sets = Splits(train=few, validation=few, test=few)
        scorer = Scorer(KIND, sets, size=64, batch=2, max_unreadable=0.0)
        scorer.score(Predictor(model), step=6, loggers=loggers)
        scorer.visualize(Predictor(model), step=6, loggers=loggers)
        loggers.close()
    rows = read_metrics(artifact.folder)
    expected = [f"{row.step} {row.split} {name}" for row in rows for name in row.values]
    assert made[-1].lines() == [*expected, "6 validation kind uint8 3"]
    assert made[-1].is_closed and len(made) == 2
    assert [(row.step, row.split) for row in rows] == [
        (2, "train"), (3, "train"), (4, "train"), (6, "train"), (6, "train"), (6, "validation"),
        (6, "test"),
    ]  # fmt: skip
    assert "kind_parts_cosine" in rows[1].values and "learning_rate" in rows[0].values
    assert {"kind_loss", "parts_loss", "loss", "images_per_second"} <= set(rows[0].values)
    assert "kind_top1" in rows[-1].values and rows[3].values["loss"] < 99.0
    events = sorted(p.parent.name for p in artifact.folder.rglob("*.tfevents.*"))
    assert set(events) == {"train", "validation", "test", "tensorboard"}
    artifact.begin()  # Its file is the run's own.
    assert [path.name for path in artifact.folder.iterdir()] == ["begun.json"]


def test_further_loggers_are_no_input_of_a_result():
    assert training(1, loggers=(Memory,)).describe() == training(1).describe()


def test_numbers_that_are_not_finite_are_not_logged(tmp_path):
    memory = Memory(tmp_path)
    loggers = Loggers(tmp_path, (lambda _: memory,))
    loggers.scalars(1, "test", {"a": float("nan"), "b": np.float32(0.5), "c": float("inf")})
    loggers.close()
    assert read_metrics(tmp_path) == [(1, "test", {"b": 0.5})] and memory.lines() == ["1 test b"]


def events(folder):
    found = EventAccumulator(str(folder))
    return found.Reload()


def test_a_metric_has_one_tag_in_tensorboard_and_its_name_elsewhere(tmp_path):
    for name, is_only in (("teacher", True), ("student", False)):
        loggers = Loggers(tmp_path / name)
        loggers.metrics(4, "test", "kind", {"top1": 0.5, "top5": float("nan")}, is_only=is_only)
        loggers.close()
        assert events(tmp_path / name / "tensorboard" / "test").Tags()["tensors"] == ["kind_top1"]
    names = [read_metrics(tmp_path / name)[0].values for name in ("teacher", "student")]
    assert names == [{"top1": 0.5}, {"kind_top1": 0.5}]


def test_what_an_artifact_is_made_from_is_a_text_and_hyperparameters(tmp_path):
    loggers = Loggers(tmp_path)
    loggers.inputs(
        "student", {"seed": 3, "training": {"learning_rate": 0.25}, "sets": {"name": "few"}}
    )
    loggers.close()
    found = events(tmp_path / "tensorboard")
    (text,) = found.Tensors("recipe")
    assert '"learning_rate": 0.25' in text.tensor_proto.string_val[0].decode()
    content = found.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    start = HParamsPluginData.FromString(content).session_start_info
    assert start.group_name == "student"
    assert {name: value.number_value for name, value in start.hparams.items()} == {
        "seed": 3,
        "training.learning_rate": 0.25,
    }
    Loggers(tmp_path).rewind({})
    assert not list(tmp_path.rglob("*.tfevents.*"))


def test_hyperparameters_are_plain_values_without_data_and_digests():
    inputs = {
        "version": 2, "network": {"size": 64, "norm": None}, "sources": [{"name": "pool"}],
        "columns": {"a/b": "x"}, "digest": "0" * 64, "scales": [0.5, 2], "tasks": [{"name": "a"}],
        "text": "long " * 40, "classes": ["a", "b"], "student": {"union": True, "optimizer": {"type": "SGD"}}, "none": [],
    }  # fmt: skip
    assert hyperparameters(inputs) == {
        "version": 2, "network.size": 64, "scales": "0.5, 2", "student.union": True,
        "student.optimizer.type": "SGD",
    }  # fmt: skip


def test_without_a_folder_nothing_is_logged(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nowhere = Loggers(None, (Memory,))
    nowhere.scalars(1, "train", {"loss": 1.0})
    nowhere.image(1, "train", "x", np.zeros((2, 2, 3), np.uint8))
    nowhere.rewind({})
    nowhere.close()
    assert nowhere.sizes() == {} and not list(tmp_path.iterdir())


def test_a_rewind_cuts_files_and_deletes_newer_ones(tmp_path):
    first = Loggers(tmp_path)
    first.scalars(1, "train", {"loss": 1.0})
    sizes = first.sizes()
    assert set(sizes) == {"metrics.jsonl", *(n for n in sizes if "tensorboard/train" in n)}
    first.scalars(2, "train", {"loss": 2.0})
    first.scalars(2, "test", {"top1": 0.5})
    first.close()
    Loggers(tmp_path).rewind(sizes)
    assert read_metrics(tmp_path) == [(1, "train", {"loss": 1.0})]
    assert [p.parent.name for p in tmp_path.rglob("*.tfevents.*")] == ["train"]
    Loggers(tmp_path).rewind({})
    assert read_metrics(tmp_path) == [] and not list(tmp_path.rglob("*.tfevents.*"))


LINE = {"step": 1, "split": "train", "loss": 0.5}


@pytest.mark.parametrize(
    "line",
    [
        LINE | {"loss": "low"}, LINE | {"loss": None}, LINE | {"loss": True}, LINE | {"loss": [1]},
        LINE | {"step": "1"}, LINE | {"step": 1.5}, LINE | {"split": 3}, {"step": 1}, [1], 3,
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_line_is_reported_with_its_file(line, tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in (line, LINE)))
    with pytest.raises(DataError) as caught:
        read_metrics(tmp_path, remedy="delete the file")
    assert str(path) in str(caught.value) and "delete the file" in str(caught.value)


def test_lines_of_one_split_and_none_without_a_file(tmp_path):
    assert read_metrics(tmp_path) == []
    rows = [LINE, LINE | {"split": "test"}, LINE | {"step": 2, "top1": 1}]
    (tmp_path / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    assert [row.step for row in read_metrics(tmp_path, split="train")] == [1, 2]
    assert read_metrics(tmp_path, split="train")[1].values == {"loss": 0.5, "top1": 1}
