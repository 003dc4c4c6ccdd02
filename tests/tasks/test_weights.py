"""Losses of objects and pixels that have weights; see Teacher.weight_by_score."""

import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from must_keras.ops.letterboxing import letterbox
from must_keras.ops.views import View
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.tasks.detection import loss
from must_keras.tasks.segmentation import IGNORE
from must_keras.tasks.thresholds import DROPPED

BOXES = Detection(name="objects", classes=("cat", "dog"), max_boxes=4, mask_region=2)
MAP = Segmentation(name="parts", classes=("wall", "floor", "ball"), loss_stride=2)
WEIGHTED_BOXES = dataclasses.replace(BOXES, weighted=True)
WEIGHTED_MAP = dataclasses.replace(MAP, weighted=True)
WHOLE = letterbox(tf.constant([80, 80]), (80, 80))

# Two objects, a place that is a dropped box or nothing, and background, far from each other.
ANCHORS = np.float32([[0, 0, 10, 10], [20, 20, 30, 30], [40, 40, 50, 50], [60, 60, 70, 70]])
AREA = np.float32([[-100, -100, 200, 200]])
KEYS = np.zeros(1, np.int32)
SCORES = np.float32([[1.0, -1.0, 0.5, 2.0]])


def array(x):
    return np.asarray(ops.convert_to_numpy(x))


def boxes_label(*objects, weights=None):
    """The label of one image, of (box, class, ignored)."""
    room = 4
    label = {
        "boxes": np.zeros((1, room, 4), np.float32),
        "classes": np.full((1, room), -1, np.int32),
        "ignore": np.zeros((1, room), bool),
        "truncated_boxes": np.zeros((1, room, 4), np.float32),
    }
    for i, (box, category, ignored) in enumerate(objects):
        label["boxes"][0, i], label["classes"][0, i] = box, category
        label["ignore"][0, i] = ignored
    if weights is not None:
        label["weight"] = np.float32([[*weights, *[0.0] * (room - len(weights))]])
    return label


def two(*weights):
    """Objects at the first two anchors."""
    objects = [(ANCHORS[0], 0, False), (ANCHORS[1], 1, False)]
    return boxes_label(*objects, weights=weights or None)


def rpn(label, anchors=ANCHORS, scores=SCORES):
    deltas = np.zeros((1, len(anchors), 4), np.float32)
    deltas[0, :2] = 1.0
    prediction = {"scores": scores, "deltas": deltas, "area": AREA}
    return array(loss.rpn_loss(prediction, anchors, label, KEYS, count=8))


def second_stage(label):
    """The box loss of regions that match both objects, and of a background."""
    regions = loss.Regions(
        boxes=ANCHORS[None, [0, 1, 3]],
        chosen=np.array([[True, True, True]]),
        classes=np.array([[1, 2, 0]], np.int32),
        index=np.array([[0, 1, 1]], np.int32),
    )
    scores = np.float32([[[0, 1, 2], [3, 0, 0], [0, 1, 0]]])
    deltas = np.full((1, 3, 3, 4), 2.0, np.float32)
    return array(loss.box_loss(scores, deltas, regions, label, count=4))


def masks(label):
    """The mask loss of a region of each object and of a third without a mask."""
    index = np.array([[0, 1, 0]], np.int32)
    logits = np.zeros((1, 3, 2, 2), np.float32)
    logits[0, 1] = 3.0
    counts = np.array([[True, True, False]])
    weights = loss.object_weights(label, index)
    return array(loss.mask_loss(logits, np.zeros_like(logits), counts, weights=weights))


def entropy(x, t):
    return np.log1p(np.exp(-x if t else x))


def log_sum(*x):
    return np.log(np.exp(x).sum())


# ---- boxes ---------------------------------------------------------------------------------------


def test_rpn_loss_by_hand():
    moved = 4 * (1 - 1 / 18) / 9
    first, second = (entropy(x, 1) + moved for x in (1, -1))
    background = entropy(0.5, 0) + entropy(2, 0)
    expected = (0.25 * first + 0.5 * second + background) / 8
    np.testing.assert_allclose(rpn(two(0.25, 0.5)), [expected], rtol=1e-5)


def test_box_loss_by_hand():
    # Deltas of 2 where 0 is right, in four directions.
    moved = 4 * (2 - 0.5)
    first, second = log_sum(0, 1, 2) - 1 + moved, log_sum(3, 0, 0) - 0 + moved
    expected = (0.25 * first + 0.5 * second + log_sum(0, 1, 0)) / 4
    np.testing.assert_allclose(second_stage(two(0.25, 0.5)), [expected], rtol=1e-5)


