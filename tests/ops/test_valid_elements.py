import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import optimize

from must_keras.ops.maps import fit_scale_shift, masked_mean, masked_median, masked_sum, only_valid


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    """Rows with many, few, one and no valid elements; what is not valid is not even a number."""
    random = np.random.default_rng(0)
    values = random.normal(3.0, 2.0, (6, 40)).astype("float32")
    valid = random.uniform(size=values.shape) < 0.6
    valid[2] = True
    valid[3] = np.arange(40) < 2
    valid[4] = np.arange(40) == 7
    valid[5] = False
    values[~valid] = np.nan
    return values, valid


def each(function, values: np.ndarray, valid: np.ndarray, none: float = 0.0) -> list[float]:
    return [
        function(row[known]) if known.any() else none
        for row, known in zip(values, valid, strict=True)
    ]


def test_sum_and_mean(rows):
    np.testing.assert_allclose(masked_sum(*rows), each(np.sum, *rows), rtol=1e-5)
    np.testing.assert_allclose(masked_mean(*rows), each(np.mean, *rows), rtol=1e-5)


def test_median_is_the_lower_one_of_two(rows):
    expected = each(lambda v: np.sort(v)[(len(v) - 1) // 2], *rows)
    np.testing.assert_array_equal(masked_median(*rows), np.array(expected, "float32"))
    odd = rows[1].sum(1) % 2 == 1
    np.testing.assert_array_equal(
        np.asarray(masked_median(*rows))[odd], np.array(each(np.median, *rows), "float32")[odd]
    )


def test_only_valid_replaces_everything_else():
    values = np.array([1.0, np.inf, np.nan], "float32")
    np.testing.assert_array_equal(
        only_valid(values, np.array([True, False, False]), fill=2.0), [1, 2, 2]
    )


def test_the_fit_is_that_of_a_bounded_solver(rows):
    values, valid = rows
    random = np.random.default_rng(1)
    # Rows of either sign: the best scale of some would be negative.
    slopes = np.array([2.0, -2.0, 0.3, -0.3, 1.0, 1.0], "float32")[:, None]
    noise = random.normal(size=values.shape).astype("float32")
    target = np.where(valid, slopes * np.where(valid, values, 0.0) + noise, np.inf)
    target = target.astype("float32")
    scale, shift, solvable = (np.asarray(x) for x in fit_scale_shift(values, target, valid))
    np.testing.assert_array_equal(solvable, [True, True, True, True, False, False])
    for i in range(4):
        known = valid[i]
        design = np.stack([values[i, known], np.ones(known.sum())], axis=1)
        expected = optimize.lsq_linear(
            design, target[i, known], bounds=([0.0, -np.inf], [np.inf, np.inf]), tol=1e-12
        ).x
        np.testing.assert_allclose([scale[i], shift[i]], expected, rtol=1e-3, atol=1e-3)
    assert scale[0] > 0 and scale[1] == 0
    np.testing.assert_allclose(shift[1], target[1, valid[1]].mean(), rtol=1e-5)
    np.testing.assert_allclose(scale[4:], 0.0)
    np.testing.assert_allclose(shift[4:], [target[4, 7], 0.0])


def test_a_falling_target_is_met_by_its_mean():
    values = np.linspace(0.1, 2.0, 30, dtype="float32")[None]
    target = 3.0 - values
    scale, shift, solvable = fit_scale_shift(values, target, np.ones_like(values, bool))
    assert bool(solvable[0]) and float(scale[0]) == 0.0
    np.testing.assert_allclose(shift[0], target.mean(), rtol=1e-6)


def test_an_affine_target_is_met_exactly():
    values = np.linspace(0.1, 2.0, 30, dtype="float32")[None]
    valid = np.ones_like(values, bool)
    scale, shift, solvable = fit_scale_shift(values, 5.0 * values - 3.0, valid)
    assert bool(solvable[0])
    np.testing.assert_allclose([scale[0], shift[0]], [5.0, -3.0], rtol=1e-5)


@pytest.mark.parametrize("constant", [0.0, 1.0, 1000.0])
def test_equal_values_determine_no_scale(constant):
    values = np.full((1, 50), constant, "float32")
    target = np.random.default_rng(0).normal(size=(1, 50)).astype("float32")
    *_, solvable = fit_scale_shift(values, target, np.ones((1, 50), bool))
    assert not bool(solvable[0])


def test_gradients_are_finite_whatever_is_valid(rows):
    values, valid = rows
    # The values are a prediction: finite, also where the target is not.
    values = tf.Variable(np.where(valid, values, 1.0))
    target = tf.constant(np.where(valid, 0.5, np.nan).astype("float32"))
    with tf.GradientTape() as tape:
        scale, shift, _ = fit_scale_shift(values, target, valid)
        residual = only_valid(scale[:, None] * values + shift[:, None] - target, valid)
        loss = masked_mean(keras.ops.square(residual), valid)
        loss += masked_median(values, valid) + masked_sum(values, valid)
    gradient = tape.gradient(loss, values)
    assert np.isfinite(loss).all() and np.isfinite(gradient).all()
    np.testing.assert_array_equal(np.asarray(gradient)[~valid], 0.0)
