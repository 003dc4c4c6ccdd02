"""Trainings that keep their best weights and stop early, also where they are interrupted."""

import json
import types

import keras
import numpy as np
import pytest

from fakes.random_examples import KIND, NETWORK, NORM, PARTS, train, training
from must_keras import interruption
from must_keras.errors import UserError
from must_keras.inference.validation import ValidationMetric
from must_keras.training import loop
from must_keras.training.best import BestWeights, KeepBest
from must_keras.training.building import build_model
from must_keras.training.checkpoints import Checkpoints
from must_keras.training.loggers import Loggers, read_metrics
from must_keras.training.optimizers import AdamW
from must_keras.training.strategy import make_strategy

OPTIONS = {"optimizer": AdamW(), "learning_rate": 0.01, "save_seconds": 0.0, "log_every": 4}
RUN = training(12, ema=True, **OPTIONS)
RISING = {2: 0.1, 4: 0.2, 6: 0.3, 8: 0.4, 10: 0.5, 12: 0.6}
# The best is that of step 4, whose value step 8 reaches again.
FALLING = {2: 0.1, 4: 0.3, 6: -0.2, 8: 0.3, 10: 0.25, 12: 0.2}


@pytest.fixture(scope="module")
def strategy():
    return make_strategy("one")


@pytest.fixture(autouse=True)
def one_device(strategy):
    with strategy.scope():
        yield
    interruption._State.asked = False


class Measured:
    """Given values; the kernels of the evaluated model are kept."""

    name = "top1"

    def __init__(self, model, values):
        self.model, self.values, self.kernels = model, values, {}

    def __call__(self, step, loggers):
        self.kernels[step] = self.model.get_weights()
        loggers.scalars(step, "validation", {"top1": self.values[step]})
        return self.values[step]


def best(model, values, **options):
    return BestWeights(KeepBest(every=2, **options), Measured(model, values), title="test")


def rows(folder):
    return [
        (row.step, row.split, {k: v for k, v in row.values.items() if k != "images_per_second"})
        for row in read_metrics(folder)
    ]


