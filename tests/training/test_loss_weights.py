"""How much each head's loss counts: weights of equal value, and weights that are learned."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from fakes.random_examples import ALL, KIND, NETWORK, NORM, train, training
from must_keras import interruption
from must_keras.tasks import Depth
from must_keras.training import loop
from must_keras.training.building import build_model
from must_keras.training.loggers import read_metrics
from must_keras.training.loss_weights import Uncertainty, Uniform
from must_keras.training.optimizers import AdamW
from must_keras.training.strategy import make_strategy

FAR = Depth(name="far", channels=8, num_convs=1)
REGRESSIONS = {"far", "facing"}
LOSSES = {"kind": 1.7, "things": 3.1, "parts": 0.9, "far": 0.02, "facing": 0.4}
LOG_VARIANCES = np.float32([0.3, -0.7, 1.2, -2.0, 0.1])


def slow_total(losses, log_variances, labeled) -> float:
    """Equations 7 and 10 of arXiv 1705.07115, head by head, in sigma."""
    total = 0.0
    for (name, loss), s in zip(losses.items(), log_variances, strict=True):
        sigma = np.sqrt(np.exp(np.float64(s)))
        total += loss / (2 * sigma**2) if name in REGRESSIONS else loss / sigma**2
        total += np.log(sigma) * labeled[name]
    return total


def total_of(learner, losses, labeled):
    factors = learner.factors()
    assert list(factors) == list(losses)
    return sum(factors[n] * loss for n, loss in losses.items()) + learner.penalty(labeled)


@pytest.mark.parametrize("missing", [(), ("kind", "far")])
def test_the_total_is_the_published_one(missing):
    learner = Uncertainty().learner(ALL)
    learner.log_variances.assign(LOG_VARIANCES)
    labeled = {name: float(name not in missing) for name in LOSSES}
    losses = {name: loss * labeled[name] for name, loss in LOSSES.items()}
    with tf.GradientTape() as tape:
        total = total_of(learner, losses, labeled)
    assert float(total) == pytest.approx(slow_total(losses, LOG_VARIANCES, labeled), rel=1e-5)
    gradient = tf.convert_to_tensor(tape.gradient(total, learner.log_variances.value)).numpy()
    for i, name in enumerate(LOSSES):
        ends = []
        for step in (1e-4, -1e-4):
            moved = np.float64(LOG_VARIANCES)
            moved[i] += step
            ends.append(slow_total(losses, moved, labeled))
        slope = (ends[0] - ends[1]) / 2e-4
        assert gradient[i] == pytest.approx(slope, rel=1e-4, abs=1e-6)
        assert (gradient[i] == 0.0) == (name in missing), "an absent label moves no weight"


def test_the_best_variance_of_a_regression_is_its_mean_squared_error():
    """Of a classification it is twice the cross-entropy: d/ds (exp(-s) L + s/2) = 0."""
    learner = Uncertainty().learner(ALL)
    best = [np.log(loss if name in REGRESSIONS else 2 * loss) for name, loss in LOSSES.items()]
    learner.log_variances.assign(np.float32(best))
    with tf.GradientTape() as tape:
        total = total_of(learner, LOSSES, dict.fromkeys(LOSSES, 1.0))
    gradient = tf.convert_to_tensor(tape.gradient(total, learner.log_variances.value))
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)


def test_uniform_weights_are_equal_whatever_teachers_have():
    heads = [types.SimpleNamespace(task=task, loss_weight=weight) for task, weight in
             zip(ALL, (None, 2.0, None, 1.0, 0.1), strict=True)]  # fmt: skip
    found = Uniform().weights(training(1), heads)
    assert {weight.value for weight in found.values()} == {1.0} and list(found) == list(LOSSES)
    learned = Uncertainty().weights(training(1), heads)
    assert {n: w.value for n, w in learned.items()} == {
        n: 0.5 if n in REGRESSIONS else 1.0 for n in LOSSES
    }
    assert {weight.source for weight in learned.values()} == {"learned"}


RUN = training(
    8, batch=4, learning_rate=0.05, optimizer=AdamW(weight_decay=0.5), accumulate=2,
    save_seconds=0.0, log_every=4, diagnose_every=3,
)  # fmt: skip
TASKS = (KIND, FAR)


def build(seed=3):
    model = build_model(NETWORK, TASKS, seed=seed, **(RUN.of_model() | {"norm": NORM}))
    model.learned_weights = Uncertainty().learner(TASKS)
    RUN.compile(model)
    return model


@pytest.mark.slow
def test_learned_weights_are_trained_saved_and_resumed(tmp_path, monkeypatch):
    with make_strategy("one").scope():
        whole = build()
        assert whole.task_weights == {"kind": 1.0, "far": 0.5}
        train(whole, tmp_path / "whole", RUN, tasks=TASKS)
        sums, asked = loop.sum_over_workers, iter(range(1, 9))
        monkeypatch.setattr(
            loop, "sum_over_workers", lambda v: [1.0] if next(asked) == 5 else sums(v)
        )
        with pytest.raises(interruption.Interrupted, match="step 5 of 8"):
            train(build(), tmp_path / "stopped", RUN, tasks=TASKS)
        monkeypatch.undo()
        again = build(seed=9)
        train(again, tmp_path / "stopped", RUN, tasks=TASKS)
    (variances,) = [v for v in whole.trainable_variables if "log_variances" in v.path]
    assert len(variances.shape) == 1, "what has one axis is not decayed"
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    learned = whole.task_weights
    assert learned != {"kind": 1.0, "far": 0.5}
    copy = whole.clean_copy()
    assert copy.task_weights == learned and copy.learned_weights is None
    copy.save(tmp_path / "model.keras")
    saved = keras.saving.load_model(tmp_path / "model.keras")
    assert saved.task_weights == pytest.approx(learned)
    for folder in ("whole", "stopped"):
        rows = read_metrics(tmp_path / folder)
        assert [row.step for row in rows] == [3, 4, 6, 8]
        assert rows[-1].values["kind_weight"] > 0 and "kind_far_cosine" in rows[0].values
    without_speed = [
        [{k: v for k, v in row.values.items() if k != "images_per_second"}
         for row in read_metrics(tmp_path / folder)] for folder in ("whole", "stopped")
    ]  # fmt: skip
    assert without_speed[0] == without_speed[1]
