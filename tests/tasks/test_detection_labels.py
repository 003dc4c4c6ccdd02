import functools

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from must_keras.errors import UserError
from must_keras.ops.letterboxing import letterbox
from must_keras.ops.views import View
from must_keras.tasks.detection import Detection
from must_keras.tasks.thresholds import DROPPED

TASK = Detection(name="objects", classes=("cat", "dog"), max_boxes=4, mask_region=2)


def stored(boxes, classes=None, masks=None, ignore=None):
    number = len(boxes)
    return {
        "boxes": np.asarray(boxes, np.float32).reshape(-1, 4),
        "classes": np.asarray(classes if classes is not None else [0] * number, np.int32),
        "masks": np.ones((number, 4, 4), np.uint8)
        if masks is None
        else np.asarray(masks, np.uint8),
        "has_mask": np.ones(number, bool),
        "ignore": np.asarray(ignore if ignore is not None else [False] * number, bool),
        "labelled": np.float32(1.0),
    }


def view_of(rows, columns, size=(80, 80)):
    """fy = rows[0] y + rows[1], fx = columns[0] x + columns[1]."""
    matrix = [[rows[0], 0.0, rows[1]], [0.0, columns[0], columns[1]]]
    return View(matrix=ops.convert_to_tensor(np.asarray(matrix, np.float32)), size=size)


WHOLE = view_of((1 / 80, 0.0), (1 / 80, 0.0))
# 80 pixels show the middle half.
MIDDLE = view_of((1 / 160, 0.25), (1 / 160, 0.25))
MIRRORED = view_of((1 / 80, 0.0), (-1 / 80, 1.0))


@functools.cache
def in_graph(task, size):
    """The warp, traced once for all labels and views."""
    stored = {
        key: tf.TensorSpec(spec.shape, spec.dtype)
        for key, spec in task.labels.stored_spec().items()
    }
    return tf.function(
        lambda label, matrix: task.labels.warp(label, View(matrix=matrix, size=size)),
        input_signature=[stored, tf.TensorSpec((2, 3))],
        autograph=False,
    )


def warp(label, view, task=TASK):
    spec = task.labels.spec(view.size)
    eager = {
        k: np.asarray(ops.convert_to_numpy(v)) for k, v in task.labels.warp(label, view).items()
    }
    data = tf.data.Dataset.from_tensors({k: np.asarray(v) for k, v in label.items()})
    inside = next(iter(data.map(lambda x: in_graph(task, view.size)(x, view.matrix))))
    assert set(spec) == set(eager)
    for key, wanted in spec.items():
        assert eager[key].shape == tuple(wanted.shape)
        assert eager[key].dtype == wanted.dtype
        np.testing.assert_array_equal(inside[key].numpy(), eager[key])
    return eager


def test_the_whole_image_is_in_pixels_with_padding():
    label = warp(stored([[0, 0, 0.5, 0.25], [0.5, 0.5, 1, 1]], [1, 0]), WHOLE)
    expected = [[0, 0, 40, 20], [40, 40, 80, 80], [0] * 4, [0] * 4]
    np.testing.assert_allclose(label["boxes"], expected, atol=1e-4)
    assert label["classes"].tolist() == [1, 0, -1, -1]
    assert label["has_mask"].tolist() == [True, True, False, False]
    assert not label["ignore"].any()
    assert label["masks"][:2].all() and not label["masks"][2:].any()
    assert label["labelled"] == 1.0


def test_a_crop_clips_boxes_and_cuts_masks_to_what_is_seen():
    mask = [[[1, 1, 0, 0]] * 4]
    label = warp(stored([[0.25, 0.0, 0.75, 0.5]], masks=mask), MIDDLE)
    np.testing.assert_allclose(label["boxes"][0], [0, 0, 80, 40], atol=1e-4)
    # The right half of the mask is empty.
    assert not label["masks"][0].any()
    other = warp(stored([[0.25, 0.0, 0.75, 0.5]], masks=[[[0, 0, 0, 1]] * 4]), MIDDLE)
    assert other["masks"][0].astype(int).tolist() == [[0, 0, 0, 0, 1, 1, 1, 1]] * 8


