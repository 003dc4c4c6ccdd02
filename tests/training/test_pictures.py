import numpy as np

from must_keras.training import pictures


def test_a_row_is_as_high_as_its_highest_picture():
    black, low = np.zeros((10, 20, 3), np.uint8), np.zeros((6, 5, 3), np.uint8)
    grid = pictures.grid([[black, low], [low]])
    assert grid.shape == (10 + 4 + 6, 20 + 4 + 20, 3)
    assert not grid[:10, :20].any() and not grid[:6, 24:29].any() and not grid[14:, :5].any()
    assert (grid == 0).all(-1).sum() == 200 + 30 + 30


def test_indices_are_spread():
    assert pictures.spread(3, 11) == [0, 5, 10]
    assert pictures.spread(6, 2) == [0, 1]
    assert pictures.spread(1, 9) == [0]
