import numpy as np
import pytest

from must_keras.inference.reliability import Reliability
from must_keras.tasks import Classification, Depth, Detection, Segmentation


def test_answers_are_counted_by_their_confidence():
    found = Reliability()
    found.add(np.array([0.0, 0.05, 0.55, 0.999, 1.0]), np.array([False, True, True, False, True]))
    found.add(np.array([0.5]), np.array([False]))
    assert found.result() == {
        "answers": [2, 0, 0, 0, 0, 2, 0, 0, 0, 2],
        "right": [1, 0, 0, 0, 0, 1, 0, 0, 0, 1],
    }
    assert Reliability().result() is None


def test_classes_and_pixels_are_right_or_wrong():
    kind = Classification(name="k", classes=("a", "b"))
    label = {"probabilities": np.eye(2)[[0, 1, 1]], "labelled": np.array([1.0, 1.0, 0.0])}
    said = {"probabilities": np.array([[0.7, 0.3], [0.6, 0.4], [0.0, 1.0]])}
    found = kind.certainty(label, said)
    assert found.scores.tolist() == [0.7, 0.6] and found.right.tolist() == [True, False]
    assert found.classes.tolist() == [0, 0] and found.true.tolist() == [1, 1]
    parts = Segmentation(name="s", classes=("x", "y"))
    label = {"map": np.array([[[0, 1], [255, 1]]])}
    said = {"map": np.array([[[0, 0], [0, 1]]]), "confidence": np.array([[[0.9, 0.8], [0.7, 0.6]]])}
    found = parts.certainty(label, said)
    # As the bytes of a column have them.
    assert (found.scores * 255).round(4).tolist() == [229, 204, 153]
    assert found.right.tolist() == [True, False, True] and found.classes.tolist() == [0, 0, 1]
    assert found.true.tolist() == [1, 2]
    assert Depth(name="d").certainty({}, {}) is None


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
        "surplus_boxes": np.zeros((1, 4, 4), np.float32),
    }
    said = {
        # The cat, the cat again, a dog that is a cat, the dog, in the crowd, nothing.
        "boxes": boxes(
            [0, 0, 10, 9], [0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 40, 39], [52, 52, 58, 58],
            [0, 0, 0, 0],
        ),
        "scores": np.array([[0.9, 0.8, 0.7, 0.6, 0.5, 0.0]]),
        "classes": np.array([[0, 0, 1, 1, 0, -1]]),
    }  # fmt: skip
    found = task.certainty(label, said)
    np.testing.assert_allclose(found.scores, [0.9, 0.8, 0.7, 0.6])
    assert found.right.tolist() == [True, False, False, True]
    assert found.classes.tolist() == [0, 0, 1, 1] and found.true.tolist() == [1, 1]
    # An object that stands in a crowd is found all the same.
    crowd = label | {"boxes": boxes([0, 0, 10, 10], [20, 20, 40, 40], [0, 0, 60, 60], [0, 0, 0, 0])}
    assert task.certainty(crowd, said).right.tolist() == [True, True]
    nothing = task.certainty(label | {"labelled": np.array([0.0])}, said)
    assert nothing.scores.shape == nothing.right.shape == (0,) and not nothing.true.any()


def test_only_detections_that_a_column_keeps_are_answers():
    task = Detection(name="o", classes=("cat",), score_floor=0.3, max_stored=2, max_detections=4)
    label = {
        "boxes": boxes([0, 0, 10, 10]),
        "classes": np.array([[0]]),
        "ignore": np.array([[False]]),
        "has_mask": np.zeros((1, 1), bool),
        "masks": np.zeros((1, 1, 1, 1), np.uint8),
        "labelled": np.array([1.0]),
        "surplus_boxes": np.zeros((1, 1, 4), np.float32),
    }

    def answers(*scores):
        said = {
            "boxes": np.tile(boxes([0, 0, 10, 10]), (1, len(scores), 1)),
            "scores": np.array([scores], np.float32),
            "classes": np.zeros((1, len(scores)), np.int32),
        }
        area = np.array([0, 0, 64, 64], np.float32)
        record = task.encode({key: value[0] for key, value in said.items()}, area, (64, 64))
        found = task.certainty(label, said).scores.tolist()
        assert found == record["scores"].tolist()
        return found

    assert answers(0.9, 0.8, 0.7) == pytest.approx([0.9, 0.8])
    assert answers(0.9, 0.29) == pytest.approx([0.9])


def test_classes_are_counted_in_stored_labels():
    kind = Classification(name="k", classes=("a", "b"))
    one = {"probabilities": np.array([0.2, 0.8]), "labelled": np.ones(())}
    assert kind.count_classes(one).tolist() == [0, 1]
    assert kind.count_classes(kind.missing()).tolist() == [0, 0]
    parts = Segmentation(name="s", classes=("x", "y"))
    assert parts.count_classes({"map": np.array([[0, 1], [1, 255]])}).tolist() == [0.25, 0.5]
    assert parts.count_classes(parts.missing()).tolist() == [0, 0]
    things = Detection(name="o", classes=("cat", "dog"))
    found = {"classes": np.array([1, 1, 0, -1]), "ignore": np.array([False, False, True, True])}
    assert things.count_classes(found).tolist() == [0, 2]
    assert things.count_classes(things.missing()).tolist() == [0, 0]
    assert Depth(name="d").count_classes({}) is None
