"""Predictions matched to ground truth: correct or not, with their score."""

import numpy as np
import pytest

from must_keras.tasks import Classification, Depth, Detection, Segmentation


def test_classes_and_pixels_are_correct_or_not():
    kind = Classification(name="k", classes=("a", "b"))
    label = {"probabilities": np.eye(2)[[0, 1, 1]], "labelled": np.array([1.0, 1.0, 0.0])}
    predicted = {"probabilities": np.array([[0.7, 0.3], [0.6, 0.4], [0.0, 1.0]])}
    found = kind.metrics.scored_predictions(label, predicted)
    assert found.scores.tolist() == [0.7, 0.6] and found.correct.tolist() == [True, False]
    assert found.classes.tolist() == [0, 0] and found.num_true.tolist() == [1, 1]
    parts = Segmentation(name="s", classes=("x", "y"))
    label = {"map": np.array([[[0, 1], [255, 1]]])}
    predicted = {
        "map": np.array([[[0, 0], [0, 1]]]),
        "confidence": np.array([[[0.9, 0.8], [0.7, 0.6]]]),
    }
    found = parts.metrics.scored_predictions(label, predicted)
    # As the bytes of a record have them.
    assert (found.scores * 255).round(4).tolist() == [229, 204, 153]
    assert found.correct.tolist() == [True, False, True] and found.classes.tolist() == [0, 0, 1]
    assert found.num_true.tolist() == [1, 2]
    assert Depth(name="d").metrics.scored_predictions({}, {}) is None


def boxes(*entries):
    return np.array([entries], np.float32)


def test_a_detection_is_right_once_for_each_object():
    task = Detection(name="o", classes=("cat", "dog"))
    label = {
        "boxes": boxes([0, 0, 10, 10], [20, 20, 40, 40], [50, 50, 60, 60], [0, 0, 0, 0]),
        "classes": np.array([[0, 1, -1, -1]]),
        "ignore": np.array([[False, False, True, False]]),
        "has_mask": np.zeros((1, 4), bool),
        "masks": np.zeros((1, 4, 1, 1), np.uint8),
        "labelled": np.array([1.0]),
        "truncated_boxes": np.zeros((1, 4, 4), np.float32),
    }
    predicted = {
        # The cat, the cat again, a dog that is a cat, the dog, in the crowd, nothing.
        "boxes": boxes(
            [0, 0, 10, 9], [0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 40, 39], [52, 52, 58, 58],
            [0, 0, 0, 0],
        ),
        "scores": np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.0]]),
        "classes": np.array([[0, 0, 1, 1, 0, -1]]),
    }  # fmt: skip
    found = task.metrics.scored_predictions(label, predicted)
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7, 0.6])
    assert found.correct.tolist() == [True, False, False, True]
    assert found.classes.tolist() == [0, 0, 1, 1] and found.num_true.tolist() == [1, 1]
    # An object that stands in a crowd is found all the same.
    crowd = label | {"boxes": boxes([0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 60, 60], [0, 0, 0, 0])}
    assert task.metrics.scored_predictions(crowd, predicted).correct.tolist() == [True, True]
    nothing = task.metrics.scored_predictions(label | {"labelled": np.array([0.0])}, predicted)
    assert nothing.scores.shape == nothing.correct.shape == (0,) and not nothing.num_true.any()


def test_only_detections_that_are_stored_are_scored():
    task = Detection(name="o", classes=("cat",), score_floor=0.3, max_stored=2, max_detections=4)
    label = {
        "boxes": boxes([0, 0, 10, 10]),
        "classes": np.array([[0]]),
        "ignore": np.array([[False]]),
        "has_mask": np.zeros((1, 1), bool),
        "masks": np.zeros((1, 1, 1, 1), np.uint8),
        "labelled": np.array([1.0]),
        "truncated_boxes": np.zeros((1, 1, 4), np.float32),
    }

    def answers(*scores):
        predicted = {
            "boxes": np.tile(boxes([0, 0, 10, 10]), (1, len(scores), 1)),
            "scores": np.array([scores], np.float32),
            "classes": np.zeros((1, len(scores)), np.int32),
        }
        area = np.array([0, 0, 64, 64], np.float32)
        record = task.records.from_prediction(
            {key: value[0] for key, value in predicted.items()}, area, (64, 64)
        )
        found = task.metrics.scored_predictions(label, predicted).scores.tolist()
        assert found == record["scores"].tolist()
        return found

    assert answers(0.9, 0.8, 0.7) == pytest.approx([0.9, 0.8])
    assert answers(0.9, 0.29) == pytest.approx([0.9])


def test_classes_are_counted_in_stored_labels():
    kind = Classification(name="k", classes=("a", "b"))
    one = {"probabilities": np.array([0.2, 0.8]), "labelled": np.ones(())}
    assert kind.labels.count_classes(one).tolist() == [0, 1]
    assert kind.labels.count_classes(kind.labels.missing()).tolist() == [0, 0]
    parts = Segmentation(name="s", classes=("x", "y"))
    assert parts.labels.count_classes({"map": np.array([[0, 1], [1, 255]])}).tolist() == [0.25, 0.5]
    assert parts.labels.count_classes(parts.labels.missing()).tolist() == [0, 0]
    things = Detection(name="o", classes=("cat", "dog"))
    found = {"classes": np.array([1, 1, 0, -1]), "ignore": np.array([False, False, True, True])}
    assert things.labels.count_classes(found).tolist() == [0, 2]
    assert things.labels.count_classes(things.labels.missing()).tolist() == [0, 0]
    assert Depth(name="d").labels.count_classes({}) is None
