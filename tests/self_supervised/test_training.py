"""Self-supervised training: resumed exactly, equal on one device and on two; invalid values."""

import os
import pathlib

import keras
import numpy as np
import pytest

import programs
from fakes.few_layers import NETWORK, FewLayers, Noise, crops
from fakes.random_examples import KIND, NORM, artifact_in, training
from must_keras import interruption
from must_keras.errors import UserError
from must_keras.self_supervised import MoCo, SimCLR
from must_keras.training import diagnostics, loop
from must_keras.training.building import build_model
from must_keras.training.initialization import FromBackbone, FromModel, copy_parts
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.loop import fit
from must_keras.training.network import BACKBONE, Network
from must_keras.training.optimizers import AdamW
from must_keras.training.strategy import make_strategy

HERE = pathlib.Path(__file__).parent
METHODS = (SimCLR, MoCo)
RUN = training(
    6, batch=4, learning_rate=0.01, optimizer=AdamW(), ema=True, save_seconds=0.0, log_every=4
)


@pytest.fixture(autouse=True)
def one_device():
    with make_strategy("one").scope():
        yield
    interruption._State.asked = False


def build(method, run=RUN):
    model = method.build(NETWORK, seed=1, num_images=64)
    run.compile(model)
    return model


def train(folder, model, run=RUN):
    pipeline = InputPipeline(Noise(), (), run, size=32, seed=5, make_views=crops)
    fit(artifact_in(folder), model, pipeline, run, title="test", origin="scratch").close()


@pytest.mark.parametrize("kind", [pytest.param(SimCLR, marks=pytest.mark.slow), MoCo])
def test_an_interrupted_training_is_resumed_to_the_same_bits(tmp_path, monkeypatch, kind):
    """Weights, and of MoCo the momentum encoder, the queue and the place in it."""
    method = kind(training=RUN, dimensions=8)
    whole = build(method)
    before = [np.array(v) for v in whole.variables]
    train(tmp_path / "whole", whole)
    wanted = [np.array(v) for v in whole.variables]
    # The same traced step is interrupted; a new model resumes.
    for variable, value in zip(whole.variables, before, strict=True):
        variable.assign(value)
    sums, asked = loop.sum_over_workers, iter(range(1, 7))
    monkeypatch.setattr(
        loop, "sum_over_workers", lambda v: [1.0] if next(asked) == 3 else sums(v)
    )  # fmt: skip
    with pytest.raises(interruption.Interrupted, match="step 3 of 6, which is saved"):
        train(tmp_path / "stopped", whole)
    monkeypatch.undo()
    again = build(method)
    train(tmp_path / "stopped", again)
    ours = [np.array(v) for v in again.variables]
    for one, other in zip(ours, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    if kind is MoCo:
        assert int(again.place) == 6 * 4 % 16 and len(ours) > 2 * len(
            again.get_layer(BACKBONE).weights
        )
    saved = again.clean_copy()
    saved.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    classifier = build_model(NETWORK, [KIND], seed=9, norm=NORM)
    assert copy_parts(classifier, loaded, (BACKBONE, "neck")) == [BACKBONE]
    other = build_model(NETWORK, [KIND], seed=8, norm=NORM)
    assert FromBackbone(tmp_path / "model.keras").apply(other, NETWORK) == [BACKBONE]
    for weight, wanted in zip(
        other.get_layer(BACKBONE).get_weights(), again.get_layer(BACKBONE).get_weights(), strict=True
    ):  # fmt: skip
        np.testing.assert_array_equal(weight, wanted)
    started = kind(training=RUN, start=FromBackbone(tmp_path / "model.keras"))
    model = started.build(NETWORK, seed=3, num_images=64)
    sides = [model, model.key_encoder] if kind is MoCo else [model]
    for side in sides:
        first = side.get_layer(BACKBONE).get_weights()[0]
        np.testing.assert_array_equal(first, again.get_layer(BACKBONE).get_weights()[0])


def test_two_devices_train_as_one(tmp_path):
    """Views of both are negatives of each; BatchNormalization sees both."""
    path = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)])
    program = [HERE / "pairs_program.py", str(tmp_path)]
    programs.run(program, env=os.environ | {"PYTHONPATH": path}, check=True)
    for name in ("simclr", "moco"):
        one, two = (dict(np.load(tmp_path / f"{name}-{x}.npz")) for x in ("one", "mirrored"))
        assert one.keys() == two.keys() and len(one) > 20
        assert len(set(one["losses"][:, 0])) == 3 and (one["losses"] > 0).all()
        for key, wanted in one.items():
            np.testing.assert_allclose(two[key], wanted, rtol=0, atol=1e-8, err_msg=key)


def test_a_loss_that_is_not_finite_names_the_method(tmp_path):
    run = training(2, batch=4, learning_rate=1e30, clip_norm=None, log_every=1)
    with pytest.raises(diagnostics.NonFiniteLossError, match="not finite at step 2") as caught:
        train(tmp_path, build(SimCLR(training=run), run), run)
    assert "its images and weights are in" in str(caught.value)
    with pytest.raises(UserError, match="of a self-supervised method"):
        diagnostics.replay(tmp_path / "nonfinite-step-00000002")


@pytest.mark.parametrize("kind", METHODS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"training": training(3, accumulate=2)},
            "accumulate=2 would compare images with microbatches",
        ),
        ({"training": training(0)}, "steps=0 would keep the backbone"),
        ({"training": 3}, "training is an int, expected a TrainingConfig"),
        ({"start": FromModel("x.keras")}, r"take FromBackbone\('x.keras'\)"),
    ],
)
def test_values_that_cannot_be(kind, changes, message):
    with pytest.raises(UserError, match=message):
        kind(**{"training": training(3)} | changes)


@pytest.mark.parametrize("kind", [SimCLR, pytest.param(MoCo, marks=pytest.mark.slow)])
def test_residual_branches_are_dropped_in_training(kind):
    """With a key for every image that is encoded: of SimCLR both views."""
    network, losses = Network(backbone=FewLayers(is_residual=True), size=32, channels=8), []
    for rate in (0.0, 0.9):
        run = training(2, batch=4, stochastic_depth=rate)
        method = kind(training=run)
        model = method.build(network, seed=1, num_images=64)
        run.compile(model)
        batch = InputPipeline(Noise(), (), run, size=32, seed=5, make_views=crops).batch_of(0)
        step = model.distribute_strategy.run(model.train_step, (batch,))
        losses.append(float(step["loss"]))
    assert losses[0] != pytest.approx(losses[1], abs=1e-3)
    keys = model.keys_of_passed(batch[1]["keys"]).numpy().tolist()
    assert len(set(keys)) == (8 if kind is SimCLR else 4)


def test_one_image_has_no_other():
    with pytest.raises(UserError, match="batch=1"):
        SimCLR(training=training(3, batch=1))
