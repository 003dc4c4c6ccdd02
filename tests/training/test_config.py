import pytest

from must_keras.training.config import averaging_momentum


@pytest.mark.parametrize(
    ("num_steps", "expected"), [(1, 0.0), (2, 0.0), (4, 0.0), (10, 0.0), (20, 0.5), (100, 0.9)]
)
@pytest.mark.parametrize("limit", [0.997, 0.9999])
def test_the_momentum_of_a_short_run(num_steps, expected, limit):
    assert averaging_momentum(num_steps, limit) == pytest.approx(expected)


def test_the_momentum_of_a_long_run_is_the_limit():
    assert averaging_momentum(10**6, 0.997) == 0.997
    assert averaging_momentum(10**6, 0.9999) == 0.9999


@pytest.mark.parametrize("num_steps", [11, 50, 300, 3000])
def test_the_initial_value_is_forgotten(num_steps):
    assert averaging_momentum(num_steps, 0.9999) ** num_steps < 1e-4
