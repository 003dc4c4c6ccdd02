"""Rotation and jigsaw: the changed view, its label, and its metrics, in numbers made by hand."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.ops.sampling import fold
from must_keras.self_supervised import Jigsaw, RandomViews, Rotation
from must_keras.self_supervised.changes import CROPS
from must_keras.self_supervised.jigsaw import Shuffled, permutations
from must_keras.self_supervised.rotation import Rotated
from must_keras.self_supervised.views import random_view

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (8, 8, 3)).astype(np.uint8)
ORIGINAL = RANDOM.integers(0, 256, (20, 30, 3)).astype(np.uint8)
X = {"image": tf.zeros((16, 16, 3), tf.uint8), "area": tf.constant([4.0, 0.0, 12.0, 16.0])}


def numbered(side: int) -> np.ndarray:
    """An image whose first channel numbers its pixels, row by row."""
    number = np.arange(side * side, dtype=np.uint8).reshape(side, side)
    return np.stack([number, number * 0, number * 0], axis=-1)


def changed(stream, image, choice) -> np.ndarray:
    """The first channel of a changed image, eagerly and inside tf.data."""
    eager = np.asarray(stream.change(tf.constant(image), tf.constant(choice)))
    data = tf.data.Dataset.from_tensors((image, np.int32(choice))).map(stream.change)
    (graph,) = data
    np.testing.assert_array_equal(graph, eager)
    assert eager.shape == image.shape and eager.dtype == np.uint8
    return eager[..., 0]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [(0, [[0, 1], [2, 3]]), (1, [[1, 3], [0, 2]]), (2, [[3, 2], [1, 0]]), (3, [[2, 0], [3, 1]])],
)
def test_a_view_is_rotated_counterclockwise(choice, wanted):
    np.testing.assert_array_equal(changed(Rotated(), numbered(2), choice), wanted)
    assert Rotated().classes[choice] == str(90 * choice)


def test_patches_are_put_in_the_order_of_the_class():
    """Orders (0, 1, 2, 3), (1, 0, 3, 2) and (2, 3, 0, 1) of patches of 2 pixels a side."""
    stream, image = Shuffled(grid=2, orders=3), numbered(4)
    np.testing.assert_array_equal(changed(stream, image, 0), image[..., 0])
    wanted = [[2, 3, 0, 1], [6, 7, 4, 5], [10, 11, 8, 9], [14, 15, 12, 13]]
    np.testing.assert_array_equal(changed(stream, image, 1), wanted)
    wanted = [[8, 9, 10, 11], [12, 13, 14, 15], [0, 1, 2, 3], [4, 5, 6, 7]]
    np.testing.assert_array_equal(changed(stream, image, 2), wanted)
    assert stream.classes == ("0 1 2 3", "1 0 3 2", "2 3 0 1")


def test_pixels_beyond_whole_patches_stay():
    stream, image = Shuffled(grid=2, orders=3), numbered(5)
    found = changed(stream, image, 2)
    np.testing.assert_array_equal(found[4], image[4, :, 0])
    np.testing.assert_array_equal(found[:, 4], image[:, 4, 0])
    np.testing.assert_array_equal(found[:2, :4], image[2:4, :4, 0])


def slow_permutations(grid, number):
    """The greedy choice, one comparison after the other."""
    every = list(itertools.permutations(range(grid * grid)))
    chosen = [every[0]]
    while len(chosen) < number:
        chosen.append(
            max(
                every,
                key=lambda p: min(sum(a != b for a, b in zip(p, c, strict=True)) for c in chosen),
            )
        )
    return tuple(chosen)


def test_orders_differ_as_much_as_they_can():
    assert permutations(2, 24) == slow_permutations(2, 24) and len(set(permutations(2, 24))) == 24
    orders = np.array(permutations(3, 30))
    differing = (orders[:, None] != orders[None]).sum(-1)[~np.eye(30, dtype=bool)]
    # Nine orders of nine patches can differ in every place, thirty cannot.
    assert differing.min() == 7 and (np.sort(orders, axis=1) == np.arange(9)).all()
    assert (differing.reshape(30, 29)[:9, :8] == 9).all()


@pytest.mark.parametrize("task", [Rotation(), Jigsaw(grid=2, orders=3)])
def test_the_label_is_the_change_of_the_view(task):
    """And the view without the change is a crop of the original, without padding."""
    (stream,) = task.streams
    keys = tf.range(100, 120)
    label = task.labels.label(X, keys)
    choices = np.asarray(label["probabilities"]).argmax(-1)
    assert set(choices) == set(range(len(stream.classes)))
    np.testing.assert_array_equal(np.sum(label["probabilities"], axis=-1), 1.0)
    np.testing.assert_array_equal(task.labels.weight(label), np.ones(20))
    for key, choice in zip(keys[:6], choices, strict=False):
        view = stream.view(ORIGINAL, X, key)
        crop = random_view(ORIGINAL, fold(stream._own(key[None]), 132)[0], CROPS, (16, 16))
        np.testing.assert_array_equal(view["image"], stream.change(crop, choice))
        np.testing.assert_array_equal(view["area"], [0, 0, 16, 16])


def test_each_change_is_as_likely_as_the_others_and_independent_of_other_kinds():
    kinds = (Rotated(), Shuffled(grid=2, orders=4))
    rotated, shuffled = (np.asarray(kind.choose(tf.range(8000))) for kind in kinds)
    shares = np.bincount(4 * rotated + shuffled, minlength=16) / 8000
    np.testing.assert_allclose(shares, 1 / 16, atol=0.01)


def test_metrics_are_against_chance():
    task, keys = Rotation(), tf.range(400)
    label = {k: np.asarray(v) for k, v in task.labels.label(X, keys).items()}
    evaluator, trivial = task.metrics.evaluator(), task.metrics.evaluator()
    evaluator.update(label, {"logits": label["probabilities"] * 3.0 - 9.0})
    assert evaluator.result() == {"top1": 1.0}
    baseline = task.metrics.trivial_baseline()
    baseline.update(label)
    trivial.update(label, baseline.predict(400))
    most = label["probabilities"].mean(0).max()
    assert trivial.result() == {"top1": pytest.approx(most)} and 0.25 <= most < 0.32
    assert list(Jigsaw().metrics.evaluator().result()) == ["top1", "top5"]


def test_equal_tasks_share_a_stream_and_others_do_not():
    assert Rotation(name="a").streams == Rotation(name="b").streams
    assert Rotation().streams != Rotation(views=RandomViews()).streams
    assert Jigsaw().streams != Jigsaw(orders=29).streams


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Jigsaw(grid=4), "'jigsaw': grid=4: expected 2 to 3 patches a side"),
        (lambda: Jigsaw(grid=2, orders=25), "orders=25: expected 2 to 24 orders of 4 patches"),
        (lambda: Jigsaw(orders=1), "orders=1: expected 2 to 1000 orders of 9 patches"),
        (lambda: Rotation(views=3), "views is an int, expected a RandomViews"),
        (lambda: Rotation(name=3), "name is an int, expected a str"),
    ],
)
def test_what_cannot_be_is_named(make, message):
    with pytest.raises(UserError, match=message):
        make()
