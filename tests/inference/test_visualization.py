import numpy as np

from must_keras.inference import visualization


def test_a_row_is_as_high_as_its_highest_picture():
    black, low = np.zeros((10, 20, 3), np.uint8), np.zeros((6, 5, 3), np.uint8)
    grid = visualization.grid([[black, low], [low]])
    assert grid.shape == (10 + 4 + 6, 20 + 4 + 20, 3)
    assert not grid[:10, :20].any() and not grid[:6, 24:29].any() and not grid[14:, :5].any()
    assert (grid == 0).all(-1).sum() == 200 + 30 + 30


def test_indices_are_spread():
    assert visualization.spread(3, 11) == [0, 5, 10]
    assert visualization.spread(6, 2) == [0, 1]
    assert visualization.spread(1, 9) == [0]
