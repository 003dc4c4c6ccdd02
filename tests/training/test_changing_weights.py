"""Loss weights that follow the losses, and those that are drawn: against slow versions."""

import math

import numpy as np
import pytest

from fakes.random_examples import ALL, NETWORK, NORM, train, training
from must_keras.errors import UserError
from must_keras.training.dynamic_weights import DynamicAverage
from must_keras.training.loggers import read_metrics
from must_keras.training.model import build_model
from must_keras.training.random_weights import RandomWeights, drawn
from must_keras.training.strategy import make_strategy

NAMES = [task.name for task in ALL]


def values(learner) -> list[float]:
    factors = learner.factors()
    assert list(factors) == NAMES
    return [float(value) for value in factors.values()]


def slow_average(windows: list[list[float]], temperature: float) -> list[float]:
    """Equation 7 of arXiv 1803.10704, of the means of all finished windows."""
    if len(windows) < 2:
        return [1.0] * len(NAMES)
    ratios = [math.exp(a / b / temperature) for a, b in zip(windows[-1], windows[-2], strict=True)]
    return [len(NAMES) * ratio / sum(ratios) for ratio in ratios]


def test_the_dynamic_average_is_the_published_one():
    learner = DynamicAverage(window=3, temperature=1.5).learner(ALL)
    random, labeled, windows = np.random.default_rng(0), dict.fromkeys(NAMES, 1.0), []
    for _ in range(4):
        losses = np.float32(random.uniform(0.1, 3.0, (3, len(NAMES))))
        for row in losses:
            np.testing.assert_allclose(values(learner), slow_average(windows, 1.5), rtol=1e-5)
            learner.update(dict(zip(NAMES, row, strict=True)), labeled)
        windows.append(losses.mean(axis=0).tolist())
    assert sum(values(learner)) == pytest.approx(len(NAMES))
    assert len({round(value, 4) for value in values(learner)}) == len(NAMES)


def test_a_step_without_a_label_or_a_finite_loss_is_in_no_mean():
    learner = DynamicAverage(window=2, temperature=1.0).learner(ALL)
    every = dict.fromkeys(NAMES, 1.0)
    first, *others = NAMES

    def step(loss, **changed):
        known = every | {first: float("unknown" not in changed)}
        learner.update({first: loss} | dict.fromkeys(others, 1.0), known)

    for loss in (4.0, 4.0):
        step(loss)
    step(2.0)
    step(0.0, unknown=True)
    # 2 / 4 for the first head, 1 / 1 for all others.
    shares = np.exp([0.5, *[1.0] * len(others)])
    np.testing.assert_allclose(values(learner), len(NAMES) * shares / shares.sum(), rtol=1e-5)
    # A window without any label for the head keeps its ratio.
    step(math.nan)
    step(7.0, unknown=True)
    np.testing.assert_allclose(values(learner), len(NAMES) * shares / shares.sum(), rtol=1e-5)


def test_bad_values_are_named():
    with pytest.raises(UserError, match="DynamicAverage.*window=0"):
        DynamicAverage(window=0)
    with pytest.raises(UserError, match="temperature"):
        DynamicAverage(temperature=math.nan)


def test_random_weights_are_the_softmax_of_normal_numbers():
    found = np.asarray(drawn(np.arange(1500, dtype=np.int32), len(NAMES)))
    np.testing.assert_allclose(found.sum(axis=1), len(NAMES), rtol=1e-5)
    # Differences of logarithms are those of normal numbers: variance 2, independent steps.
    logs = np.log(found)
    differences = logs[:, 0] - logs[:, 1]
    assert differences.mean() == pytest.approx(0.0, abs=0.15)
    assert differences.var() == pytest.approx(2.0, rel=0.15)
    assert abs(np.corrcoef(differences[:-1], differences[1:])[0, 1]) < 0.1
    learner = RandomWeights().learner(ALL)
    for expected in found[:3]:
        assert values(learner) == pytest.approx(expected.tolist())
        learner.update({}, {})


@pytest.mark.slow
@pytest.mark.parametrize("weighting", [DynamicAverage(window=2), RandomWeights()], ids=str)
def test_changing_weights_are_used_and_logged(weighting, tmp_path):
    run = training(6, batch=4, learning_rate=0.01, log_every=1)
    with make_strategy("one").scope():
        model = build_model(NETWORK, ALL, seed=3, **(run.of_model() | {"norm": NORM}))
        model.learned_weights = weighting.learner(ALL)
        run.compile(model)
        train(model, tmp_path, run, tasks=ALL)
    rows = [row.values for row in read_metrics(tmp_path)]
    logged = [row for row in rows if f"{NAMES[0]}_weight" in row]
    assert len(logged) == 6
    for row in logged:
        weights = [row[f"{name}_weight"] for name in NAMES]
        assert sum(weights) == pytest.approx(len(NAMES), rel=1e-4)
        total = sum(w * row[f"{name}_loss"] for w, name in zip(weights, NAMES, strict=True))
        assert row["loss"] == pytest.approx(total, rel=1e-4)
    assert logged[-1] != logged[0] and len({round(w, 4) for w in weights}) == len(NAMES)
