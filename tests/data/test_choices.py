"""Values of a recipe that are chosen from training labels, on hand-made labels."""

import dataclasses

import numpy as np
import pytest

from must_keras.data import choices
from must_keras.data.augmentation import Augmentation, WholeImages
from must_keras.data.choices import (
    TrainingBoxes,
    choose_anchors,
    choose_max_boxes,
    choose_scale,
    choose_with_masks,
    fitted_detection,
    read_boxes,
)
from must_keras.data.sources import LabelSpace, Source
from must_keras.data.sources import source as stored
from must_keras.errors import UserError
from must_keras.runs.fingerprint import describe
from must_keras.tasks import Depth, Detection

CLASSES = ("cat", "dog")
TASK = Detection(name="things", classes=CLASSES)
HEIGHT, WIDTH = 60, 120


class Given(Source):
    """Images of 60 x 120 pixels with given labels; some cannot be read."""

    name = "given"

    def __init__(self, labels, damaged=()):
        self._labels, self._damaged, self.labels_read = labels, damaged, []
        self.label_spaces = {"things": LabelSpace("boxes", CLASSES)}

    def __len__(self):
        return len(self._labels)

    def image_id(self, index):
        return f"{index}.png"

    def image(self, index):
        if index in self._damaged:
            raise UserError(f"{index}.png cannot be read")
        return np.zeros((HEIGHT, WIDTH, 3), np.uint8)

    def labels(self, index):
        self.labels_read.append(index)
        label = self._labels[index]
        return {} if label is None else {"things": label}

    def describe(self):
        return {"name": self.name}


def objects(*boxes, ignore=None, **more):
    """A stored label of boxes (ymin, xmin, ymax, xmax) in pixels."""
    boxes = np.array(boxes, float).reshape(-1, 4) / [HEIGHT, WIDTH, HEIGHT, WIDTH]
    return stored.objects(boxes=boxes, classes=np.zeros(len(boxes), int), ignore=ignore, **more)


def found(*, boxes=(), counts=(1,), num_with_mask=0, size=64):
    boxes = np.array(boxes, float).reshape(-1, 4)
    counts = np.array(counts, int)
    return TrainingBoxes(boxes=boxes, counts=counts, num_with_mask=num_with_mask, size=size)


def squares(side, number=8):
    low = np.array([[4.0 + 8 * i, 20.0] for i in range(number)]) - side / 2
    return np.concatenate([low, low + side], axis=1)


def test_boxes_are_those_of_the_letterboxed_image():
    masks = np.ones((3, 2, 2), np.uint8)
    first = objects(
        (6, 12, 30, 60), (0, 0, 6, 6), (0, 0, 60, 60),
        ignore=[False, False, True], masks=masks, has_mask=[True, False, True],
    )  # fmt: skip
    tiny = objects((0, 0, 1, 60))
    # Unlabeled, damaged, without an object, with one that is below a pixel at 60 px.
    source = Given([first, None, objects((0, 0, 6, 6)), objects(), tiny], damaged=[2])
    result = read_boxes(source, TASK, size=60)
    np.testing.assert_allclose(result.boxes, [[3, 6, 15, 30], [0, 0, 3, 3]], atol=1e-5)
    np.testing.assert_array_equal(result.counts, [2, 0, 1])
    assert result.num_with_mask == 1 and result.size == 60


def test_a_large_source_is_read_at_even_distances():
    source = Given([objects((0, 0, 6, 6))] * 101)
    assert len(read_boxes(source, TASK, size=60, max_images=11).counts) == 11
    assert source.labels_read == list(range(0, 101, 10))


def test_anchors_follow_the_boxes_and_the_scale_of_training_images():
    boxes = found(boxes=squares(16))
    assert choose_anchors(boxes).value.scales == (2.0,)
    assert choose_anchors(boxes, scale=0.5).value.scales == (1.0,)
    assert "IoU with a box is 1.00 on average; 8 boxes, median side 16 px at 64 px" in (
        choose_anchors(boxes).reason
    )
    assert choose_anchors(found()).value is None


