"""Contrast as a head: the loss of some images of a batch, against a slow version; its metric."""

import numpy as np
import pytest

from must_keras.errors import UserError
from must_keras.self_supervised import Contrast

RANDOM = np.random.default_rng(0)


def slow(first, second, shown, temperature):
    """Equation 1 of the paper over the views of the images that are shown, one loss an image."""
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (first, second)]
    everyone = [(side, i) for i in np.flatnonzero(shown) for side in (0, 1)]
    found = np.zeros(len(first))
    for side, i in everyone:
        similarity = {
            (other, k): np.exp(unit[side][i] @ unit[other][k] / temperature)
            for other, k in everyone
            if (other, k) != (side, i)
        }
        found[i] -= np.log(similarity[1 - side, i] / sum(similarity.values())) / 2
    return found


def views(count=6, dimensions=5):
    return RANDOM.normal(size=(2, count, dimensions)).astype(np.float32)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("shown", [[1, 1, 1, 1, 1, 1], [1, 0, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]])
def test_the_loss_is_that_of_the_images_that_are_shown(temperature, shown):
    task, (first, second) = Contrast(temperature=temperature), views()
    label = task.labels.label({"shown": np.array(shown, bool)}, None)
    found = np.asarray(task.head.loss(label, [first, second], None, None))
    np.testing.assert_allclose(found, slow(first, second, shown, temperature), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(task.labels.weight(label), shown)
    # What is not shown changes nothing.
    changed = np.where(np.array(shown, bool)[:, None], first, 9.0)
    np.testing.assert_array_equal(task.head.loss(label, [changed, second], None, None), found)


def score(label, prediction) -> float:
    evaluator = Contrast().metrics.evaluator()
    evaluator.update(label, prediction)
    return evaluator.result()["partner_top1"]


def test_the_metric_counts_views_whose_partner_is_the_nearest():
    eye, shown = np.eye(4), {"shown": np.ones(4, bool)}
    assert score(shown, [eye, 2 * eye]) == 1.0
    assert score(shown, [eye, np.roll(eye, 1, axis=0)]) == 0.0
    # Two of four images change places.
    assert score(shown, [eye, eye[[1, 0, 2, 3]]]) == 0.5
    assert np.isnan(score({"shown": np.array([True])}, [eye[:1], eye[:1]]))
    some = {"shown": np.array([True, True, False, False])}
    assert score(some, [eye, eye[[0, 1, 3, 2]]]) == 1.0


def test_the_trivial_baseline_is_chance():
    baseline = Contrast().metrics.trivial_baseline()
    baseline.update({"shown": np.ones(8, bool)})
    found = score({"shown": np.ones(8, bool)}, baseline.predict(8))
    assert found == pytest.approx(1 / 15)


def test_views_are_two_streams_and_equal_tasks_share_them():
    one, other = Contrast().streams
    assert one != other
    assert Contrast(name="again", temperature=1.0).streams == (one, other)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"temperature": 0.0}, "'contrast': temperature=0.0: expected a number above 0"),
        ({"temperature": float("nan")}, "temperature=nan: expected a number above 0"),
        ({"dimensions": 0}, "dimensions=0: expected a number above 0"),
        ({"views": None}, "views is a NoneType, expected a RandomViews"),
    ],
)
def test_what_cannot_be_is_named(values, message):
    with pytest.raises(UserError, match=message):
        Contrast(**values)
