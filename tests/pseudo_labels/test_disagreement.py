"""Where heads contradict each other, on maps of a few pixels."""

import numpy as np
import pytest

from must_keras.pseudo_labels.viewer import disagreement
from must_keras.pseudo_labels.viewer.disagreement import Verdict, by_class, by_edge, namesakes, ring
from must_keras.tasks.summaries import Pixels, Regions, Sketch

AGREES, DISAGREES, NOT_JUDGED = Verdict.AGREES, Verdict.DISAGREES, Verdict.NOT_JUDGED
# The map's classes are sky, car, tree.
CAR, SKY = 1, 0


def regions(*boxes, classes=None, masks=None) -> Regions:
    """Boxes in pixels of a map of 10 x 10."""
    number = len(boxes)
    return Regions(
        boxes=np.array(boxes, np.float32) / 10,
        scores=np.ones(number, np.float32),
        classes=np.array(classes or [0] * number, np.int32),
        masks=tuple(masks or [None] * number),
    )


def test_names_are_compared_as_a_person_reads_them():
    found = namesakes(("Car", "traffic-light", "bench"), ("sky", "traffic_light", "car"))
    assert found.tolist() == [2, 1, -1]


def judged_by_class(num_car: int, *, masks=None, confidence=255, limit=0.5) -> Verdict:
    """A box over 20 pixels of which so many are a car on the map, the others sky."""
    classes = np.full((10, 10), SKY, np.uint8)
    classes.reshape(-1)[:num_car] = CAR
    pixels = Pixels(classes=classes, confidence=np.full((10, 10), confidence, np.uint8))
    objects = regions((0, 0, 2, 10), masks=masks)
    return by_class(objects, Sketch(pixels=pixels), same=np.array([CAR]), limits=np.full(3, limit))[
        0
    ]


@pytest.mark.parametrize(("num_car", "verdict"), [(20, AGREES), (5, AGREES), (4, DISAGREES)])
def test_a_quarter_of_a_box_is_of_its_class(num_car, verdict):
    assert judged_by_class(num_car) == verdict


@pytest.mark.parametrize(("num_car", "verdict"), [(10, AGREES), (9, DISAGREES)])
def test_half_of_a_mask_is_of_its_class(num_car, verdict):
    assert judged_by_class(num_car, masks=[np.ones((4, 4), np.uint8)]) == verdict


def test_only_the_pixels_of_the_mask_are_asked():
    # The map's car is the left half of the box; the mask is its left half, then its right one.
    classes = np.full((10, 10), SKY, np.uint8)
    classes[:, :5] = CAR
    pixels = Pixels(classes=classes, confidence=np.full((10, 10), 255, np.uint8))
    left = np.array([[1, 0], [1, 0]], np.uint8)
    objects = regions((0, 0, 4, 10), (0, 0, 4, 10), masks=[left, 1 - left])
    assert by_class(objects, Sketch(pixels=pixels), same=np.array([CAR]), limits=np.zeros(3)) == [
        AGREES,
        DISAGREES,
    ]


def test_pixels_under_the_threshold_do_not_count():
    assert judged_by_class(0, confidence=127) == NOT_JUDGED
    assert judged_by_class(0, confidence=128) == DISAGREES
    # 20 pixels: the first 4 or 5 are sure, and sky; all others would be a car.
    for sure, verdict in ((4, NOT_JUDGED), (5, DISAGREES)):
        classes = np.full(100, CAR, np.uint8)
        classes[:sure] = SKY
        confidence = np.zeros(100, np.uint8)
        confidence[:sure] = 255
        pixels = Pixels(classes=classes.reshape(10, 10), confidence=confidence.reshape(10, 10))
        objects = regions((0, 0, 2, 10))
        assert by_class(
            objects, Sketch(pixels=pixels), same=np.array([CAR]), limits=np.full(3, 0.5)
        ) == [verdict]


def test_a_class_without_a_namesake_and_a_box_without_a_pixel_are_not_judged():
    pixels = Pixels(
        classes=np.zeros((10, 10), np.uint8), confidence=np.full((10, 10), 255, np.uint8)
    )
    objects = regions((0, 0, 5, 5), (0, 0, 5, 5), (3.1, 3.1, 3.2, 3.2), classes=[0, 1, 0])
    found = by_class(objects, Sketch(pixels=pixels), same=np.array([SKY, -1]), limits=np.zeros(3))
    assert found == [AGREES, NOT_JUDGED, NOT_JUDGED]
    assert (
        by_class(regions(), Sketch(pixels=pixels), same=np.array([SKY]), limits=np.zeros(3)) == []
    )


def test_a_ring_is_a_quarter_of_the_side_wide():
    place = np.zeros((12, 12), bool)
    place[4:8, 4:8] = True
    expected = np.zeros((12, 12), bool)
    expected[3:9, 3:9] = True
    np.testing.assert_array_equal(ring(place), expected & ~place)
    wide = np.zeros((20, 20), bool)
    wide[6:14, 6:14] = True
    assert ring(wide).sum() == 12 * 12 - 8 * 8
    corner = np.zeros((5, 5), bool)
    corner[0, 0] = True
    assert np.argwhere(ring(corner)).tolist() == [[0, 1], [1, 0], [1, 1]]
    assert not ring(np.ones((4, 4), bool)).any()


@pytest.mark.parametrize(("step", "verdict"), [(0.06, AGREES), (-0.06, AGREES), (0.04, DISAGREES)])
def test_an_object_stands_out_by_five_hundredths(step, verdict):
    surface = np.full((10, 10), 1.0, np.float32)
    surface[3:7, 3:7] += step
    assert by_edge(regions((3, 3, 7, 7)), Sketch(surface=surface)) == [verdict]
    assert disagreement.MIN_STEP == 0.05


def test_the_edge_is_that_of_the_mask():
    surface = np.zeros((10, 10), np.float32)
    surface[2:8, 2:5] = 1.0
    left = np.array([[1, 0], [1, 0]], np.uint8)
    # The box's own pixels are half near and half far, and so is nothing: the mask's are near.
    objects = regions((2, 2, 8, 8), masks=[left])
    assert by_edge(objects, Sketch(surface=surface)) == [AGREES]


def test_unknown_depth_does_not_count():
    surface = np.full((10, 10), np.nan, np.float32)
    assert by_edge(regions((3, 3, 7, 7)), Sketch(surface=surface)) == [NOT_JUDGED]
    surface[3:7, 3:7] = 1.0
    assert by_edge(regions((3, 3, 7, 7)), Sketch(surface=surface)) == [NOT_JUDGED]
    surface[2, 2] = 2.0
    assert by_edge(regions((3, 3, 7, 7), (0, 0, 10, 10)), Sketch(surface=surface)) == [
        AGREES,
        NOT_JUDGED,
    ]
