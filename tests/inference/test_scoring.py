"""What the scores of a model are called, and that their making is shown."""

import json
import types

import numpy as np
import pytest

from must_keras.inference import scoring
from must_keras.inference.predictor import Predictor
from must_keras.modeling.backbone import ResNet
from must_keras.tasks import Classification
from must_keras.training.model import build_model
from must_keras.training.network import Network
from must_keras.training.summaries import Loggers

NETWORK = Network(backbone=ResNet.small(), size=64, channels=16)
NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
KIND = Classification(name="kind", classes=("a", "b", "c"))
SHAPE = Classification(name="shape", classes=("a", "b", "c"))
RECIPE = types.SimpleNamespace(network=NETWORK, evaluation_batch=4)


class Pictures:
    def __len__(self):
        return 6

    def load(self, index):
        label = {
            "probabilities": np.eye(3, dtype=np.float32)[index % 3],
            "labelled": np.ones((), np.float32),
        }
        return np.full((64, 64, 3), 40 * index, np.uint8), {"kind": label}


@pytest.mark.parametrize(("tasks", "names"), [([KIND], "top1"), ([KIND, SHAPE], "kind_top1")])
def test_metrics_are_named_as_losses_are(tasks, names, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(scoring, "labelled", lambda source, task, recipe: source)
    sets = types.SimpleNamespace(train=Pictures(), validation=Pictures(), test=Pictures())
    summaries = Loggers(tmp_path)
    predictor = Predictor(build_model(NETWORK, tasks, seed=0, norm=NORM))
    found = scoring.Scorer(KIND, sets, RECIPE, size=64).score(
        predictor, step=7, summaries=summaries
    )
    summaries.close()
    rows = [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["split"] for row in rows] == ["validation", "test"]
    assert rows[1] == {"step": 7, "split": "test", names: found["top1"]}
    assert "kind on test: 2/2" in capsys.readouterr().err


def test_the_trivial_prediction_is_shown_too(monkeypatch, capsys):
    monkeypatch.setattr(scoring, "labelled", lambda source, task, recipe: source)
    sets = types.SimpleNamespace(train=Pictures(), test=Pictures())
    assert scoring.Scorer(KIND, sets, RECIPE, size=64).trivial()["top1"] == pytest.approx(1 / 3)
    said = capsys.readouterr().err
    assert "without looking, train: 2/2" in said and "without looking, test: 2/2" in said
