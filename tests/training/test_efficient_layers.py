"""Less time or memory for the same numbers: fused layers, recomputation, microbatches, precision."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from fakes.random_examples import KIND, NETWORK, NORM, PARTS, THINGS, RandomExamples, training
from must_keras.errors import UserError
from must_keras.training.building import build_model
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.layer_calls import fuse, recompute
from must_keras.training.network import BACKBONE
from must_keras.training.strategy import make_strategy

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 64, 64, 3)).astype("float32")


def pair(shape, **arguments):
    """A model with Keras' own BatchNormalization and the same one with the kernel."""
    models = []
    for _ in range(2):
        image = keras.Input(shape[1:])
        norm = keras.layers.BatchNormalization(name="norm", **arguments)
        models.append(keras.Model(image, norm(image)))
    rng = np.random.default_rng(0)
    channels = shape[-1]
    weights = [rng.uniform(0.5, 2.0, channels) for _ in range(4)]
    for model in models:
        model.set_weights(weights)
    fuse(models[1])
    assert "call" in vars(models[1].get_layer("norm"))
    return models


def run(model, x, training):
    """Output, gradients of a weighted sum, and the running averages afterwards."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = model(x, training=training)
        weights = tf.reshape(tf.range(tf.size(y), dtype=tf.float32), tf.shape(y)) % 7.0
        total = tf.reduce_sum(tf.cast(y, tf.float32) * weights)
    gradients = tape.gradient(total, [x, *(v.value for v in model.trainable_variables)])
    return [y, *gradients, *(v.value for v in model.non_trainable_variables)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(4, 5, 7, 3), (1, 2, 1, 8), (16, 1, 1, 2)])
def test_equals_keras_own(shape, training):
    plain, fused = pair(shape, momentum=0.9, epsilon=1e-4)
    x = np.random.default_rng(1).normal(3.0, 2.0, shape).astype(np.float32)
    for a, b in zip(run(plain, x, training), run(fused, x, training), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)
        assert a.dtype == b.dtype


def test_the_running_variance_is_of_a_population():
    _, fused = pair((2, 1, 2, 1), momentum=0.0)
    x = np.float32([1, 3, 5, 7]).reshape(2, 1, 2, 1)
    fused(x, training=True)
    mean, variance = (float(v.numpy()[0]) for v in fused.non_trainable_variables)
    # The mean of 9, 1, 1, 9; the kernel itself gives 20 / 3.
    assert mean == pytest.approx(4.0) and variance == pytest.approx(5.0)


def test_half_precision_is_keras_own_to_its_rounding():
    plain, fused = pair((4, 8, 8, 16), dtype="mixed_bfloat16")
    x = np.random.default_rng(1).normal(size=(4, 8, 8, 16)).astype(np.float32)
    for is_training in (True, False):
        a, b = (model(x, training=is_training) for model in (plain, fused))
        assert a.dtype == b.dtype == tf.bfloat16
        np.testing.assert_allclose(tf.cast(a, "float32"), tf.cast(b, "float32"), atol=0.03)
    for a, b in zip(plain.non_trainable_variables, fused.non_trainable_variables, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4)


def test_what_the_kernel_cannot_do_is_keras_own():
    shape = (4, 5, 7, 3)
    x = np.random.default_rng(1).normal(size=shape)
    for arguments in ({"dtype": "float64"}, {"synchronized": True}):
        plain, fused = pair(shape, **arguments)
        names = set()
        graph = tf.function(lambda v, m=fused: m(v, training=True)).get_concrete_function(
            tf.TensorSpec(shape, plain.input.dtype)
        )
        names = {operation.type for operation in graph.graph.get_operations()}
        assert "FusedBatchNormV3" not in names
        np.testing.assert_array_equal(plain(x, training=True), fused(x, training=True))


@pytest.mark.parametrize("arguments", [{"axis": 1}, {"scale": False}, {"center": False}])
def test_other_layers_are_left_alone(arguments):
    image = keras.Input((4, 5, 6))
    norm = keras.layers.BatchNormalization(**arguments)
    fuse(keras.Model(image, norm(image)))
    assert "call" not in vars(norm)


def test_vectors_are_left_alone_and_frozen_layers_learn_nothing():
    vectors = keras.layers.BatchNormalization()
    maps = keras.layers.BatchNormalization(name="norm")
    vector, image = keras.Input((4,)), keras.Input((4, 5, 6))
    model = keras.Model([vector, image], [vectors(vector), maps(image)])
    fuse(model)
    assert "call" not in vars(vectors) and "call" in vars(maps)
    maps.trainable = False
    x = np.random.default_rng(0).normal(2.0, 3.0, (2, 4, 5, 6)).astype(np.float32)
    _, found = model([np.zeros((2, 4), np.float32), x], training=True)
    np.testing.assert_allclose(found, x / np.sqrt(1.001), rtol=1e-4)
    assert (maps.moving_mean.numpy() == 0).all()


def test_what_is_saved_is_a_layer_of_keras(tmp_path):
    _, fused = pair((4, 5, 7, 3))
    fused.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again.get_layer("norm")) is keras.layers.BatchNormalization
    assert "call" not in vars(again.get_layer("norm"))
    x = np.ones((1, 5, 7, 3), np.float32)
    np.testing.assert_allclose(again(x), fused(x), rtol=1e-5)


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


def test_levels_that_are_computed_side_by_side_cannot_be_recomputed():
    image = keras.Input((64, 64, 3))
    levels = {f"C{i}": keras.layers.Conv2D(2, 1, strides=2**i)(image) for i in (2, 3)}
    backbone = keras.Model(image, levels)
    with pytest.raises(UserError, match="C3 is not computed from the level before"):
        recompute(backbone)


def logs_and_weights(tasks=(KIND, PARTS), norm=NORM, network=NETWORK, **changes):
    """One training step's numbers, and the weights after it."""
    run = training(1, batch=4, learning_rate=0.01, **changes)
    with make_strategy("one").scope():
        options = run.of_model() | {"norm": norm}
        model = build_model(network, tasks, seed=3, **options)
        run.compile(model)
        feed = InputPipeline(RandomExamples(tasks), tasks, run, size=network.size, seed=5)
        logs = model.train_on_batch(*feed.batch_of(0), return_dict=True)
    return model, logs


def test_a_step_with_recomputed_features_is_the_same_step():
    plain, wanted = logs_and_weights()
    model, found = logs_and_weights(recompute=True)
    assert found == pytest.approx(wanted, rel=1e-4)
    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def test_microbatches_add_up():
    """Statistics are of a microbatch: with fixed ones sums of losses and gradients are equal."""
    frozen = NORM | {"momentum": 1.0}

    def step(**changes):
        run = training(1, batch=4, learning_rate=0.01, clip_norm=None, **changes)
        with make_strategy("one").scope():
            model = build_model(NETWORK, [PARTS], seed=3, **(run.of_model() | {"norm": frozen}))
            for layer in model.get_layer(BACKBONE).layers + list(model._flatten_layers()):
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.trainable = False  # Inference mode.
            run.compile(model)
            feed = InputPipeline(RandomExamples([PARTS]), [PARTS], run, size=64, seed=5)
            return model.train_on_batch(*feed.batch_of(0), return_dict=True)

    whole, micro = step(), step(accumulate=2)
    assert micro == pytest.approx(whole, rel=1e-4)


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
