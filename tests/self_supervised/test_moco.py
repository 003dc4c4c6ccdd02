import keras
import numpy as np
import pytest
import tensorflow as tf

from fakes.few_layers import NETWORK, Noise, crops
from fakes.random_examples import training
from must_keras.self_supervised import MoCo
from must_keras.self_supervised.moco import enqueued, follow, info_nce, weights_of
from must_keras.training.input_pipeline import InputPipeline

RANDOM = np.random.default_rng(0)


def unit(shape):
    values = RANDOM.normal(size=shape)
    return values / np.linalg.norm(values, axis=-1, keepdims=True)


@pytest.mark.parametrize("temperature", [0.07, 0.2, 1.0])
def test_the_loss_is_the_papers(temperature):
    queries, keys, queue = unit((3, 5)), unit((3, 5)), unit((7, 5))
    losses, hits = info_nce(queries, keys, queue, temperature=temperature)
    for i in range(3):
        own = np.exp(queries[i] @ keys[i] / temperature)
        others = sum(np.exp(queries[i] @ key / temperature) for key in queue)
        np.testing.assert_allclose(losses[i], -np.log(own / (own + others)), rtol=1e-6)
        assert bool(hits[i]) == (queries[i] @ keys[i] > max(queue @ queries[i]))


def test_a_queue_that_has_nothing_in_common_with_the_queries():
    queries = np.eye(6)[:2]
    losses, hits = info_nce(queries, queries, np.eye(6)[2:], temperature=0.2)
    np.testing.assert_allclose(losses, np.log(1 + 4 * np.exp(-1 / 0.2)), rtol=1e-6)
    assert np.asarray(hits).all()


def test_the_oldest_keys_leave_the_queue():
    queue = np.arange(6.0)[:, None] * np.ones((6, 2))
    keys = np.array([[10.0, 11.0], [20.0, 21.0]])
    found = np.asarray(enqueued(queue, keys, 2))
    np.testing.assert_array_equal(found[:, 0], [0, 1, 10, 20, 4, 5])
    np.testing.assert_array_equal(found[2:4], keys)
    np.testing.assert_array_equal(enqueued(queue, keys, 4)[:, 0], [0, 1, 2, 3, 10, 20])
    np.testing.assert_array_equal(enqueued(queue, keys, 5)[:, 0], [20, 1, 2, 3, 4, 10])


def test_the_slow_weights_follow_the_fast_ones():
    slow, fast = keras.Variable([1.0, -2.0]), keras.Variable([3.0, 0.0])
    follow([slow], [fast], 0.75)
    np.testing.assert_allclose(slow, [1.5, -1.5])
    np.testing.assert_array_equal(fast, [3.0, 0.0])


@pytest.mark.parametrize(
    ("images", "wanted"), [(10**7, 65536), (8900, 2224), (100, 16), (3, 16)]
)  # fmt: skip
def test_the_queue_is_whole_batches_and_no_longer_than_a_quarter_of_the_set(images, wanted):
    keys = MoCo(training=training(5, batch=16))._first_keys(0, images)
    assert keys.shape == (wanted, 128)
    np.testing.assert_allclose(np.linalg.norm(keys, axis=-1), 1.0)


def test_a_step_by_hand():
    """Momentum encoder, then keys, then the loss against the old queue, then the new queue."""
    run = training(40, batch=4, learning_rate=0.1)
    method = MoCo(training=run, dimensions=6)
    model = method.build(NETWORK, seed=1, num_images=48)
    run.compile(model)
    pipeline = InputPipeline(Noise(), (), run, size=32, seed=5, make_views=crops)
    for slow, fast in zip(weights_of(model.key_encoder), weights_of(model), strict=True):
        np.testing.assert_array_equal(slow, fast)
    assert len(model.trainable_variables) == len(model.layers[1].trainable_weights) + 4
    model.train_step(pipeline.batch_of(0))
    before = [np.array(w) for w in weights_of(model.key_encoder)]
    fast = [np.array(w) for w in weights_of(model)]
    queue = np.array(model.queue)
    assert queue.shape == (12, 6) and int(model.place) == 4
    x, y = pipeline.batch_of(1)
    queries = keras.ops.normalize(model(x["image"], training=True), axis=-1)
    for weight, value in zip(weights_of(model), fast, strict=True):
        weight.assign(value)  # The statistics of BatchNormalization moved.
    logs = model.train_step((x, y))
    momentum = 1 - 10 / 40
    for slow, was, other in zip(weights_of(model.key_encoder), before, fast, strict=True):
        np.testing.assert_allclose(slow, momentum * was + (1 - momentum) * other, atol=1e-6)
    keys = np.array(keras.ops.normalize(model.key_encoder(x["other"], training=False), axis=-1))
    np.testing.assert_allclose(model.queue[4:8], keys, atol=1e-5)
    np.testing.assert_array_equal(model.queue[:4], queue[:4])
    np.testing.assert_array_equal(model.queue[8:], queue[8:])
    wanted, _ = info_nce(queries, keys, queue, temperature=0.2)
    np.testing.assert_allclose(logs["loss"], tf.reduce_mean(wanted), rtol=1e-4)
    assert int(model.place) == 8
