import keras
import numpy as np
import pytest
from keras import ops

from must_keras.ops import boxes as box_ops


def numpy_of(x):
    return np.asarray(ops.convert_to_numpy(x))


def random_boxes(rng, *shape):
    corner, side = rng.uniform(0, 50, (*shape, 2)), rng.uniform(1, 40, (*shape, 2))
    return np.concatenate([corner, corner + side], axis=-1).astype(np.float32)


def iou_of_two(a, b):
    height = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    width = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    common = height * width
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union else 0.0


def test_area_of_empty_and_reversed_boxes_is_zero():
    boxes = np.array([[0, 0, 2, 3], [1, 1, 1, 5], [4, 4, 2, 2]], np.float32)
    assert numpy_of(box_ops.area(boxes)).tolist() == [6.0, 0.0, 0.0]


@pytest.mark.parametrize("batched", [False, True])
def test_iou_equals_an_obvious_loop(batched):
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 5), random_boxes(rng, 2, 4)
    a = np.stack([a, a + 3]) if batched else a
    found = numpy_of(box_ops.iou(a, b))
    for image in range(2):
        for i in range(5):
            for j in range(4):
                own = a[image, i] if batched else a[i]
                assert found[image, i, j] == pytest.approx(iou_of_two(own, b[image, j]), abs=1e-6)


def test_iou_of_boxes_without_area_is_zero():
    nothing = np.zeros((1, 4), np.float32)
    assert numpy_of(box_ops.iou(nothing, nothing)).tolist() == [[0.0]]


def test_coverage_is_the_share_of_the_own_area():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 0, 0]], np.float32)
    regions = np.array([[[0, 0, 5, 10], [0, 0, 100, 100], [0, 0, 0, 0]]], np.float32)
    assert numpy_of(box_ops.coverage(boxes, regions)).tolist() == [[[0.5, 1, 0], [0, 0, 0]]]


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
def test_decode_undoes_encode(weights):
    rng = np.random.default_rng(1)
    boxes, anchors = random_boxes(rng, 3, 6), random_boxes(rng, 6)
    deltas = box_ops.encode(boxes, anchors, weights=weights)
    again = box_ops.decode(deltas, anchors, weights=weights)
    np.testing.assert_allclose(numpy_of(again), boxes, atol=1e-3)


def test_encode_by_hand():
    anchors = np.array([[0, 0, 10, 20]], np.float32)
    boxes = np.array([[0, 10, 20, 30]], np.float32)
    expected = [[0.5 * 10, 0.5 * 10, np.log(2) * 5, 0.0]]
    found = box_ops.encode(boxes, anchors, weights=(10.0, 10.0, 5.0, 5.0))
    np.testing.assert_allclose(numpy_of(found), expected, atol=1e-6)


def test_extreme_boxes_and_deltas_stay_finite():
    nothing = np.zeros((1, 4), np.float32)
    anchors = np.array([[0, 0, 10, 20]], np.float32)
    assert np.isfinite(numpy_of(box_ops.encode(nothing, anchors))).all()
    assert np.isfinite(numpy_of(box_ops.encode(nothing, nothing))).all()
    huge = np.full((1, 4), 1e6, np.float32)
    found = numpy_of(box_ops.decode(huge, anchors, weights=(10.0, 10.0, 5.0, 5.0)))
    assert np.isfinite(found).all()
    sides = (found[0, 2:] - found[0, :2]) / [10, 20]
    np.testing.assert_allclose(sides, 62.5, rtol=0.01)


def test_clip_cuts_to_a_rectangle_that_does_not_start_at_zero():
    boxes = np.array([[0, 0, 5, 50], [30, 30, 40, 40]], np.float32)
    limits = np.array([2, 3, 20, 20], np.float32)
    found = numpy_of(box_ops.clip(boxes, limits))
    assert found.tolist() == [[2, 3, 5, 20], [20, 20, 20, 20]]


def test_keras_own_functions_agree():
    rng = np.random.default_rng(5)
    boxes, anchors = random_boxes(rng, 2, 6), random_boxes(rng, 6)
    theirs = keras.utils.bounding_boxes
    formats = {"anchor_format": "yxyx", "box_format": "yxyx", "variance": [0.1, 0.1, 0.2, 0.2]}
    weights = (10.0, 10.0, 5.0, 5.0)
    deltas = box_ops.encode(boxes, anchors, weights=weights)
    wanted = theirs.encode_box_to_deltas(anchors, boxes, **formats)
    np.testing.assert_allclose(numpy_of(deltas), numpy_of(wanted), rtol=1e-5, atol=1e-5)
    wanted = theirs.decode_deltas_to_boxes(anchors, deltas, **formats)
    found = box_ops.decode(deltas, anchors, weights=weights)
    np.testing.assert_allclose(numpy_of(found), numpy_of(wanted), atol=1e-4)
    wanted = theirs.compute_iou(anchors, boxes, bounding_box_format="yxyx")
    np.testing.assert_allclose(numpy_of(box_ops.iou(anchors, boxes)), numpy_of(wanted), atol=1e-6)
