"""Loss weights that follow the losses, and those that are drawn: against slow versions."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from fakes.random_examples import ALL, KIND, NETWORK, NORM, PARTS, RandomExamples, train, training
from must_keras.errors import UserError
from must_keras.training.building import build_model
from must_keras.training.dynamic_weights import DynamicAverage
from must_keras.training.grad_norm import GradNorm
from must_keras.training.hypervolume import Hypervolume
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import read_metrics
from must_keras.training.loss_weights import LearnedWeights
from must_keras.training.random_weights import RandomWeights, drawn
from must_keras.training.softmax_weights import SoftmaxWeights
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


def test_a_head_that_is_labeled_late_has_the_ratio_of_its_own_means():
    learner = DynamicAverage(window=2, temperature=1.0).learner(ALL)
    first, *others = NAMES
    for step in range(4):
        known = dict.fromkeys(NAMES, 1.0) | {first: float(step >= 2)}
        learner.update({first: 5.0} | dict.fromkeys(others, 6.0), known)
    np.testing.assert_allclose(values(learner), 1.0)


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


def two(weighting):
    learner = weighting.learner(ALL[:2])

    def step(losses, *, known=(1.0, 1.0), norms=None):
        found, labeled = (dict(zip(NAMES[:2], x, strict=True)) for x in (losses, known))
        learner.update(found, labeled)
        if norms is not None:
            learner.update_by_gradients(found, labeled, dict(zip(NAMES[:2], norms, strict=True)))
        return [float(value) for value in learner.factors().values()]

    return learner, step


def test_softmax_weights_are_those_of_the_losses_of_the_step_before():
    learner, step = two(SoftmaxWeights(temperature=0.5))
    assert [float(value) for value in learner.factors().values()] == [1.0, 1.0]
    # exp(0.5 * 2) and exp(0.5 * 4): 2.718282 and 7.389056, of 10.107338; times 2.
    assert step([2.0, 4.0]) == pytest.approx([0.537883, 1.462117], abs=1e-5)
    assert step([3.0, 3.0]) == pytest.approx([1.0, 1.0])


def test_the_hypervolume_weighs_by_the_distance_from_the_bound():
    _, step = two(Hypervolume(delta=1.25))
    # The bound is 1.25 * 4 = 5: 1 / (5 - 2) and 1 / (5 - 4), 1/3 and 1 of 4/3; times 2.
    assert step([2.0, 4.0]) == pytest.approx([0.5, 1.5], abs=1e-5)


@pytest.mark.parametrize("delta", [1.05, 3.0])
def test_they_are_the_gradient_of_the_hypervolume(delta):
    losses = np.array([0.7, 1.9])
    bound = delta * losses.max() + 1e-6

    def volume(x):
        return -np.log(bound - x).sum()

    steps = 1e-5 * np.eye(2)
    gradient = np.array([(volume(losses + e) - volume(losses - e)) / 2e-5 for e in steps])
    found = two(Hypervolume(delta=delta))[1](losses.astype(np.float32))
    np.testing.assert_allclose(found, 2 * gradient / gradient.sum(), rtol=1e-4)


@pytest.mark.parametrize("weighting", [SoftmaxWeights(), Hypervolume()], ids=str)
def test_a_loss_that_is_unknown_keeps_the_last_one(weighting):
    _, step = two(weighting)
    assert step([2.0, 4.0], known=(1.0, 0.0)) == [1.0, 1.0], "the second head had no loss yet"
    expected = step([2.0, 1.0])
    assert expected[0] > 1.0
    assert step([9.0, math.nan], known=(0.0, 1.0)) == expected


def test_grad_norm_is_the_published_algorithm():
    learner, step = two(GradNorm(alpha=1.0, rate=0.1))
    # Both losses are the first ones: equal rates. Gradients 3 and 1 have the mean 2, so the first
    # weight falls by 0.1 * 3 / 2 and the second rises by 0.1 * 1 / 2; 0.85 + 1.05 become 2.
    assert step([2.0, 4.0], norms=[3.0, 1.0]) == pytest.approx([0.894737, 1.105263], abs=1e-5)
    # The first loss is halved: rates 2/3 and 4/3. Gradients 1.789474 and 2.210526, mean 2, have the
    # targets 1.333 and 2.667; the weights move by 0.1 * 2 / 2 each.
    assert step([1.0, 4.0], norms=[2.0, 2.0]) == pytest.approx([0.794737, 1.205263], abs=1e-5)
    assert learner.uses_gradients and not LearnedWeights.uses_gradients


def test_grad_norm_with_one_known_head_changes_nothing_but_the_first_loss():
    _, step = two(GradNorm())
    assert step([2.0, 0.0], known=(1.0, 0.0), norms=[3.0, 0.0]) == [1.0, 1.0]
    assert step([2.0, math.nan], norms=[3.0, 1.0]) == [1.0, 1.0]
    # A kernel without influence on a head.
    assert step([2.0, 1.0], norms=[3.0, 0.0]) == [1.0, 1.0]
    assert step([2.0, 1.0], norms=[3.0, 1.0])[0] < 1.0


def test_grad_norm_keeps_weights_positive():
    _, step = two(GradNorm(rate=5.0))
    found = step([1.0, 1.0], norms=[9.0, 1.0])
    assert 0.0 < found[0] < 0.01 and sum(found) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SoftmaxWeights(temperature=0.0), "SoftmaxWeights.*temperature=0.0"),
        (lambda: Hypervolume(delta=1.0), "Hypervolume.*delta=1.0: a number above 1"),
        (lambda: GradNorm(alpha=-1.0), "GradNorm.*alpha=-1.0: 0 or more"),
        (lambda: GradNorm(rate=math.nan), "GradNorm.*rate=nan: a positive"),
    ],
)
def test_values_that_are_none_are_named(make, words):
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.slow
def test_a_step_passes_the_norms_of_its_heads_on_the_last_kernel():
    tasks, run = (KIND, PARTS), training(4, batch=4, learning_rate=0.01)
    with make_strategy("one").scope():
        model = build_model(NETWORK, tasks, seed=3, **(run.of_model() | {"norm": NORM}))
        model.learned_weights = GradNorm(alpha=1.0, rate=0.1).learner(tasks)
        run.compile(model)
        x, y = InputPipeline(RandomExamples(tasks), tasks, run, size=64, seed=0).batch_of(0)
        kernel = [v for v in model.get_layer("backbone").trainable_variables if len(v.shape) > 1][
            -1
        ]
        with keras.StatelessScope(), tf.GradientTape(persistent=True) as tape:
            losses = model.losses_by_task(y, model(x, training=True))
        norms = [float(tf.norm(tape.gradient(loss, kernel.value))) for loss in losses.values()]
        model.distribute_strategy.run(model.train_step, ((x, y),))
    mean = sum(norms) / 2
    moved = [1.0 - 0.1 * math.copysign(norm / mean, norm - mean) for norm in norms]
    expected = [2 * value / sum(moved) for value in moved]
    found = [model.task_weights[task.name] for task in tasks]
    assert min(norms) > 0.0 and found == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "weighting",
    [DynamicAverage(window=2), RandomWeights(), SoftmaxWeights(), Hypervolume(), GradNorm()],
    ids=str,
)
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
