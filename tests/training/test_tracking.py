"""Loggers of services: what they receive, once, whatever is interrupted."""

import functools
import json
import sys

import numpy as np
import pytest

from must_keras.errors import UserError
from must_keras.training.loggers import Loggers
from must_keras.training.tracking import MlflowLogger, ServiceLogger, WandbLogger

IMAGE = np.full((4, 6, 3), 7, np.uint8)


class Service(ServiceLogger):
    """A service in this process: {run: calls that it received}."""

    service, module = "memory", "json"
    received: dict

    def start(self, run):
        self.run = run or f"run {len(self.received)}"
        self.received.setdefault(self.run, [])
        return self.run

    def send_inputs(self, title, values):
        self.received[self.run].append((title, values))

    def send_scalars(self, step, values):
        self.received[self.run].append((step, values))

    def send_image(self, step, name, image):
        self.received[self.run].append((step, name, image.shape))

    def finish(self):
        self.received[self.run].append("finished")


@pytest.fixture
def received(monkeypatch):
    monkeypatch.setattr(Service, "received", {}, raising=False)
    return Service.received


def training(loggers, steps):
    for step in steps:
        loggers.scalars(step, "train", {"loss": 1 / step, "odd": float("nan")})


def test_every_call_is_received_once_across_a_resume(received, tmp_path):
    first = Loggers(tmp_path, (Service,))
    first.rewind({})
    first.inputs("student", {"training": {"steps": 6}})
    training(first, (1, 2))
    sizes = first.sizes()
    assert sizes["memory calls"] == 3
    training(first, (3, 4))
    # Killed behind step 4; its checkpoint is of step 2.
    again = Loggers(tmp_path, (Service,))
    again.rewind(sizes)
    training(again, (3, 4, 5))
    again.image(5, "test", "kind", IMAGE)
    again.metrics(5, "test", "kind", {"top1": 0.5}, is_only=False)
    again.close()
    assert received == {
        "run 0": [
            ("student", {"training.steps": 6}),
            *((step, {"train/loss": 1 / step}) for step in range(1, 6)),
            (5, "test/kind", (4, 6, 3)),
            (5, {"test/kind_top1": 0.5}),
            "finished",
        ]
    }
    state = json.loads((tmp_path / "loggers" / "memory.json").read_text())
    assert state == {"run": "run 0", "calls": 8}


def test_a_training_from_its_first_step_on_is_another_run(received, tmp_path):
    for _ in range(2):
        loggers = Loggers(tmp_path, (Service,))
        loggers.rewind({})
        training(loggers, (1,))
    assert received == {f"run {i}": [(1, {"train/loss": 1.0})] for i in range(2)}


def test_a_service_that_refuses_is_a_warning(received, tmp_path, monkeypatch, capsys):
    def refuse(self, step, values):
        raise OSError("no route to host")

    loggers = Loggers(tmp_path, (Service,))
    monkeypatch.setattr(Service, "send_scalars", refuse)
    training(loggers, (1, 2))
    monkeypatch.undo()
    assert capsys.readouterr().err.count("memory did not take what was logged: no route") == 1
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 2


def test_a_package_that_is_missing_is_named(tmp_path, monkeypatch):
    for logger, package in ((WandbLogger, "wandb"), (MlflowLogger, "mlflow")):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(UserError, match=rf"pip install {package}, or the extra") as error:
            logger(tmp_path)
        assert "must-keras[tracking]" in error.value.remedy


def log_and_resume(folder, make):
    """Steps 1 to 4, of which the checkpoint has 2; then steps 3 to 5 of another process."""
    first = Loggers(folder, (make,))
    first.rewind({})
    first.inputs("student", {"training": {"steps": 6, "rate": 0.5}})
    training(first, (1, 2))
    sizes = first.sizes()
    training(first, (3, 4))
    first.close()
    again = Loggers(folder, (make,))
    again.rewind(sizes)
    training(again, (3, 4, 5))
    again.image(5, "test", "kind", IMAGE)
    again.close()
    return json.loads((folder / "loggers" / f"{make.func.service}.json").read_text())["run"]


def records(data, start=7, block=32768):
    """The records of LevelDB's log format: checksum, length and type, then the content."""
    parts = b""
    while start + 7 <= len(data):
        if block - start % block < 7:
            start += block - start % block
            continue
        length, kind = int.from_bytes(data[start + 4 : start + 6], "little"), data[start + 6]
        parts += data[start + 7 : start + 7 + length]
        start += 7 + length
        if kind in (1, 4):  # Whole, or the last part.
            yield parts
            parts = b""


@pytest.mark.slow
def test_weights_and_biases_offline(tmp_path):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    make = functools.partial(WandbLogger, project="garden", mode="offline")
    run = log_and_resume(tmp_path / "student", make)
    rows, config = [], {}
    for path in sorted((tmp_path / "student").glob(f"loggers/wandb/offline-run-*/run-{run}.wandb")):
        for data in records(path.read_bytes()):
            record = wandb_internal_pb2.Record.FromString(data)
            if record.HasField("run"):
                config |= {one.key: json.loads(one.value_json) for one in record.run.config.update}
                assert record.run.project == "garden" and record.run.run_id == run
            config |= {one.key: json.loads(one.value_json) for one in record.config.update}
            items = {
                item.key or item.nested_key[0]: item.value_json for item in record.history.item
            }
            if "train/loss" in items:
                rows.append((int(items["_step"]), float(items["train/loss"])))
    assert rows == [(step, pytest.approx(1 / step)) for step in range(1, 6)]
    assert config["training.steps"] == 6 and config["training"] == "student"
    (image,) = (tmp_path / "student").glob(
        "loggers/wandb/offline-run-*/files/media/images/test/kind_*.png"
    )
    assert image.stat().st_size > 0


@pytest.mark.slow
def test_mlflow_in_a_folder(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = (tmp_path / "mlruns").as_uri()
    make = functools.partial(MlflowLogger, experiment="garden", tracking_uri=uri)
    run = log_and_resume(tmp_path / "student", make)
    client = mlflow.MlflowClient(tracking_uri=uri)
    found = client.get_run(run)
    assert found.data.params == {"training.steps": "6", "training.rate": "0.5"}
    assert found.data.tags["training"] == "student" and found.info.status == "FINISHED"
    history = client.get_metric_history(run, "train/loss")
    assert [(one.step, one.value) for one in history] == [(i, 1 / i) for i in range(1, 6)]
    assert [one.path for one in client.list_artifacts(run, "images/test/kind")] == [
        "images/test/kind/00000005.png"
    ]
    (experiment,) = [one for one in client.search_experiments() if one.name == "garden"]
    assert found.info.experiment_id == experiment.experiment_id
