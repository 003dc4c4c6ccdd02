"""When a file's prediction is that of the model, and what is reported when it is not."""

import numpy as np
import pytest

from fakes.random_examples import ALL, KIND, PARTS, THINGS
from must_keras.errors import DataError, UserError
from must_keras.exports.comparison import _together, likeness, sample_images
from must_keras.runs.export_results import HeadLikeness


def prediction(task):
    random = np.random.default_rng(0)
    values = {
        "kind": {"probabilities": random.uniform(0, 1, (1, 3)).astype(np.float32)},
        "things": {
            "boxes": np.float32([[[0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 0, 0]]]),
            "scores": np.float32([[0.9, 0.4, 0]]),
            "classes": np.int32([[1, 2, -1]]),
            "masks": random.uniform(0, 1, (1, 3, 4, 4)).astype(np.float32),
        },
        "parts": {
            "map": random.integers(0, 3, (1, 10, 20)).astype(np.uint8),
            "confidence": random.uniform(0, 1, (1, 10, 20)).astype(np.float32),
        },
        "far": {"depth": random.uniform(1, 9, (1, 10, 20)).astype(np.float32)},
        "facing": {"normals": random.uniform(-1, 1, (1, 10, 20, 3)).astype(np.float32)},
    }
    return values[task.name]


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_equal_predictions_of_every_task(task):
    found = likeness("x", task, prediction(task), prediction(task))
    assert found.difference == 0.0 and found.objects == (2 if task is THINGS else None)
    assert found.agreement == (1.0 if task is PARTS else None)


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_every_output_of_every_task_is_compared(task):
    for key, value in prediction(task).items():
        worse = prediction(task)
        worse[key] = value + (np.arange(value.size).reshape(value.shape) % 9 == 0).astype(
            value.dtype
        )
        with pytest.raises(DataError, match="x"):
            likeness("x", task, prediction(task), worse)
        for broken in (np.nan, np.inf):
            worse[key] = value.astype(np.float64)
            worse[key].flat[-1] = broken
            with pytest.raises(DataError, match=f"{key} is not finite"):
                likeness("x", task, prediction(task), worse)


def test_messages_name_the_head_and_the_limit():
    other = {"probabilities": prediction(KIND)["probabilities"] + np.float32(0.002)}
    with pytest.raises(DataError) as error:
        likeness("model.onnx, image 1 of 2: head 'kind'", KIND, prediction(KIND), other)
    assert str(error.value) == (
        "model.onnx, image 1 of 2: head 'kind': probabilities differs from the model's by 2.0e-03, "
        "more than 1e-03"
    )
    moved = prediction(THINGS)
    moved["boxes"][0, 1] += 5
    with pytest.raises(DataError, match="head: 2 of 3 objects with scores of 0.1 and more have no"):
        likeness("head", THINGS, prediction(THINGS), moved)


def test_outputs_and_shapes_must_be_the_same():
    with pytest.raises(DataError, match=r"has the outputs \[\], the model's \['probabilities'\]"):
        likeness("x", KIND, prediction(KIND), {})
    with pytest.raises(DataError, match=r"shape \(1, 2\), the model's \(1, 3\)"):
        likeness("x", KIND, prediction(KIND), {"probabilities": np.zeros((1, 2))})


def test_a_head_over_all_images():
    one, other = (HeadLikeness(difference=d, agreement=a) for d, a in ((0.1, 1.0), (0.2, 0.9)))
    assert _together([one, other]) == HeadLikeness(difference=0.2, agreement=0.9)
    objects = [
        HeadLikeness(difference=0.1, objects=2, matched=2, lowest_iou=0.995),
        HeadLikeness(difference=0.0, objects=3, matched=3, lowest_iou=1.0),
    ]
    expected = HeadLikeness(difference=0.1, objects=5, matched=5, lowest_iou=0.995)
    assert _together(objects) == expected


class Images:
    """A source of images, each filled with its index; some cannot be read."""

    def __init__(self, name, count, unreadable=()):
        self.name, self._count, self._unreadable = name, count, unreadable

    def __len__(self):
        return self._count

    def image(self, index):
        if index in self._unreadable:
            raise UserError("no image")
        return np.full((2, 2, 3), index, np.uint8)


def test_images_are_of_all_sources():
    found = sample_images([Images("a", 5), Images("b", 2, unreadable=(0,))], 6)
    assert [int(image.max()) for image in found] == [0, 2, 4, 1]
    with pytest.raises(DataError, match="no image of a, b can be read"):
        sample_images([Images("a", 1, (0,)), Images("b", 1, (0,))], 6)