@pytest.mark.parametrize(
    ("most", "room"),
    [(0, 16), (5, 16), (12, 16), (13, 24), (32, 40), (33, 48), (151, 192), (1000, 512)],
)
def test_room_is_a_quarter_more_than_the_largest_count(most, room):
    assert choose_max_boxes(found(counts=(1, most, 0))).value == room
    assert choose_max_boxes(found(counts=())).value == 16


def test_a_mask_head_needs_masks():
    assert choose_with_masks(found(counts=(2, 3))) == (False, "0 of 5 objects have a mask")
    assert choose_with_masks(found(counts=(2, 3), num_with_mask=1)).value is True


def test_the_typical_scale_is_the_middle_of_the_augmentation():
    assert Augmentation(scale=(0.5, 2.0)).typical_scale == 1.0
    assert Augmentation(scale=(0.1, 0.4)).typical_scale == pytest.approx(0.2)
    assert WholeImages().typical_scale == 1.0


def test_metric_depth_is_not_scaled():
    assert choose_scale(Depth(name="far")).value == (1.0, 1.0)
    assert choose_scale(TASK).value == Augmentation().scale
    relative = Depth(name="far", kind="relative_inverse")
    assert choose_scale(relative, (0.5, 2.0)).value == (0.5, 2.0)


def test_a_task_has_the_chosen_values_as_plain_numbers(capsys):
    choices._report.cache_clear()
    # 16 px at 64 px: boxes of 30 px in images of 120.
    label = objects(*squares(16) * 120 / 64)
    task = fitted_detection(Given([label] * 3), name="things", size=64, rpn_channels=64)
    by_hand = Detection(
        name="things", classes=CLASSES, anchor_scales=(2.0,), max_boxes=16, with_masks=False,
        rpn_channels=64,
    )  # fmt: skip
    assert task == by_hand and describe(task) == describe(by_hand)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].split("=")[0].strip() for line in lines] == [
        "max_boxes", "with_masks", "anchor_scales",
    ]  # fmt: skip
    assert "head 'things': max_boxes=16: at most 8 objects are in one of 3 images" in lines[0]
    fitted_detection(Given([label] * 3), name="things", size=64, rpn_channels=64)
    assert capsys.readouterr().err == ""


def test_given_values_are_kept():
    given = {"anchor_scales": (1.5,), "max_boxes": 7, "with_masks": True, "max_stored": 9}
    task = fitted_detection(Given([objects(*squares(16))]), name="things", size=64, **given)
    assert {field: getattr(task, field) for field in given} == given
    assert task.anchor_ratios == TASK.anchor_ratios and task.max_detections == 100
    # Without an object the defaults of anchors stay.
    empty = fitted_detection(Given([objects()]), name="things", size=64)
    assert empty == dataclasses.replace(TASK, max_boxes=16, with_masks=False)


def test_all_objects_of_an_image_can_be_stored_and_detected(capsys):
    crowd = Given([objects(*squares(16), *squares(8)), objects(*[(0, 0, 9, 9)] * 150)])
    task = fitted_detection(crowd, name="things", size=64)
    assert task.max_boxes == task.max_stored == task.max_detections == 192
    assert "num_proposals" not in capsys.readouterr().err
    few = fitted_detection(crowd, name="things", size=64, num_proposals=64)
    assert "num_proposals=64 regions of an image cannot be those of 150" in capsys.readouterr().err
    assert few.max_stored == 192 and few.max_detections == 128


def test_mistakes_are_named():
    source = Given([objects(*squares(16))])
    with pytest.raises(UserError, match="no field 'max_box'; did you mean 'max_boxes'"):
        fitted_detection(source, name="things", size=64, max_box=3)
    with pytest.raises(UserError, match="head 'things': size=0: expected at least 1"):
        fitted_detection(source, name="things", size=0)
    with pytest.raises(UserError, match="scale=0.0: expected a positive"):
        fitted_detection(source, name="things", size=64, scale=0.0)
    with pytest.raises(UserError, match="head 'things': received 3: expected a source"):
        fitted_detection(3, name="things", size=64)
    with pytest.raises(UserError, match="source 'given' labels things, not 'thing'"):
        fitted_detection(source, name="thing", size=64)
    with pytest.raises(UserError, match="does not fit head 'things'"):
        fitted_detection(source, name="things", size=64, classes=("cow",))