def test_mask_loss_by_hand():
    expected = (0.25 * np.log(2) + 0.5 * entropy(3, 0)) / 2
    np.testing.assert_allclose(masks(two(0.25, 0.5)), [expected], rtol=1e-5)


@pytest.mark.parametrize("terms", [rpn, second_stage, masks])
def test_a_weight_of_1_is_none_and_the_loss_is_linear(terms):
    np.testing.assert_array_equal(terms(two(1, 1)), terms(two()))
    at_0, at_1, between = (terms(two(w, 1)) for w in (0, 1, 0.3))
    assert at_0 < at_1
    np.testing.assert_allclose(between, 0.7 * at_0 + 0.3 * at_1, rtol=1e-5)


def test_an_object_of_weight_0_teaches_what_an_ignored_one_does():
    objects = [(ANCHORS[0], 0, False), (ANCHORS[1], 1, True)]
    np.testing.assert_array_equal(rpn(two(1, 0)), rpn(boxes_label(*objects)))
    without = loss.Regions(
        boxes=ANCHORS[None, [0, 1, 3]],
        chosen=np.array([[True, False, True]]),
        classes=np.array([[1, 0, 0]], np.int32),
        index=np.array([[0, 1, 1]], np.int32),
    )
    scores = np.float32([[[0, 1, 2], [3, 0, 0], [0, 1, 0]]])
    deltas = np.full((1, 3, 3, 4), 2.0, np.float32)
    expected = array(loss.box_loss(scores, deltas, without, two(), count=4))
    np.testing.assert_array_equal(second_stage(two(1, 0)), expected)


def test_images_without_objects_have_the_same_loss():
    np.testing.assert_array_equal(rpn(boxes_label(weights=())), rpn(boxes_label()))


# Beside the object at 0, 0: larger than a box at 40, 40 to 50, 44, and at 60, 60 to 70, 62.
NEAR = np.float32([[40, 40, 50, 44], [60, 60, 70, 62]])


def test_anchors_near_dropped_boxes_are_not_background():
    """Less than half of these anchors is in an ignored box: as crowds they are background."""
    objects = [(ANCHORS[0], 0, False), (NEAR[0], 1, True), (NEAR[1], 1, True)]
    plain, crowds, dropped = (
        boxes_label(*objects, weights=weights) for weights in (None, (1, 0, 0), (1, 0.4, 0.4))
    )
    for label in (plain, crowds):
        _, negative = loss.anchor_roles(loss.match(ANCHORS, label))
        assert array(negative)[0].tolist() == [False, True, True, True]
    # An IoU of 0.4; 0.2, but no anchor is better.
    assert array(loss.near_dropped(ANCHORS, dropped))[0].tolist() == [False, False, True, True]
    assert not array(loss.near_dropped(ANCHORS, crowds)).any()
    moved = 4 * (1 - 1 / 18) / 9
    positive, negative = entropy(1, 1) + moved, [entropy(x, 0) for x in (-1, 0.5, 2)]
    for label, terms in ((plain, negative), (crowds, negative), (dropped, negative[:1])):
        np.testing.assert_allclose(rpn(label), [(positive + sum(terms)) / 8], rtol=1e-5)


def test_of_several_anchors_the_best_of_a_dropped_box_are_not_background():
    anchors = np.float32([[60, 60, 70, 70], [60, 60, 70, 80], [60, 60, 80, 80]])
    label = boxes_label((NEAR[1], 0, True), weights=(0.4,))
    assert array(loss.near_dropped(anchors, label))[0].tolist() == [True, False, False]


def test_regions_near_dropped_boxes_are_not_background():
    """Of a region with an IoU of at least 0.5 at least half is in the box: `match` ignores it."""
    random = np.random.default_rng(0)
    corners = random.uniform(0, 20, (500, 2))
    regions = np.concatenate([corners, corners + random.uniform(1, 30, (500, 2))], 1)
    box = np.float32([5, 5, 25, 25])
    low, high = np.maximum(regions[:, :2], box[:2]), np.minimum(regions[:, 2:], box[2:])
    common = np.maximum(high - low, 0).prod(1)
    iou = common / ((regions[:, 2:] - regions[:, :2]).prod(1) + 400 - common)
    assert (iou >= 0.5).any()
    matches = loss.match(regions.astype(np.float32), boxes_label((box, 0, True)))
    assert array(matches.ignored)[0][iou >= 0.501].all()


# ---- labels of boxes -----------------------------------------------------------------------------


