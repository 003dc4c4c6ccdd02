import numpy as np
from keras import ops

from must_keras.ops import draws
from must_keras.ops.sampling import choose, take


def choices(candidates, count, keys):
    numbers = draws.uniform(np.asarray(keys, np.int32), candidates.shape[1], purpose=1)
    indices, chosen = choose(candidates, count, numbers)
    return ops.convert_to_numpy(indices), ops.convert_to_numpy(chosen)


def test_only_candidates_are_chosen_and_never_twice():
    candidates = np.random.default_rng(0).random((4, 50)) < 0.5
    indices, chosen = choices(candidates, 10, range(4))
    assert chosen.all()
    for row, image in zip(indices, candidates, strict=True):
        assert len(set(row.tolist())) == 10
        assert image[row].all()


def test_too_few_candidates_are_all_chosen_first():
    candidates = np.zeros((2, 8), bool)
    candidates[0, [2, 5]] = True
    indices, chosen = choices(candidates, 4, [1, 2])
    assert chosen.tolist() == [[True, True, False, False], [False] * 4]
    assert sorted(indices[0, :2].tolist()) == [2, 5]


def test_more_than_there_are_is_cut():
    indices, chosen = choices(np.ones((1, 3), bool), 10, [0])
    assert sorted(indices[0].tolist()) == [0, 1, 2]
    assert chosen.all()


def test_a_choice_depends_on_the_key_and_is_uniform():
    candidates = np.ones((3000, 6), bool)
    indices, _ = choices(candidates, 2, range(3000))
    counts = np.bincount(indices.ravel(), minlength=6)
    # 1000 expected each; 5 standard deviations are about 130.
    assert abs(counts - 1000).max() < 130
    again, _ = choices(candidates[:5], 2, range(5))
    assert (again == indices[:5]).all()


def test_take_picks_rows_of_each_image():
    rows = np.arange(2 * 3 * 2).reshape(2, 3, 2)
    found = ops.convert_to_numpy(take(rows, np.array([[2, 2], [0, 1]], np.int32)))
    assert found.tolist() == [[[4, 5], [4, 5]], [[6, 7], [8, 9]]]
    flat = ops.convert_to_numpy(take(rows[:, :, 0], np.array([[1], [0]], np.int32)))
    assert flat.tolist() == [[2], [6]]
