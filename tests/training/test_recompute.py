"""Recomputed features, half precision and parts of a batch: the same step at another price."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.model import build_model
from must_keras.training.network import BACKBONE
from must_keras.training.recompute import recompute
from must_keras.training.strategy import make_strategy
from painted import KIND, NETWORK, NORM, PARTS, THINGS, Painted, training

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype("float32")


def gradients(backbone):
    variables = [v.value for v in backbone.trainable_variables]
    with tf.GradientTape() as tape:
        levels = backbone(IMAGES, training=True)
        loss = sum(tf.reduce_mean(tf.square(x)) * i for i, x in enumerate(levels.values(), 1))
    return [float(loss), *(np.asarray(g) for g in tape.gradient(loss, variables))]


def averages(backbone):
    return [np.array(v) for v in backbone.non_trainable_variables]


def test_recomputed_features_have_the_same_gradients_and_averages():
    plain, other = (NETWORK.backbone.build((64, 64), NORM) for _ in range(2))
    other.set_weights(plain.get_weights())
    before = averages(plain)
    wanted = gradients(plain)
    recompute(other)
    found = gradients(other)
    for ours, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
    moved = [not np.array_equal(a, b) for a, b in zip(averages(plain), before, strict=True)]
    assert any(moved)
    for ours, theirs in zip(averages(other), averages(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs), "once, not twice"
    np.testing.assert_array_equal(other(IMAGES)["C5"], plain(IMAGES)["C5"])


def test_levels_that_do_not_follow_from_one_another_cannot_be_recomputed():
    image = keras.Input((64, 64, 3))
    levels = {f"C{i}": keras.layers.Conv2D(2, 1, strides=2**i)(image) for i in (2, 3)}
    backbone = keras.Model(image, levels)
    with pytest.raises(UserError, match="C3 does not follow from the level before"):
        recompute(backbone)


def logs_and_weights(tasks=(KIND, PARTS), norm=NORM, network=NETWORK, **changes):
    """One training step's numbers, and the weights after it."""
    run = training(1, batch=4, learning_rate=0.01, **changes)
    with make_strategy("one").scope():
        options = run.of_model() | {"norm": norm}
        model = build_model(network, tasks, seed=3, **options)
        run.compile(model)
        feed = InputPipeline(Painted(tasks), tasks, run, size=network.size, seed=5)
        logs = model.train_on_batch(*feed.batch_of(0), return_dict=True)
    return model, logs


def test_a_step_with_recomputed_features_is_the_same_step():
    plain, wanted = logs_and_weights()
    model, found = logs_and_weights(recompute=True)
    assert found == pytest.approx(wanted, rel=1e-4)
    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_parts_of_a_batch_add_up():
    """Statistics are of a part: with fixed ones the sums of losses and gradients are equal."""
    frozen = NORM | {"momentum": 1.0}

    def step(**changes):
        run = training(1, batch=4, learning_rate=0.01, clip_norm=None, **changes)
        with make_strategy("one").scope():
            model = build_model(NETWORK, [PARTS], seed=3, **(run.of_model() | {"norm": frozen}))
            for layer in model.get_layer(BACKBONE).layers + list(model._flatten_layers()):
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.trainable = False  # Inference mode.
            run.compile(model)
            feed = InputPipeline(Painted([PARTS]), [PARTS], run, size=64, seed=5)
            return model.train_on_batch(*feed.batch_of(0), return_dict=True)

    whole, parts = step(), step(accumulate=2)
    assert parts == pytest.approx(whole, rel=1e-4)


@pytest.mark.slow
def test_half_precision_is_inside_only(tmp_path):
    network = dataclasses.replace(NETWORK, size=128)
    model, logs = logs_and_weights(
        tasks=(KIND, THINGS, PARTS), precision="mixed_bfloat16", network=network
    )
    assert all(np.isfinite(value) for value in logs.values())
    assert keras.config.dtype_policy().name == "float32"
    assert model.get_layer(BACKBONE).output["C3"].dtype == "bfloat16"
    assert {w.dtype for w in model.weights} == {"float32"}
    images = IMAGES.repeat(2, axis=1).repeat(2, axis=2)
    predictions = model(model.without_padding(images))
    assert predictions["kind"]["logits"].dtype == predictions["parts"]["values"].dtype == "float32"
    assert (
        predictions["things"]["scores"].dtype == predictions["things"]["deltas"].dtype == "float32"
    )
    copy = model.clean_copy()
    assert copy.get_layer(BACKBONE).output["C3"].dtype == "float32"
    for ours, theirs in zip(copy.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    copy.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    found, wanted = (m.predict(images, verbose=0)["kind"]["probabilities"] for m in (again, model))
    np.testing.assert_allclose(found, wanted, atol=0.05)


def test_half_precision_is_refused_where_tensorflow_fails():
    with pytest.raises(UserError, match="images of at least 128 pixels on a CPU, size is 64"):
        logs_and_weights(precision="mixed_bfloat16")