def equal(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def build(seed):
    model = build_model(NETWORK, (KIND,), seed=seed, **(RUN.of_model() | {"norm": NORM}))
    RUN.compile(model)
    return model


@pytest.fixture(scope="module")
def whole(strategy, tmp_path_factory):
    """A training that ends with its last weights, its traced model, and its first weights."""
    with strategy.scope():
        folder, model = tmp_path_factory.mktemp("whole"), build(3)
        before = model.get_weights()
        train(model, folder, RUN, tasks=(KIND,))
        return types.SimpleNamespace(
            model=model, before=before, after=model.get_weights(), rows=rows(folder)
        )


@pytest.fixture
def model(whole):
    whole.model.set_weights(whole.before)
    return whole.model


def test_a_training_whose_last_weights_are_the_best_has_the_bits_of_one_without(
    tmp_path, whole, model
):
    kept = best(model, RISING)
    train(model, tmp_path, RUN, tasks=(KIND,), best=kept)
    assert equal(model.get_weights(), whole.after)
    assert [row for row in rows(tmp_path) if row[1] == "train"] == whole.rows
    assert kept.kept().describe() == {"step": 12, "metric": "top1", "value": 0.6, "trained": 12}


def test_the_weights_of_the_best_step_are_kept_and_the_earlier_of_two_equal_ones(
    tmp_path, model, caplog
):
    kept = best(model, FALLING)
    with caplog.at_level("INFO"):
        train(model, tmp_path, RUN, tasks=(KIND,), best=kept)
    assert kept.kept().step == 4 and kept.kept().stopped is None
    assert equal(model.get_weights(), kept._measure.kernels[4])
    assert not equal(model.get_weights(), kept._measure.kernels[12])


def test_a_training_stops_when_its_patience_ends(tmp_path, model):
    kept = best(model, FALLING, patience=2)
    train(model, tmp_path, RUN, tasks=(KIND,), best=kept)
    found = kept.kept()
    assert (found.step, found.trained) == (4, 8)
    assert found.stopped == "no better in 2 evaluations"
    assert equal(model.get_weights(), kept._measure.kernels[4])
    assert [row[:2] for row in rows(tmp_path)][-2:] == [(8, "validation"), (8, "train")]
    # Steps 5 to 8 are in the last line, though no log line is due where patience ends earlier.
    assert json.loads((tmp_path / "progress.json").read_text())["step"] == 8


@pytest.fixture(scope="module")
def alone(strategy, whole, tmp_path_factory):
    """A training that stops by itself after step 8 and is not interrupted."""
    with strategy.scope():
        folder, model = tmp_path_factory.mktemp("alone"), whole.model
        model.set_weights(whole.before)
        kept = best(model, FALLING, patience=2)
        train(model, folder, RUN, tasks=(KIND,), best=kept)
        return types.SimpleNamespace(kept=kept.kept(), after=model.get_weights(), rows=rows(folder))


@pytest.mark.parametrize("step", [3, 5, 8])
def test_a_resumed_training_keeps_the_same_step_and_bits(
    tmp_path, whole, alone, model, monkeypatch, step
):
    """Before the best step, after it, and when the training has stopped."""
    model.set_weights(whole.before)
    sums, asked = loop.sum_over_workers, iter(range(1, 13))
    monkeypatch.setattr(
        loop, "sum_over_workers", lambda v: [1.0] if next(asked) == step else sums(v)
    )
    with pytest.raises(interruption.Interrupted):
        options = {"tasks": (KIND,), "best": best(model, FALLING, patience=2)}
        train(model, tmp_path, RUN, **options)
    monkeypatch.undo()
    model.set_weights([weights + 1 for weights in whole.before])
    resumed = best(model, FALLING, patience=2)
    train(model, tmp_path, RUN, tasks=(KIND,), best=resumed)
    assert resumed.kept() == alone.kept and equal(model.get_weights(), alone.after)
    assert rows(tmp_path) == alone.rows
    # What was evaluated before is not evaluated again.
    assert min(resumed._measure.kernels, default=10) > step - 1


def test_a_checkpoint_keeps_further_arrays_in_their_order(tmp_path):
    checkpoints = Checkpoints(tmp_path, [keras.Variable(np.zeros(2, np.float32))])
    more = [np.full(3, k, np.float32) for k in range(12)]
    checkpoints.save(1, {"best": {"value": 0.1 + 0.2}}, more)
    checkpoints.wait()
    found = checkpoints.newest()
    assert equal(found.more, more) and found.state["best"]["value"] == 0.1 + 0.2
    assert len(found.arrays) == 1


class Scored:
    """A scorer of given values."""

    def __init__(self, **values):
        self.values, self.metric_names, self.splits = values, tuple(values), []
        self.sets = types.SimpleNamespace(validation=types.SimpleNamespace(name="images"))

    def score(self, predictor, *, step, loggers, splits):
        self.splits.append(splits)
        return self.values


def measured(rule, **scorers):
    measure = ValidationMetric(None, scorers, rule, title="student")
    return measure.name, measure(7, Loggers(None))


def test_heads_are_averaged_and_lower_is_better_counts_negative():
    kind, far = Scored(top1=0.5, top5=0.9), Scored(rmse=2.0)
    assert measured(KeepBest(), kind=kind) == ("top1", 0.5)
    assert measured(KeepBest(metric="top5"), kind=kind, far=far) == ("top5", 0.9)
    name, value = measured(KeepBest(), kind=kind, far=far)
    assert name == "mean of top1, rmse" and value == pytest.approx((0.5 - 2.0) / 2)
    assert kind.splits == [("validation",)] * 3


def test_a_metric_that_is_unknown_or_missing_is_an_error():
    with pytest.raises(UserError, match="no image of 'images' is labeled for it"):
        measured(KeepBest(), kind=Scored(top1=None))
    with pytest.raises(UserError, match="no head has a labeled set"):
        measured(KeepBest())
    with pytest.raises(UserError, match="no head reports 'miou'"):
        measured(KeepBest(metric="miou"), kind=Scored(top1=0.1))


@pytest.mark.parametrize("values", [{"every": 0}, {"patience": 0}, {"every": 2.5}, {"metric": 3}])
def test_values_are_checked(values):
    with pytest.raises(UserError, match="keep_best"):
        KeepBest(**values)


def test_the_metric_is_one_of_the_heads():
    with_best = training(4, keep_best=KeepBest(metric="miuo"))
    with pytest.raises(UserError, match="miou"):
        with_best.check_heads("the student", (KIND, PARTS))
    training(4, keep_best=KeepBest(metric="miou")).check_heads("the student", (KIND, PARTS))
    with pytest.raises(UserError, match="without heads"):
        with_best.check_heads("self-supervised method 'simclr'", ())


def test_it_is_an_input_only_where_it_is_asked_for():
    assert "keep_best" not in training(4).describe()
    assert training(4, keep_best=KeepBest()).describe()["keep_best"] == KeepBest()
