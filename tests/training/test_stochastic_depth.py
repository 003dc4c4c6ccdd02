"""Residual branches that are left out at random."""

import dataclasses

import keras
import numpy as np
import pytest

from fakes.random_examples import KIND, NORM, RESIDUAL, RandomExamples, train, training
from must_keras import interruption
from must_keras.errors import UserError
from must_keras.modeling.backbone import EfficientNetLite0, ResNet
from must_keras.ops import sampling
from must_keras.training import loop
from must_keras.training.building import build_model
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.layer_calls import StochasticDepth
from must_keras.training.network import BACKBONE
from must_keras.training.optimizers import AdamW
from must_keras.training.strategy import make_strategy

IMAGES = np.random.default_rng(0).uniform(0, 255, (6, 32, 32, 3)).astype("float32")
KEYS = np.arange(6, dtype=np.int32)
TWO = ResNet(filters=(64, 16, 32, 32), blocks=(1, 2, 1, 1), block_type="basic_block")


def parts_of(backbone: keras.Model, name: str) -> keras.Model:
    """What goes into an Add (shortcut, branch), and what comes out."""
    add = backbone.get_layer(name)
    return keras.Model(backbone.input, [*add.input, add.output])


@pytest.mark.parametrize("network", [ResNet.small(), TWO])
def test_branches_are_left_out_image_by_image(network):
    backbone = network.build((32, 32), NORM)
    adds = [layer.name for layer in backbone.layers if isinstance(layer, keras.layers.Add)]
    depth = StochasticDepth(backbone, 0.9)
    for block, name in enumerate(adds, 1):
        drop = 0.9 * block / len(adds)
        with depth.of(KEYS):
            shortcut, branch, found = parts_of(backbone, name)(IMAGES)
        kept = sampling.uniform(KEYS, 1, purpose=300 + block).numpy()[:, 0] >= drop
        factor = (kept / (1 - drop))[:, None, None, None]
        np.testing.assert_allclose(found, shortcut + branch * factor, rtol=1e-4, atol=1e-4)
    assert not kept.all(), "the last one is rarely kept"
    shortcut, branch, found = parts_of(backbone, adds[-1])(IMAGES)
    np.testing.assert_allclose(found, shortcut + branch, rtol=1e-5, atol=1e-5)


def test_a_branch_is_kept_as_often_as_asked():
    keys = np.arange(20_000, dtype=np.int32)
    kept = sampling.uniform(keys, 1, purpose=304).numpy() >= 0.3
    assert kept.mean() == pytest.approx(0.7, abs=0.01)
    assert (kept / 0.7).mean() == pytest.approx(1.0, abs=0.02), "nothing to scale in inference"


def test_the_branch_is_found_in_other_networks_too():
    backbone = EfficientNetLite0().build((32, 32), NORM)
    add = next(layer for layer in backbone.layers if isinstance(layer, keras.layers.Add))
    layers = [x._keras_history.operation for x in add.input]
    StochasticDepth(backbone, 0.5)
    branch = layers[add.call.keywords["branch"]]
    assert isinstance(branch, keras.layers.BatchNormalization), "not the block's input"
    plain = keras.Model(backbone.input, backbone.get_layer("imagenet_statistics").output)
    with pytest.raises(UserError, match="no residual branches to drop"):
        StochasticDepth(plain, 0.5)


def test_what_is_saved_is_a_layer_of_keras(tmp_path):
    backbone = ResNet.small().build((32, 32), NORM)
    StochasticDepth(backbone, 0.5)
    backbone.save(tmp_path / "backbone.keras")
    again = keras.saving.load_model(tmp_path / "backbone.keras")
    adds = [layer for layer in again.layers if isinstance(layer, keras.layers.Add)]
    assert adds and not any("call" in vars(layer) for layer in adds)
    np.testing.assert_allclose(again(IMAGES)["C5"], backbone(IMAGES)["C5"], rtol=1e-4, atol=1e-4)


RUN = training(
    6, batch=4, learning_rate=0.01, optimizer=AdamW(), stochastic_depth=0.5, accumulate=2,
    save_seconds=0.0,
)  # fmt: skip


def build(run, seed=3):
    model = build_model(RESIDUAL, [KIND], seed=seed, **(run.of_model() | {"norm": NORM}))
    run.compile(model)
    return model


@pytest.mark.slow
def test_a_stopped_run_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    with make_strategy("one").scope():
        whole = build(RUN)
        train(whole, tmp_path / "whole", RUN, tasks=(KIND,))
        sums, asked = loop.sum_over_workers, iter(range(1, 7))
        monkeypatch.setattr(
            loop, "sum_over_workers", lambda v: [1.0] if next(asked) == 3 else sums(v)
        )
        with pytest.raises(interruption.Interrupted):
            train(build(RUN), tmp_path / "stopped", RUN, tasks=(KIND,))
        monkeypatch.undo()
        again, plain = build(RUN, seed=9), build(dataclasses.replace(RUN, stochastic_depth=0.0))
        train(again, tmp_path / "stopped", RUN, tasks=(KIND,))
        train(plain, tmp_path / "plain", RUN, tasks=(KIND,))
    same = [
        [np.array_equal(a, b) for a, b in zip(whole.get_weights(), m.get_weights(), strict=True)]
        for m in (again, plain)
    ]
    assert all(same[0]) and not all(same[1])


def test_a_recomputed_branch_is_left_out_in_both_passes():
    """The gradient is that of the forward pass that was made."""
    found = []
    for changes in ({}, {"recompute": True}):
        with make_strategy("one").scope():
            run = training(1, batch=4, stochastic_depth=0.8, learning_rate=0.01, **changes)
            model = build(run)
            x, y = InputPipeline(RandomExamples([KIND]), [KIND], run, size=64, seed=5).batch_of(0)
            logs = model.train_on_batch(x, y, return_dict=True)
        found.append([logs["gradient_norm"], *model.get_layer(BACKBONE).get_weights()])
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_a_rate_that_is_none():
    with pytest.raises(UserError, match=r"stochastic_depth must be in \[0, 1\), received 1.0"):
        training(1, stochastic_depth=1.0)
    assert "stochastic_depth" not in training(1).describe()
    assert training(1, stochastic_depth=0.2).describe()["stochastic_depth"] == 0.2