def record(scores, classes, ignore=None, truncated=False):
    number = len(scores)
    places = np.arange(number)[:, None] / 10
    return {
        "boxes": np.concatenate([places, places, places + 0.1, places + 0.1], 1),
        "scores": np.float32(scores),
        "classes": np.int32(classes),
        "ignore": np.zeros(number, bool) if ignore is None else np.array(ignore),
        "masks": [b""] * number,
        "mask_size": np.int32(4),
        "truncated": np.bool_(truncated),
    }


def test_the_weight_of_a_pseudo_box_is_its_score():
    found = record([1.0, 0.9, 0.6, 0.4, 0.2], [0, 0, 1, 0, 0], [True, *[False] * 4])
    label = WEIGHTED_BOXES.records.to_label(found, (0.5, DROPPED), ignore_from=0.3)
    assert label["ignore"].tolist() == [True, False, True, True]
    # A crowd, an object, one of a dropped class, and one below the threshold.
    np.testing.assert_array_equal(label["weight"], np.float32([0, 0.9, 0.6, 0.4]))
    full = WEIGHTED_BOXES.records.to_label(record([0.9, 0.8], [0, 1], truncated=True), 0.5)
    np.testing.assert_array_equal(full["weight"], np.float32([0.9, 0.8, 0]))
    assert full["weight"].dtype == np.float32 and full["ignore"].tolist() == [False, False, True]
    plain = BOXES.records.to_label(found, (0.5, DROPPED), ignore_from=0.3)
    assert plain.keys() == label.keys() - {"weight"} == BOXES.labels.stored_spec().keys()
    for key, value in plain.items():
        np.testing.assert_array_equal(value, label[key])


def test_a_weight_goes_with_its_box_through_a_view():
    label = WEIGHTED_BOXES.records.to_label(
        record([0.9, 0.8, 0.7, 0.6, 0.4], [0] * 5), 0.5, ignore_from=0.3
    )
    # What is visible begins within the second box: a twentieth of it, and the others.
    begin = 0.195
    view = View(matrix=tf.constant([[0.01, 0, begin], [0, 0.01, begin]], tf.float32), size=(64, 64))
    seen = WEIGHTED_BOXES.labels.warp(WEIGHTED_BOXES.labels.compact(label), view)
    # Objects first, then what is ignored: barely visible, and below the threshold.
    assert array(seen["ignore"]).tolist() == [False, False, True, True]
    np.testing.assert_array_equal(seen["weight"], np.float32([0.7, 0.6, 0, 0.4]))
    plain = {key: value for key, value in label.items() if key != "weight"}
    without = BOXES.labels.warp(BOXES.labels.compact(plain), view)
    assert without.keys() == seen.keys() - {"weight"}
    for key, value in without.items():
        np.testing.assert_array_equal(value, seen[key])


def test_ground_truth_weighs_1():
    truth = BOXES.records.to_label(record([0.9, 0.8], [0, 1], [False, True]), 0.5)
    compact = WEIGHTED_BOXES.labels.compact(truth)
    assert compact["weight"].tolist() == [1, 0]
    seen = WEIGHTED_BOXES.labels.warp(compact, WHOLE)
    assert array(seen["weight"]).tolist() == [1, 0, 0, 0]
    assert BOXES.labels.compact(truth).keys() == truth.keys()


# ---- maps ----------------------------------------------------------------------------------------


def map_of(seed=0):
    classes = np.random.default_rng(seed).integers(0, 4, (2, 8, 8))
    return np.where(classes == 3, IGNORE, classes).astype(np.uint8)


LOGITS = np.random.default_rng(1).normal(size=(2, 2, 2, 3)).astype("float32")


def map_loss(classes, weights=None):
    label = {"map": classes} | ({} if weights is None else {"weight": weights})
    found = MAP.head.loss(label, {"values": LOGITS}, None, None)
    return array(found), array(MAP.labels.weight(label))


def test_the_loss_of_a_pixel_is_multiplied_by_its_weight():
    classes, weights = map_of(), np.random.default_rng(2).integers(1, 256, (2, 8, 8), np.uint8)
    expected, counts = np.zeros(2), np.zeros(2)
    for y, x in np.ndindex(8, 8):
        one = np.where((np.indices((8, 8)) == [[[y]], [[x]]]).all(0), classes, IGNORE)
        terms, valid = map_loss(one.astype(np.uint8))
        expected += terms * weights[:, y, x] / 255
        counts += valid
    found, valid = map_loss(classes, weights)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    # The sum is divided by the number of pixels, whatever their weights are.
    np.testing.assert_array_equal(valid, counts)


