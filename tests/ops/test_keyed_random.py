import numpy as np
import tensorflow as tf

from must_keras.ops import sampling


def slow_mix(x: int) -> int:
    for shift, factor in ((16, 0x7FEB352D), (15, 0x846CA68B)):
        x = ((x ^ (x >> shift)) * factor) % 2**32
    return x ^ (x >> 16)


def test_numbers_equal_those_of_plain_integers():
    key, purpose, count = 12345, 7, 5
    row = slow_mix((slow_mix(key) + purpose) % 2**32)
    expected = [(slow_mix((slow_mix(c) + row) % 2**32) >> 8) / 2**24 for c in range(count)]
    drawn = sampling.uniform(tf.constant([key]), count, purpose=purpose)
    np.testing.assert_allclose(drawn[0], expected, rtol=0, atol=0)


def test_numbers_are_uniform_and_independent():
    drawn = sampling.uniform(tf.constant([0, 1, 2, -5]), 50_000, purpose=3).numpy()
    assert drawn.min() >= 0 and drawn.max() < 1
    np.testing.assert_allclose(drawn.mean(1), 0.5, atol=0.01)
    np.testing.assert_allclose(drawn.std(1), 12**-0.5, atol=0.01)
    np.testing.assert_allclose(np.corrcoef(drawn), np.eye(4), atol=0.02)


def test_another_purpose_draws_other_numbers():
    keys = tf.constant([1, 2])
    a, b = (sampling.uniform(keys, 100, purpose=p).numpy() for p in (1, 2))
    assert not np.isclose(a, b).any(axis=1).all()
    assert abs(np.corrcoef(a[0], b[0])[0, 1]) < 0.3


def test_a_key_draws_the_same_in_any_batch():
    alone = sampling.uniform(tf.constant([9]), 10, purpose=1)
    together = sampling.uniform(tf.constant([3, 9]), 10, purpose=1)
    np.testing.assert_array_equal(alone[0], together[1])
