import numpy as np
from keras import ops

from must_keras.ops import sampling
from must_keras.ops.sampling import choose, columns_in_use, leading, spread, take


def choices(candidates, count, keys):
    numbers = sampling.uniform(np.asarray(keys, np.int32), candidates.shape[1], purpose=1)
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


def test_leading_elements_are_made_up_to_a_multiple_image_by_image():
    exists = np.zeros((4, 6), bool)
    exists[1, :1], exists[2, :4], exists[3, :5] = True, True, True
    places = ops.convert_to_numpy(leading(exists, multiple=4)).tolist()
    # None, one, and four make four; five make eight, of which there are six.
    assert places == [0, 1, 2, 3, 6, 7, 8, 9, 12, 13, 14, 15, 18, 19, 20, 21, 22, 23]
    alone = ops.convert_to_numpy(leading(exists[2:3], multiple=4)).tolist()
    assert alone == [0, 1, 2, 3]


def test_what_was_computed_for_some_comes_back_to_its_place():
    places = np.int32([1, 2, 5])
    values = np.float32([[1, 10], [2, 20], [3, 30]])
    found = ops.convert_to_numpy(spread(values, places, (2, 3)))
    assert found[..., 0].tolist() == [[0, 1, 2], [0, 0, 3]]
    assert found[..., 1].tolist() == [[0, 10, 20], [0, 0, 30]]


def test_columns_that_no_image_uses_are_left_out():
    used = np.zeros((3, 6), bool)
    used[0, 2], used[1, [2, 4]] = True, True
    assert ops.convert_to_numpy(columns_in_use(used)).tolist() == [0, 2, 4]
    assert ops.convert_to_numpy(columns_in_use(used[2:])).tolist() == [0]
