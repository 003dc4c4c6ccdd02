import keras
import numpy as np
import pytest
import tensorflow as tf

from must_keras.training.fused import fuse


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
    for training in (True, False):
        a, b = plain(x, training=training), fused(x, training=training)
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