def test_pixels_of_weight_1_and_0():
    classes = map_of()
    np.testing.assert_array_equal(map_loss(classes, np.full_like(classes, 255)), map_loss(classes))
    gone = np.random.default_rng(3).random((2, 8, 8)) < 0.5
    weights = np.where(gone, 0, 255).astype(np.uint8)
    ignored = np.where(gone, IGNORE, classes).astype(np.uint8)
    np.testing.assert_array_equal(map_loss(classes, weights), map_loss(ignored))
    fifths = [map_loss(classes, np.full_like(classes, 51 * n))[0] for n in (1, 3, 5)]
    np.testing.assert_allclose(fifths[1], 3 * fifths[0], rtol=1e-6)
    np.testing.assert_allclose(fifths[2], 5 * fifths[0], rtol=1e-6)


def test_halves_of_a_batch_add_up():
    """Replicas and microbatches: sums of losses over the sum of their numbers of pixels."""
    classes, weights = map_of(), np.random.default_rng(2).integers(0, 256, (2, 8, 8), np.uint8)
    whole = map_loss(classes, weights)
    for i in range(2):
        label = {"map": classes[i : i + 1], "weight": weights[i : i + 1]}
        own = array(MAP.head.loss(label, {"values": LOGITS[i : i + 1]}, None, None))
        np.testing.assert_allclose(own, whole[0][i : i + 1], rtol=1e-6)
        np.testing.assert_array_equal(MAP.labels.weight(label), whole[1][i : i + 1])


def test_the_weight_of_a_pixel_is_its_confidence():
    outputs = {"map": np.uint8([[0, 1, 2]]), "confidence": np.float32([[1.0, 0.6, 0.3]])}
    found = MAP.records.from_prediction(outputs, np.array([0, 0, 1, 3]), (1, 3))
    label = WEIGHTED_MAP.records.to_label(found, 0.5)
    assert label["map"].tolist() == [[0, 1, IGNORE]]
    assert label["weight"].tolist() == [[255, 153, 76]] and label["weight"].dtype == np.uint8
    assert WEIGHTED_MAP.records.to_label(found, None)["weight"].tolist() == [[255, 153, 76]]
    for threshold in (0.5, None):
        assert MAP.records.to_label(found, threshold).keys() == {"map"}


@pytest.mark.parametrize("view", [WHOLE, letterbox(tf.constant([30, 80]), (64, 64)),
    View(matrix=tf.constant([[1 / 100, 0, 0.3], [0, -1 / 100, 0.9]]), size=(64, 64))])  # fmt: skip
def test_a_weight_goes_with_its_pixel_through_a_view(view):
    classes = np.random.default_rng(0).integers(0, 3, (20, 31)).astype(np.uint8)
    stored = {"map": classes, "weight": classes * 100 + 10}
    seen = WEIGHTED_MAP.labels.warp(WEIGHTED_MAP.labels.compact(stored), view)
    shown, weights = array(seen["map"]), array(seen["weight"])
    known = shown != IGNORE
    assert known.any()
    np.testing.assert_array_equal(weights[known], shown[known] * 100 + 10)
    truth = WEIGHTED_MAP.labels.warp(WEIGHTED_MAP.labels.compact({"map": classes}), view)
    np.testing.assert_array_equal(truth["map"], shown)
    assert (array(truth["weight"])[known] == 255).all()


# ---- all tasks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("task", [WEIGHTED_BOXES, WEIGHTED_MAP], ids=lambda task: task.kind)
def test_labels_of_a_weighted_task_are_as_specified(task):
    specs, missing = task.labels.stored_spec(), task.labels.missing()
    assert specs["weight"].optional and specs.keys() == missing.keys()
    for key, spec in specs.items():
        assert missing[key].dtype == spec.dtype and missing[key].ndim == len(spec.shape), key
    label = task.labels.warp(task.labels.compact(missing), WHOLE)
    assert float(ops.sum(task.labels.weight({k: v[None] for k, v in label.items()}))) == 0
    for key, spec in task.labels.spec((80, 80)).items():
        assert tuple(label[key].shape) == spec.shape and label[key].dtype == spec.dtype, key


@pytest.mark.parametrize("task", [
    BOXES, MAP, Depth(name="far"), Normals(name="facing"),
    Classification(name="kind", classes=("a", "b")),
])  # fmt: skip
def test_a_task_without_weights_is_described_as_before(task):
    assert "weighted" not in task.describe() and "weighted" not in task.get_config()
    weighted = dataclasses.replace(task, weighted=True)
    assert weighted != task and weighted.describe() == task.describe() | {"weighted": True}
    config = json.loads(json.dumps(weighted.get_config()))
    assert type(task).from_config(config) == weighted
