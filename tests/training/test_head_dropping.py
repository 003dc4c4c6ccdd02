"""Heads of an image that a step drops: which ones, and what the losses then are."""

import types

import numpy as np
import pytest

from must_keras.ops import sampling
from must_keras.training import head_dropping
from must_keras.training.network import losses_over, valid_counts

KEYS = np.arange(20_000, dtype=np.int32)


def sample(is_labeled, rate, keys=KEYS):
    return np.asarray(head_dropping.sample(is_labeled, keys, rate))


def slow_sample(is_labeled, keys, rate):
    """Image by image: the labeled head of the largest number stays, others by their own chance."""
    order = np.asarray(sampling.uniform(keys, is_labeled.shape[1], purpose=211))
    chance = np.asarray(sampling.uniform(keys, is_labeled.shape[1], purpose=212))
    found = np.zeros_like(is_labeled)
    for image, labeled in enumerate(is_labeled):
        heads = np.flatnonzero(labeled)
        if len(heads):
            always = max(heads, key=lambda head, i=image: order[i, head])
            found[image, [h for h in heads if h == always or chance[image, h] >= rate]] = True
    return found


@pytest.mark.parametrize("rate", [0.0, 0.5, 0.99])
def test_one_labeled_head_is_always_kept(rate):
    is_labeled = np.random.default_rng(0).random((500, 4)) < 0.5
    found = sample(is_labeled, rate, KEYS[:500])
    np.testing.assert_array_equal(found, slow_sample(is_labeled, KEYS[:500], rate))
    np.testing.assert_array_equal(found.any(axis=1), is_labeled.any(axis=1))
    assert not (found & ~is_labeled).any() and not is_labeled.any(axis=1).all()
    if rate == 0.0:
        np.testing.assert_array_equal(found, is_labeled)


def test_heads_are_dropped_as_often_as_asked():
    """One of n is kept for certain, each as often, the others with probability 1 - rate."""
    is_labeled = np.tile([True, True, False, True], (len(KEYS), 1))
    shares = sample(is_labeled, 0.6).mean(axis=0)
    expected = 1 / 3 + 2 / 3 * 0.4
    np.testing.assert_allclose(shares, [expected, expected, 0.0, expected], atol=0.01)


def test_a_sample_depends_on_the_images_key_alone():
    is_labeled, keys = np.ones((50, 3), bool), KEYS[:50]
    whole = sample(is_labeled, 0.5, keys)
    halves = [sample(is_labeled[:25], 0.5, part) for part in (keys[:25], keys[25:])]
    np.testing.assert_array_equal(whole, np.concatenate(halves))


def task_of(name: str):
    """A task whose label is (loss, weight) of each image."""
    return types.SimpleNamespace(
        name=name,
        labels=types.SimpleNamespace(weight=lambda label: label["weight"]),
        head=types.SimpleNamespace(loss=lambda label, prediction, layer, keys: label["loss"]),
    )


def test_losses_are_means_over_the_labels_that_are_kept():
    tasks = [task_of("one"), task_of("other")]
    labels = {
        "one": {"loss": np.float32([1, 2, 4, 0]), "weight": np.float32([1, 2, 1, 0])},
        "other": {"loss": np.float32([3, np.inf, 5, 6]), "weight": np.float32([1, 1, 1, 1])},
    }
    kept = {
        "one": np.array([True, True, False, False]),
        "other": np.array([True, False, True, True]),
    }
    model = types.SimpleNamespace(get_layer=lambda name: None)
    y = {"labels": labels, "keys": KEYS[:4], "kept": kept}
    counts = np.asarray(valid_counts(tasks, y))
    np.testing.assert_array_equal(counts, [3, 3])
    found = losses_over(model, tasks, y, {"one": None, "other": None}, counts)
    assert float(found["one"]) == pytest.approx(3 / 3) and float(found["other"]) == pytest.approx(
        14 / 3
    )
    del y["kept"]
    np.testing.assert_array_equal(valid_counts(tasks, y), [4, 4])


def test_what_has_no_label_is_never_kept():
    tasks = {name: task_of(name) for name in ("one", "other")}
    labels = {name: {"weight": np.float32([0, 7, 0])} for name in tasks}
    found = head_dropping.kept(tasks, {"labels": labels, "keys": KEYS[:3]}, 0.5)
    either = np.asarray(found["one"]) | np.asarray(found["other"])
    np.testing.assert_array_equal(either, [False, True, False])
