"""Anchors that fit boxes: overlaps against the whole grid, and the choice against all options."""

import itertools
import math

import numpy as np
import pytest

from must_keras.ops import boxes as box_ops
from must_keras.tasks.detection.anchors import RATIOS, SCALES, Anchors, best_ious, fit_anchors
from must_keras.tasks.detection.head import anchor_grid

SQUARE = (1.0,)


def squares(centers, side):
    centers = np.asarray(centers, float)
    return np.concatenate([centers - side / 2, centers + side / 2], axis=1)


def random_boxes(number, size, seed=0, elongation=2.0):
    random = np.random.default_rng(seed)
    sides = np.exp(random.uniform(np.log(4), np.log(size / elongation), (number, 1)))
    sides = sides * elongation ** random.uniform(-1, 1, (number, 2))
    low = random.uniform(0, size - sides)
    return np.concatenate([low, low + sides], axis=1)


@pytest.mark.parametrize("size", [64, 96, 200])
def test_overlaps_are_those_with_all_anchors(size):
    boxes = random_boxes(60, size)
    anchors = Anchors((0.59, 1.0, 3.0), RATIOS)
    grid = anchor_grid((size, size), scales=anchors.scales, ratios=anchors.ratios)
    expected = np.asarray(box_ops.iou(boxes.astype(np.float32), grid)).max(axis=1)
    np.testing.assert_allclose(best_ious(boxes, anchors, size=size), expected, atol=1e-5)


def test_overlaps_by_hand():
    anchors = Anchors((1.0,), SQUARE)
    boxes = np.array([
        [0, 0, 8, 8],  # The first anchor of P3.
        [4, 4, 12, 12],  # Between four anchors of 8 px, in the first one of 16 px.
        [0, 0, 2, 4],  # In the first one of 8 px.
        [2, 0, 10, 8],  # Two pixels below it.
    ])  # fmt: skip
    expected = [1.0, 64 / 256, 8 / 64, 48 / 80]
    np.testing.assert_allclose(best_ious(boxes, anchors, size=64), expected)
    assert best_ious(np.zeros((0, 4)), anchors, size=64).shape == (0,)


def test_known_boxes_give_known_scales():
    centers = [(4.0 + 8 * i, 20.0) for i in range(8)]
    # 16 px around the centers of P3's cells: two strides of P3, where P4's anchors lie elsewhere.
    assert fit_anchors(squares(centers, 16), size=64) == ((2.0,), RATIOS)
    # Of the stride itself, and 2.83 strides, half as many.
    both = np.concatenate([squares(centers, 8), squares(centers[:4], 8 * 2.83)])
    assert fit_anchors(both, size=64) == ((1.0, 2.83), RATIOS)


def test_lines_of_text_give_their_own_ratios():
    sides = np.array([[4.0, 40.0]])
    low = np.array([[2.0 + 8 * i, 8.0] for i in range(6)])
    lines = np.concatenate([low, low + sides], axis=1)
    fitted = fit_anchors(lines, size=64)
    assert fitted.ratios == (10.0,)
    assert best_ious(lines, fitted, size=64).mean() > 0.75


def test_the_choice_is_the_best_of_all_combinations():
    size, boxes = 96, random_boxes(40, 96, elongation=1.2)
    options = [c for n in (1, 2, 3) for c in itertools.combinations(SCALES, n)]
    table = {s: best_ious(boxes, Anchors((s,), RATIOS), size=size) for s in SCALES}
    means = {c: np.max([table[s] for s in c], axis=0).mean() for c in options}
    best = {n: max((c for c in options if len(c) == n), key=means.get) for n in (1, 2, 3)}
    # A further scale has to be worth 0.03, and the largest of those within 0.01 is taken.
    number = 1
    while number < 3 and means[best[number + 1]] >= means[best[number]] + 0.03:
        number += 1
    assert number > 1
    scales, ratios = fit_anchors(boxes, size=size)
    good = [c for c in options if len(c) == number and means[c] >= means[best[number]] - 0.01]
    assert len(good) > 1 and ratios == RATIOS and scales == max(good, key=math.prod)


def test_many_boxes_are_thinned_out_evenly():
    some = np.repeat(random_boxes(50, 64), 100, axis=0)
    assert fit_anchors(np.repeat(some, 3, axis=0), size=64) == fit_anchors(some, size=64)