def test_a_mirror_turns_boxes_and_masks():
    mask = [[[1, 1, 0, 0], [1, 0, 0, 0], [0] * 4, [0] * 4]]
    label = warp(stored([[0, 0, 0.5, 0.25]], masks=mask), MIRRORED)
    np.testing.assert_allclose(label["boxes"][0], [0, 60, 40, 80], atol=1e-4)
    plain = warp(stored([[0, 0, 0.5, 0.25]], masks=mask), WHOLE)
    assert plain["masks"][0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    np.testing.assert_array_equal(label["masks"][0], plain["masks"][0][:, ::-1])


def test_barely_visible_boxes_are_ignored_and_invisible_ones_gone():
    boxes = [
        [0.0, 0.0, 0.1, 0.1],  # outside
        [0.3, 0.0, 0.4, 0.27],  # 2 of 27 hundredths are seen
        [0.3, 0.3, 0.305, 0.6],  # 0.8 pixels high
        [0.3, 0.0, 0.4, 0.29],  # 4 of 29 hundredths
    ]
    label = warp(stored(boxes, [0, 1, 1, 0]), MIDDLE)
    assert label["classes"].tolist() == [0, 1, 1, -1]
    assert label["ignore"].tolist() == [False, True, True, False]


def test_crowds_follow_the_true_objects_and_zero_area_is_gone():
    boxes = [[0, 0, 0.5, 0.5], [0.2, 0.2, 0.2, 0.4], [0, 0, 0.3, 0.3]]
    label = warp(stored(boxes, [0, 0, 1], ignore=[True, False, False]), WHOLE)
    assert label["classes"].tolist() == [1, 0, -1, -1]
    assert label["ignore"].tolist() == [False, True, False, False]


def test_a_region_of_no_class_stays_whatever_classes_are_left_out():
    label = stored([(0, 0, 1, 1)] * 3, classes=[0, -1, 1], ignore=[False, True, False])
    found = TASK.labels.relabel(label, np.array([-1, 0]))
    assert found["classes"].tolist() == [-1, 0] and found["ignore"].tolist() == [True, False]
    found = TASK.labels.relabel(label, np.array([0, -1]))
    assert found["classes"].tolist() == [0, -1] and found["ignore"].tolist() == [False, True]


@pytest.mark.parametrize("number", [5, 7, 12])
def test_truncated_objects_are_counted_and_ignored(number):
    boxes = [[0.05 * i, 0.0, 0.05 * i + 0.05, 0.5] for i in range(number)]
    assert TASK.labels.num_truncated(stored(boxes)) == number - 4
    label = warp(stored(boxes), WHOLE)
    assert (label["classes"] == 0).all()
    places = label["truncated_boxes"]
    np.testing.assert_allclose(places[0], [16, 0, 20, 40], atol=1e-4)
    present = places[:, 2] > 0
    assert present.sum() == min(number - 4, 4)
    if number == 12:
        # The last place bounds the five boxes that remain.
        np.testing.assert_allclose(places[3], [28, 0, 48, 40], atol=1e-4)


def test_no_objects_and_no_label_keep_the_structure():
    assert (warp(stored([]), WHOLE)["classes"] == -1).all()
    label = warp(TASK.labels.missing(), letterbox(np.array([30, 60]), (64, 64)))
    assert label["labelled"] == 0.0
    assert not label["masks"].any()
    assert {k: str(np.asarray(v).dtype) for k, v in TASK.labels.missing().items()} == {
        k: s.dtype for k, s in TASK.labels.stored_spec().items()
    }


# ---- columns --------------------------------------------------------------------------------


def outputs_of(scores, classes, side=4):
    number = len(scores)
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 20, (number, 2))
    return {
        "boxes": np.concatenate([corner, corner + 10], axis=-1).astype(np.float32) + 4,
        "scores": np.asarray(scores, np.float32),
        "classes": np.asarray(classes, np.int32),
        "masks": rng.random((number, side, side)).astype(np.float32),
    }


AREA = np.array([4, 4, 44, 34], np.float32)


def record_of(scores, classes, **kwargs):
    return TASK.records.from_prediction(outputs_of(scores, classes, **kwargs), AREA, (64, 64))


def test_decode_undoes_encode():
    scores, classes = [0.3, 0.9, 0.0, 0.06], [1, 0, -1, 0]
    outputs = outputs_of(scores, classes)
    record = TASK.records.from_prediction(outputs, AREA, (64, 64))
    assert set(record) == set(TASK.records.spec())
    label = TASK.records.to_label(record, None)
    order = [1, 0, 3]
    assert record["scores"].tolist() == [np.float32(scores[i]) for i in order]
    pixels = label["boxes"] * np.tile(AREA[2:] - AREA[:2], 2) + np.tile(AREA[:2], 2)
    np.testing.assert_allclose(pixels, outputs["boxes"][order], atol=1e-4)
    assert label["classes"].tolist() == [0, 1, 0]
    np.testing.assert_array_equal(label["masks"], outputs["masks"][order] >= 0.5)
    assert label["has_mask"].all() and not label["ignore"].any()
    assert not record["truncated"]
    assert {k: str(np.asarray(v).dtype) for k, v in label.items()} == {
        k: s.dtype for k, s in TASK.labels.stored_spec().items()
    }


def test_a_record_keeps_scores_down_to_the_floor():
    record = record_of([0.05, 0.049, 0.0], [0, 0, -1])
    assert len(record["scores"]) == 1


