"""What evaluators find beside their metrics, and the disagreement of an image; numbers by hand."""

import math

import numpy as np
import pytest

from must_keras.tasks import Classification, Depth, Segmentation, Tags
from must_keras.tasks.details import BACKGROUND, Details, ratio

KIND = Classification(name="kind", classes=("ant", "bee", "cat"))
PARTS = Segmentation(name="parts", classes=("wall", "floor", "ball"))
SCENE = Tags(name="scene", classes=("beach", "people"))
DISTANCE = Depth(name="distance")


def details(task, label, prediction):
    evaluator = task.metrics.evaluator()
    evaluator.update(label, prediction)
    return evaluator.details(task.labels.classes, size=64)


def test_the_accuracy_of_each_class_and_what_it_is_taken_for():
    label = {"probabilities": np.eye(3)[[0, 0, 0, 1, 2]], "labelled": np.float32([1, 1, 1, 1, 0])}
    prediction = {"probabilities": np.eye(3)[[0, 0, 1, 1, 2]]}
    found = details(KIND, label, prediction)
    assert found.by_class["ant"] == {"images": 3, "top1": pytest.approx(2 / 3), "precision": 1.0}
    assert found.by_class["bee"] == {"images": 1, "top1": 1.0, "precision": 0.5}
    assert found.by_class["cat"] == pytest.approx(
        {"images": 0, "top1": math.nan, "precision": math.nan}, nan_ok=True
    )
    assert found.confusion == {"ant": {"ant": 2, "bee": 1}, "bee": {"bee": 1}}


def test_the_disagreement_of_a_class_is_its_cross_entropy():
    label = {"probabilities": np.eye(3)[[0, 1, 2]], "labelled": np.float32([1, 1, 0])}
    prediction = {"probabilities": np.float32([[0.25, 0.5, 0.25], [0, 1, 0], [1, 0, 0]])}
    worse, right, unlabeled = KIND.metrics.disagreements(label, prediction)
    assert (
        worse.amount == pytest.approx(math.log(4)) and worse.text == "loss 1.39: ant 0.25, bee 0.50"
    )
    assert right.amount == pytest.approx(0.0) and unlabeled is None


def test_the_iou_of_each_class_and_confused_pixels():
    label = {"map": np.uint8([[[0, 0, 1, 255]]])}
    prediction = {"map": np.uint8([[[0, 1, 1, 1]]])}
    found = details(PARTS, label, prediction)
    wall = {"share": 2 / 3, "iou": 1 / 2, "accuracy": 1 / 2, "precision": 1.0}
    floor = {"share": 1 / 3, "iou": 1 / 2, "accuracy": 1.0, "precision": 1 / 2}
    assert found.by_class["wall"] == pytest.approx(wall)
    assert found.by_class["floor"] == pytest.approx(floor)
    assert math.isnan(found.by_class["ball"]["iou"])
    assert found.confusion == {"wall": {"wall": 1, "floor": 1}, "floor": {"floor": 1}}
    assert PARTS.metrics.disagreements(label, prediction)[0].amount == pytest.approx(1 / 3)
    assert PARTS.metrics.disagreements({"map": np.uint8([[[255]]])}, prediction) == [None]


def test_the_scores_of_each_tag():
    label = {"tags": np.float32([[1, 0], [0, 1], [1, -1]])}
    prediction = {"tags": np.float32([[0.9, 0.6], [0.2, 0.9], [0.4, 0.9]])}
    found = details(SCENE, label, prediction)
    assert found.by_class["beach"] == pytest.approx(
        {"images": 2, "average_precision": 1.0, "f1": 2 / 3, "precision": 1.0, "recall": 1 / 2}
    )
    assert found.by_class["people"] == pytest.approx(
        {"images": 1, "average_precision": 1.0, "f1": 2 / 3, "precision": 1 / 2, "recall": 1.0}
    )
    first, second, third = SCENE.metrics.disagreements(label, prediction)
    assert first == (pytest.approx(0.7), "wrong: people") and second.text == "all tags right"
    assert third.amount == pytest.approx(0.6)


def test_other_tasks_disagree_by_their_first_metric():
    meters = np.full((3, 4, 4), 2.0)
    label = {"depth": np.stack([meters[0], meters[0], np.zeros((4, 4))])}
    prediction = {"depth": np.stack([meters[0], 2 * meters[0], meters[0]])}
    assert details(DISTANCE, label, prediction) == Details()
    found = DISTANCE.metrics.disagreements(label, prediction)
    assert found == [(0.0, "delta1 1.000"), (1.0, "delta1 0.000"), None]


def test_background_is_the_index_after_the_last_class():
    found = Details.of_classes(("a", "b"), {"n": np.arange(2)}, confused={(2, 0): 3, (1, 2): 4})
    assert (
        found.by_class == {"a": {"n": 0}, "b": {"n": 1}} and type(found.by_class["a"]["n"]) is int
    )
    assert found.confusion == {"b": {BACKGROUND: 4}, BACKGROUND: {"a": 3}}
    np.testing.assert_equal(ratio(np.array([1, 1]), np.array([0, 4])), [math.nan, 0.25])
