"""Weights of classes in the losses of classification and segmentation; numbers by hand."""

import dataclasses

import numpy as np
import pytest

from must_keras.data.class_weights import balanced_class_weights
from must_keras.data.sources import Source
from must_keras.data.sources.source import LabelSpace, class_label
from must_keras.errors import UserError
from must_keras.tasks import Classification, Depth, Segmentation

KIND = Classification(name="kind", classes=("a", "b"))
PARTS = Segmentation(name="parts", classes=("wall", "ball"), loss_stride=1)
LOGITS = np.log(np.float32([[0.8, 0.2], [0.4, 0.6]]))


def weighted(task, *weights):
    return dataclasses.replace(task, class_weights=weights)


def class_losses(task, probabilities):
    label = {"probabilities": np.float32(probabilities), "labelled": np.ones(2, np.float32)}
    return np.asarray(task.head.loss(label, {"logits": LOGITS}, None, None))


def test_each_term_of_a_cross_entropy_has_the_weight_of_its_class():
    one_hot, soft = [[1, 0], [0, 1]], [[0.5, 0.5], [0, 1]]
    task = weighted(KIND, 2.0, 3.0)
    expected = [-2 * np.log(0.8), -3 * np.log(0.6)]
    np.testing.assert_allclose(class_losses(task, one_hot), expected, rtol=1e-5)
    expected = [-1.0 * np.log(0.8) - 1.5 * np.log(0.2), -3 * np.log(0.6)]
    np.testing.assert_allclose(class_losses(task, soft), expected, rtol=1e-5)
    plain = class_losses(KIND, soft)
    np.testing.assert_array_equal(class_losses(weighted(KIND, 1.0, 1.0), soft), plain)


def test_each_pixel_has_the_weight_of_its_class_and_of_its_confidence():
    label = {"map": np.uint8([[[0, 1], [1, 255]]])}
    values = np.log(np.float32([[[[0.8, 0.2], [0.4, 0.6]], [[0.5, 0.5], [0.1, 0.9]]]]))
    task = weighted(PARTS, 2.0, 3.0)
    found = np.asarray(task.head.loss(label, {"values": values}, None, None))
    expected = -2 * np.log(0.8) - 3 * np.log(0.6) - 3 * np.log(0.5)
    np.testing.assert_allclose(found, [expected], rtol=1e-5)
    both = dataclasses.replace(task, weighted=True)
    label |= {"weight": np.uint8([[[255, 0], [51, 255]]])}
    found = np.asarray(both.head.loss(label, {"values": values}, None, None))
    np.testing.assert_allclose(found, [-2 * np.log(0.8) - 0.6 * np.log(0.5)], rtol=1e-5)


def test_they_are_an_input_only_where_they_are_given():
    for task in (KIND, PARTS):
        assert "class_weights" not in task.describe() and "weighted" not in task.get_config()
        given = weighted(task, 1.0, 2.0)
        assert given.describe()["class_weights"] == (1.0, 2.0)
        assert type(task).from_config(given.get_config()) == given


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, float("inf")), (1.0, "2")])
def test_values_are_checked(weights):
    for task in (KIND, PARTS):
        with pytest.raises(UserError, match="class_weights"):
            weighted(task, *weights)


class Nine(Source):
    """Eight images of a and one of b; a tenth without a label."""

    name = "nine"
    label_spaces = {"kind": LabelSpace.of(KIND)}  # noqa: RUF012

    def __len__(self):
        return 10

    def image_id(self, index):
        return str(index)

    def image(self, index):
        raise AssertionError("no image is read")

    def labels(self, index):
        return {"kind": class_label(int(index == 8), 2)} if index < 9 else {}

    def describe(self):
        return {}


def test_balanced_weights_are_a_power_of_the_inverse_frequency_with_a_mean_of_1():
    assert balanced_class_weights(Nine(), KIND, power=0.0) == (1.0, 1.0)
    np.testing.assert_allclose(balanced_class_weights(Nine(), KIND, power=1.0), [9 / 16, 9 / 2])
    rare, common = balanced_class_weights(Nine(), KIND)[::-1]
    assert rare / common == pytest.approx(np.sqrt(8), rel=1e-5)
    assert 8 / 9 * common + 1 / 9 * rare == pytest.approx(1.0, rel=1e-5)
    with pytest.raises(UserError, match="power=2"):
        balanced_class_weights(Nine(), KIND, power=2.0)
    with pytest.raises(UserError, match="no classes"):
        balanced_class_weights(Nine(), Depth(name="far"))
