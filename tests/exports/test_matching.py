"""Objects of two copies of a model, matched one to one: boxes made by hand."""

import numpy as np
import pytest

from must_keras.exports.matching import Matches, match

BOXES = [[0, 0, 100, 100], [200, 200, 300, 300], [0, 400, 50, 500]]


def objects(boxes=BOXES, scores=(0.9, 0.5, 0.2), classes=(0, 1, 1), masks=None):
    found = {
        "boxes": np.float32(boxes).reshape(-1, 4),
        "scores": np.float32(scores),
        "classes": np.int32(classes),
    }
    return found if masks is None else found | {"masks": np.float32(masks)}


def test_equal_objects_match_wholly():
    assert match(objects(), objects()) == Matches(3, 3, 1.0, 0.0)


def test_the_order_and_the_room_that_is_left_do_not_count():
    other = objects([*BOXES[::-1], [0, 0, 0, 0]], (0.2, 0.5, 0.9, 0), (1, 1, 0, -1))
    assert match(objects(), other) == Matches(3, 3, 1.0, 0.0)


def test_a_box_matches_from_an_iou_of_99_percent_on():
    def moved(by):  # A square of side 100: its IoU is (100 - by) / (100 + by).
        return match(objects(), objects([[by, 0, 100 + by, 100], *BOXES[1:]]))

    assert moved(0.4)[:2] == (3, 3) and moved(0.6) == Matches(4, 2, 1.0, 0.0)
    assert moved(0.4).lowest_iou == pytest.approx(99.6 / 100.4, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"scores": (0.9, 0.5009, 0.2)}, (3, 3)),
        ({"scores": (0.9, 0.5011, 0.2)}, (4, 2)),
        ({"classes": (0, 0, 1)}, (4, 2)),
        ({"classes": (0, -1, 1)}, (3, 2)),
    ],
)
def test_scores_and_classes_must_be_those_of_the_other(change, expected):
    assert match(objects(), objects(**change))[:2] == expected
    assert match(objects(**change), objects())[:2] == expected


def test_single_objects_below_a_tenth_do_not_count():
    one = objects(BOXES, (0.9, 0.5, 0.0999))
    assert match(one, objects(BOXES[:2], (0.9, 0.5), (0, 1)))[:2] == (2, 2)
    # A pair counts where either score is a tenth: neither is lost at the edge.
    assert match(one, objects(BOXES, (0.9, 0.5, 0.1001)))[:2] == (3, 3)


def test_one_object_matches_one():
    twice = objects([BOXES[0], BOXES[0]], (0.9, 0.9), (0, 0))
    once = objects(BOXES[:1], (0.9,), (0,))
    assert match(twice, once) == match(once, twice) == Matches(2, 1, 1.0, 0.0)


def test_the_largest_difference_is_of_scores_and_masks():
    one, other = np.zeros((3, 2, 2)), np.zeros((3, 2, 2))
    other[2, 1, 1] = 0.25
    scores = (0.9, 0.5005, 0.2)
    assert match(objects(masks=one), objects(masks=other)).difference == 0.25
    assert match(objects(), objects(scores=scores)).difference == pytest.approx(5e-4, abs=1e-6)


def test_nothing_matches_nothing():
    nothing = objects((), (), ())
    assert match(nothing, nothing) == Matches(0, 0, 1.0, 0.0)
    assert match(nothing, objects())[:2] == (3, 0)


def test_images_add_up():
    total = Matches(3, 2, 0.995, 1e-6) + Matches(1, 1, 0.999, 1e-4)
    assert total == Matches(4, 3, 0.995, 1e-4)
