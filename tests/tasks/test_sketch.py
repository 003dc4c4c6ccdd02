"""Records in forms that a page can show, with numbers made by hand."""

import math

import numpy as np
import pytest

from must_keras.ops.masks import encode_rle
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.tasks.summaries import Pixels, Regions, Sketch

WHOLE, SIZE = np.array([0, 0, 4, 4], np.float32), (4, 4)
BOXES = Detection(name="boxes", classes=("ant", "bee"), score_floor=0.05)
MAP = Segmentation(name="map", classes=("wall", "floor"))


def boxes_record(scores, classes=None, masks=None):
    number = len(scores)
    return {
        "boxes": np.tile(np.array([0.0, 0.0, 0.5, 1.0], np.float32), (number, 1)),
        "scores": np.array(scores, np.float32),
        "classes": np.array(classes or [0] * number, np.int32),
        "masks": np.array(masks or [b""] * number, object),
        "mask_size": np.int32(2),
        "truncated": np.bool_(False),
    }


def map_record(classes, confidence):
    outputs = {
        "map": np.array(classes, np.uint8), "confidence": np.array(confidence, np.float32)
    }  # fmt: skip
    return MAP.records.from_prediction(outputs, np.array([0, 0, 2, 2]), (2, 2))


def test_a_classification_is_as_certain_as_its_first_class():
    task = Classification(name="kind", classes=("a", "b", "c"), top_k=2)
    outputs = {"probabilities": np.array([0.25, 0.0, 0.75], np.float32)}
    sketch = task.records.sketch(task.records.from_prediction(outputs, WHOLE, SIZE))
    assert sketch.certainty == 0.75
    assert sketch.answers.classes.tolist() == [2, 0]
    assert sketch.answers.probabilities.tolist() == [0.75, 0.25]
    assert sketch.regions is sketch.pixels is sketch.surface is None


def test_a_map_is_as_certain_as_its_pixels():
    sketch = MAP.records.sketch(map_record([[0, 1], [1, 1]], [[1.0, 0.8], [0.6, 0.4]]))
    assert sketch.certainty == pytest.approx((255 + 204 + 153 + 102) / 4 / 255)
    assert sketch.pixels.classes.tolist() == [[0, 1], [1, 1]]
    assert sketch.pixels.confidence.tolist() == [[255, 204], [153, 102]]


@pytest.mark.parametrize("threshold", [0.0, 0.4, 0.6, 0.8, (0.9, 0.7), 1.0])
def test_kept_pixels_are_those_that_the_label_keeps(threshold):
    record = map_record([[0, 1], [1, 0]], [[1.0, 0.8], [0.6, 0.4]])
    limits = np.broadcast_to(np.array(threshold, np.float64), 2)
    kept = MAP.records.sketch(record).pixels.kept(limits)
    np.testing.assert_array_equal(kept, MAP.records.to_label(record, threshold)["map"] != 255)


def test_what_is_no_class_is_never_kept():
    pixels = Pixels(
        classes=np.array([[0, 255]], np.uint8), confidence=np.array([[0, 255]], np.uint8)
    )
    assert pixels.kept(np.zeros(2)).tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("scores", "certainty"),
    [
        ([], 1.0),
        ([0.5], 0.0),
        ([1.0], 1.0),
        ([0.9, 0.1], 0.8),
        ([0.9, 0.5], 0.9 * 0.8 / 1.4),
        ([0.9] + [0.06] * 10, (0.9 * 0.8 + 0.6 * 0.88) / 1.5),
    ],
)
def test_boxes_are_certain_where_scores_are_decided(scores, certainty):
    assert BOXES.records.sketch(boxes_record(scores)).certainty == pytest.approx(
        certainty, abs=1e-6
    )


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.9, (0.95, 0.2)])
def test_kept_boxes_are_those_that_the_label_keeps(threshold):
    record = boxes_record([0.9, 0.3, 0.2], [0, 1, 1])
    regions = BOXES.records.sketch(record).regions
    limits = np.broadcast_to(np.array(threshold, np.float64), 2)
    label = BOXES.records.to_label(record, threshold)
    np.testing.assert_array_equal(regions.classes[regions.kept(limits)], label["classes"])
    assert len(label["classes"]) == regions.kept(limits).sum()


def test_an_object_is_where_its_mask_is_or_else_its_box():
    mask = np.array([[1, 0], [1, 0]], np.uint8)
    regions = BOXES.records.sketch(boxes_record([0.9, 0.8], masks=[encode_rle(mask), b""])).regions
    assert regions.masks[1] is None
    np.testing.assert_array_equal(regions.masks[0], mask)
    left = [[1, 1, 0, 0]] * 2 + [[0, 0, 0, 0]] * 2
    assert regions.place(0, (4, 4)).tolist() == np.array(left, bool).tolist()
    assert regions.place(1, (4, 4)).tolist() == [[True] * 4] * 2 + [[False] * 4] * 2


def test_metric_depth_is_sketched_in_logarithms():
    task = Depth(name="far", kind="metric")
    sketch = task.records.sketch(
        task.records.from_prediction({"depth": np.array([[1.0, 2.0], [4.0, 1.1]])}, WHOLE, SIZE)
    )
    expected = [[0.0, math.log(2)], [math.log(4), math.log(1.1)]]
    np.testing.assert_allclose(sketch.surface, expected, atol=1e-4)
    assert sketch.certainty is None


def test_relative_depth_is_sketched_in_its_own_span():
    task = Depth(name="near", kind="relative_inverse")
    depth = np.linspace(3.0, 5.0, 101, dtype=np.float32)[None]
    for scale, shift in ((1.0, 0.0), (7.0, 2.0)):
        record = task.records.from_prediction({"depth": scale * depth + shift}, WHOLE, SIZE)
        surface = task.records.sketch(record).surface
        assert np.ptp(surface) == pytest.approx(100 / 96, abs=1e-3)


def test_unknown_depth_is_nan():
    task = Depth(name="far", kind="metric")
    record = task.records.from_prediction(
        {"depth": np.array([[0.0, 2.0]], np.float32)}, WHOLE, SIZE
    )
    assert np.isnan(task.records.sketch(record).surface).tolist() == [[True, False]]
    relative = Depth(name="near", kind="relative_inverse")
    nothing = relative.records.from_prediction({"depth": np.zeros((1, 2), np.float32)}, WHOLE, SIZE)
    assert np.isnan(relative.records.sketch(nothing).surface).all()


def test_a_record_without_a_form_has_an_empty_sketch():
    task = Normals(name="facing")
    record = task.records.from_prediction({"normals": np.zeros((2, 2, 3), np.float32)}, WHOLE, SIZE)
    assert task.records.sketch(record) == Sketch()
    assert task.visualization.legend


def test_scores_are_compared_in_32_bits():
    regions = Regions(
        boxes=np.zeros((1, 4), np.float32), scores=np.array([0.3], np.float32),
        classes=np.array([0]), masks=(None,),
    )  # fmt: skip
    assert float(np.float32(0.3)) > 0.3 and regions.kept(np.array([0.3])).all()
    assert not regions.kept(np.array([0.30001])).any()