def test_thresholds_are_one_for_all_or_one_for_each_class():
    record = record_of([0.9, 0.6, 0.4, 0.3, 0.0], [0, 1, 0, 1, -1])
    assert TASK.records.to_label(record, 0.5)["classes"].tolist() == [0, 1]
    assert TASK.records.to_label(record, (0.95, 0.3))["classes"].tolist() == [1, 1]
    nothing = TASK.records.to_label(record, 0.99)
    assert nothing["boxes"].shape == (0, 4) and nothing["labelled"] == 1.0


@pytest.mark.parametrize("threshold", [0.04, (0.5, 0.01), 1.5, float("nan"), (0.5,), (0.5,) * 3])
def test_impossible_thresholds_are_errors(threshold):
    with pytest.raises(UserError, match="threshold"):
        TASK.records.to_label(record_of([0.9], [0]), threshold)


def test_beyond_a_truncated_record_everything_is_ignored():
    full = record_of([0.9, 0.6, 0.55], [0, 1, 0])
    assert full["truncated"]
    label = TASK.records.to_label(full, 0.5)
    assert label["ignore"].tolist() == [False] * 3 + [True]
    assert label["boxes"][-1].tolist() == [0, 0, 1, 1]
    # The lowest stored score is below all thresholds: nothing above them can be missing.
    assert not TASK.records.to_label(full, 0.6)["ignore"].any()
    # But something of the second class can.
    assert TASK.records.to_label(full, (0.6, 0.5))["ignore"].any()
    seen = warp(label, WHOLE)
    assert seen["ignore"].tolist() == [False, False, False, True]


def test_max_stored_keeps_the_highest_scores():
    task = Detection(name="objects", classes=("cat", "dog"), max_stored=2)
    record = task.records.from_prediction(
        outputs_of([0.1, 0.9, 0.5, 0.0], [0, 0, 1, -1]), AREA, (64, 64)
    )
    np.testing.assert_allclose(record["scores"], [0.9, 0.5])
    assert record["truncated"]


def test_outputs_without_masks_have_none_later():
    task = Detection(name="objects", classes=("cat", "dog"), with_masks=False)
    outputs = outputs_of([0.9, 0.0], [0, -1])
    del outputs["masks"]
    label = task.records.to_label(task.records.from_prediction(outputs, AREA, (64, 64)), 0.5)
    assert label["has_mask"].tolist() == [False]
    assert warp(label, WHOLE, task)["masks"].shape == (100, 1, 1)


def test_the_same_outputs_give_the_same_bytes():
    first, second = (record_of([0.9, 0.9, 0.2, 0.0], [0, 1, 1, -1]) for _ in range(2))
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


def test_a_picture_shows_boxes_and_masks_and_leaves_the_rest():
    image = np.full((80, 80, 3), 100, np.uint8)
    label = warp(stored([[0.25, 0.25, 0.75, 0.75]]), WHOLE)
    picture = TASK.visualization.visualize(
        image, label
    )  # Twice as large, so that a person can see it.
    assert picture.shape == (160, 160, 3) and picture.dtype == np.uint8
    assert (picture[:20] == 100).all() and (picture[120:] == 100).all()
    assert (picture[40, 40:120] != 100).any(axis=-1).all()
    assert (picture[110, 110] != 100).any()
    empty = TASK.visualization.visualize(image, warp(stored([]), WHOLE))
    assert (empty == 100).all()


def test_boxes_of_a_dropped_class_are_ignored_and_not_background():
    record = record_of([0.9, 0.7, 0.4, 0.3, 0.0], [0, 1, 0, 1, -1])
    label = TASK.records.to_label(record, (0.5, DROPPED))
    assert label["classes"].tolist() == [0, 1, 1]
    assert label["ignore"].tolist() == [False, True, True]
    assert TASK.labels.count_classes(label).tolist() == [1, 0]
    # What a full record has no room for is of no class that is kept.
    full = record_of([0.9, 0.6, 0.55], [0, 1, 1])
    assert full["truncated"]
    assert TASK.records.to_label(full, (0.6, DROPPED))["ignore"].tolist() == [False, True, True]
    with pytest.raises(UserError, match="threshold inf of class"):
        TASK.records.to_label(record, DROPPED)


def test_boxes_that_may_be_objects_are_ignored():
    record = record_of([0.9, 0.5, 0.45, 0.3, 0.2], [0, 1, 0, 1, 0])
    label = TASK.records.to_label(record, 0.5, ignore_from=0.3)
    assert label["classes"].tolist() == [0, 1, 0, 1]
    assert label["ignore"].tolist() == [False, False, True, True]
    # Each class has a threshold of its own; a dropped one is ignored as before.
    label = TASK.records.to_label(record, (0.95, 0.4), ignore_from=0.4)
    assert label["classes"].tolist() == [0, 1, 0] and label["ignore"].tolist() == [
        True,
        False,
        True,
    ]
    label = TASK.records.to_label(record, (0.95, DROPPED), ignore_from=0.8)
    assert label["classes"].tolist() == [0, 1, 1] and label["ignore"].all()
