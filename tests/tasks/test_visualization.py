import numpy as np
import pytest

from must_keras.tasks.visualization import enlarge, enlargement


@pytest.mark.parametrize(
    ("size", "factor"),
    [((32, 32), 5), ((96, 300), 2), ((160, 500), 1), ((1, 1), 160), ((1, 100), 40), ((20, 800), 5)],
)
def test_small_pictures_grow(size, factor):
    assert enlargement(*size) == factor
    assert enlarge(np.zeros((*size, 3), np.uint8)).shape == (size[0] * factor, size[1] * factor, 3)


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (65_535, 2), (4097, 1)])
def test_long_lines_do_not_grow(size):
    assert enlarge(np.zeros((*size, 3), np.uint8)).shape == (*size, 3)
