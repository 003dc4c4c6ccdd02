"""Shares of the heads in loss and gradient, and angles between them."""

import numpy as np
import pytest
import tensorflow as tf

from fakes.random_examples import KIND, NETWORK, NORM, PARTS, RandomExamples, train, training
from must_keras.errors import UserError
from must_keras.training.building import build_model
from must_keras.training.diagnostics import measure, shared_kernels
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loggers import read_metrics
from must_keras.training.network import BACKBONE
from must_keras.training.optimizers import AdamW
from must_keras.training.strategy import make_strategy

TASKS = (KIND, PARTS)


def measured(**changes):
    """A model that has made one step, its numbers, and the batch."""
    run = training(1, batch=4, learning_rate=0.01, **changes)
    model = build_model(
        NETWORK, TASKS, seed=3, loss_weights={"parts": 0.5}, **(run.of_model() | {"norm": NORM})
    )
    run.compile(model)
    batch = InputPipeline(RandomExamples(TASKS), TASKS, run, size=64, seed=5).batch_of(0)
    model.last_batch = batch
    before = [np.array(v) for v in model.variables]
    found = measure(model, model.last_batch)
    for value, variable in zip(before, model.variables, strict=True):
        np.testing.assert_array_equal(value, variable), "running averages among them"
    return model, batch, found


@pytest.fixture(scope="module")
def strategy():
    return make_strategy("one")


def test_the_numbers_are_those_of_each_loss_alone(strategy):
    """A tape and a whole backward pass for each head; norms and angles in numpy."""
    with strategy.scope():
        model, (x, y), found = measured()
        kernels = [v for v in model.get_layer(BACKBONE).trainable_variables if v.name == "kernel"]
        assert [id(v) for v in shared_kernels(model)] == [id(v) for v in kernels]
        losses, gradients = {}, {}
        for name, weight in {"kind": 1.0, "parts": 0.5}.items():
            with tf.GradientTape() as tape:
                loss = weight * model.losses_by_task(y, model(x, training=True))[name]
            losses[name] = float(loss)
            found_here = tape.gradient(loss, [v.value for v in kernels])
            gradients[name] = np.concatenate([np.float64(g).ravel() for g in found_here])
    norms = {name: np.linalg.norm(g) for name, g in gradients.items()}
    dot = gradients["kind"] @ gradients["parts"]
    assert found == pytest.approx(
        {
            "kind_loss_share": losses["kind"] / sum(losses.values()),
            "parts_loss_share": losses["parts"] / sum(losses.values()),
            "kind_gradient_share": norms["kind"] / sum(norms.values()),
            "parts_gradient_share": norms["parts"] / sum(norms.values()),
            "kind_parts_cosine": dot / (norms["kind"] * norms["parts"]),
        },
        rel=1e-3,
        abs=1e-5,
    )
    assert min(norms.values()) > 0 and 0 < abs(found["kind_parts_cosine"]) < 1


def test_recomputed_features_have_the_same_numbers(strategy):
    with strategy.scope():
        _, _, plain = measured()
        _, _, again = measured(recompute=True)
    assert again == pytest.approx(plain, rel=1e-2, abs=1e-4)


@pytest.mark.slow
def test_training_is_not_touched_by_a_bit(tmp_path, strategy):
    weights, rows = [], []
    for every in (0, 2):
        run = training(
            4, batch=4, learning_rate=0.01, optimizer=AdamW(), accumulate=2, recompute=True,
            log_every=1, diagnose_every=every,
        )  # fmt: skip
        with strategy.scope():
            model = build_model(NETWORK, TASKS, seed=3, **(run.of_model() | {"norm": NORM}))
            run.compile(model)
            train(model, tmp_path / str(every), run, tasks=TASKS)
        weights.append(model.get_weights())
        rows.append(read_metrics(tmp_path / str(every)))
    for a, b in zip(*weights, strict=True):
        np.testing.assert_array_equal(a, b)
    looks = [row for row in rows[1] if "kind_loss_share" in row.values]
    assert [row.step for row in looks] == [2, 4]
    for row in looks:
        shares = [row.values[f"{head}_gradient_share"] for head in ("kind", "parts")]
        assert sum(shares) == pytest.approx(1.0)
    steps = [
        [{k: v for k, v in row.values.items() if k != "images_per_second"} for row in some
         if "loss" in row.values] for some in rows
    ]  # fmt: skip
    assert steps[0] == steps[1] and len(rows[0]) == 4


def test_they_are_no_part_of_what_a_result_depends_on():
    assert training(1).describe() == training(1, diagnose_every=7).describe()
    with pytest.raises(UserError, match="diagnose_every must be 0 or more, received -1"):
        training(1, diagnose_every=-1)
