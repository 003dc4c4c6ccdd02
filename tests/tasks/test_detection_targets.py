import numpy as np
import pytest
from keras import ops

from must_keras.tasks.detection import Detection, decoding, loss
from must_keras.tasks.detection.head import anchor_grid, level_counts


def numpy_of(x):
    return np.asarray(ops.convert_to_numpy(x))


def label_of(*images, room=4, mask=2, labeled=1.0):
    """Labels from lists of (box, class, ignored) for each image."""
    number = len(images)
    label = {
        "boxes": np.zeros((number, room, 4), np.float32),
        "classes": np.full((number, room), -1, np.int32),
        "masks": np.zeros((number, room, mask, mask), np.uint8),
        "has_mask": np.zeros((number, room), bool),
        "ignore": np.zeros((number, room), bool),
        "labeled": np.full(number, labeled, np.float32),
        "truncated_boxes": np.zeros((number, room, 4), np.float32),
    }
    for i, image in enumerate(images):
        for j, (box, category, ignored) in enumerate(image):
            label["boxes"][i, j] = box
            label["classes"][i, j] = category
            label["ignore"][i, j] = ignored
    return label


BOXES = np.array(
    [
        [0, 0, 10, 10],  # the object itself
        [0, 0, 10, 8],  # IoU 0.8
        [0, 0, 10, 5],  # 0.5: neither
        [0, 0, 10, 2],  # 0.2: negative
        [50, 50, 60, 60],  # negative
        [20, 20, 30, 30],  # best of the second object, IoU 0.25
        [80, 80, 90, 90],  # in a crowd
        [85, 80, 95, 90],  # half of it in the crowd
        [86, 80, 96, 90],  # less than half
    ],
    np.float32,
)
OBJECTS = [([0, 0, 10, 10], 0, False), ([20, 20, 40, 40], 1, False), ([75, 75, 90, 100], 1, True)]


# A picture that holds all boxes of these tests.
AREA = np.array([[-100, -100, 200, 200]] * 2, np.float32)


def test_anchor_roles_by_hand():
    positive, negative = loss.anchor_roles(loss.match(BOXES, label_of(OBJECTS)))
    assert numpy_of(positive)[0].tolist() == [1, 1, 0, 0, 0, 1, 0, 0, 0]
    assert numpy_of(negative)[0].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 1]


def test_equally_good_anchors_are_all_the_best():
    boxes = np.array([[0, 0, 4, 10], [0, 6, 10, 10], [0, 0, 3, 10]], np.float32)
    matches = loss.match(boxes, label_of([([0, 0, 10, 10], 0, False)]))
    assert numpy_of(matches.best).tolist() == [[True, True, False]]


def test_without_objects_everything_is_negative_but_what_is_ignored():
    label = label_of([], [([0, 0, 100, 100], -1, True)])
    positive, negative = loss.anchor_roles(loss.match(BOXES, label))
    assert not numpy_of(positive).any()
    assert numpy_of(negative).all(axis=1).tolist() == [True, False]
    assert not numpy_of(negative)[1].any()


def test_a_match_wins_over_an_ignored_region_and_surplus_is_ignored():
    label = label_of(OBJECTS[:2])
    label["truncated_boxes"][0, 0] = [0, 0, 100, 100]
    positive, negative = loss.anchor_roles(loss.match(BOXES, label))
    assert numpy_of(positive)[0].tolist() == [1, 1, 0, 0, 0, 1, 0, 0, 0]
    assert not numpy_of(negative).any()


def test_sampled_anchors_are_half_positive_at_most_and_filled_with_negatives():
    positive = np.zeros((2, 40), bool)
    positive[0, :20], positive[1, :3] = True, True
    keys = np.array([1, 2], np.int32)
    positives, negatives = loss.sample_anchors(positive, ~positive, keys, count=16)
    assert numpy_of(positives.chosen).sum(axis=1).tolist() == [8, 3]
    assert numpy_of(negatives.chosen).sum(axis=1).tolist() == [8, 13]
    for i in range(2):
        assert positive[i][numpy_of(positives.indices)[i][numpy_of(positives.chosen)[i]]].all()
        assert not positive[i][numpy_of(negatives.indices)[i][numpy_of(negatives.chosen)[i]]].any()


def test_room_for_objects_changes_nothing():
    label = label_of(OBJECTS, [])
    # The same objects, with empty places before, between and after them.
    places, room = np.arange(len(label["classes"][0])) * 3 + 2, 3 * len(label["classes"][0]) + 5
    wide = dict(label)
    for key, empty in (("boxes", 0.0), ("classes", -1), ("ignore", False)):
        shape = (2, room, *label[key].shape[2:])
        wide[key] = np.full(shape, empty, label[key].dtype)
        wide[key][:, places] = label[key]
    narrow, found = (loss.match(BOXES, one) for one in (label, wide))
    for a, b in zip(narrow, found, strict=True):
        if a is not narrow.index:
            np.testing.assert_array_equal(numpy_of(a), numpy_of(b))
    matched = numpy_of(narrow.iou) > 0
    assert matched.any()
    np.testing.assert_array_equal(
        numpy_of(found.index)[matched], places[numpy_of(narrow.index)[matched]]
    )


def test_sampled_regions_by_hand():
    label = label_of(OBJECTS, [])
    proposals = np.stack([BOXES, BOXES])
    present = np.ones((2, 9), bool)
    present[:, 4] = False
    keys = np.array([3, 4], np.int32)
    regions = loss.sample_regions(proposals, present, label, keys, count=12, foreground=5)
    chosen, classes = numpy_of(regions.chosen), numpy_of(regions.classes)
    # Foreground: proposals 0 to 2 and both true boxes; background: 3, 5 and 8.
    assert classes[0].tolist() == sorted(classes[0].tolist(), key=lambda c: c == 0)
    assert sorted(classes[0][chosen[0]].tolist()) == [0, 0, 0, 1, 1, 1, 1, 2]
    background = numpy_of(regions.boxes)[0][chosen[0] & (classes[0] == 0)]
    assert sorted(background[:, 0].tolist()) == [0, 20, 86]
    # No object: everything that is present is background.
    assert chosen[1].sum() == 8
    assert not classes[1].any()


def test_foreground_has_its_share_and_background_the_rest():
    proposals = np.tile(np.array([[0, 0, 10, 10]], np.float32), (1, 20, 1))
    proposals[:, 10:] += 50
    label = label_of([([0, 0, 10, 10], 0, False)])
    present = np.ones((1, 20), bool)
    keys = np.zeros(1, np.int32)
    regions = loss.sample_regions(proposals, present, label, keys, count=12, foreground=3)
    assert numpy_of(regions.classes)[0].tolist() == [1, 1, 1] + [0] * 9
    assert numpy_of(regions.chosen).all()


def test_regions_with_masks_come_first_in_their_order():
    regions = loss.Regions(
        boxes=np.arange(20, dtype=np.float32).reshape(1, 5, 4),
        chosen=np.array([[True, True, True, True, False]]),
        classes=np.array([[3, 1, 2, 0, 0]], np.int32),
        index=np.array([[0, 1, 1, 0, 0]], np.int32),
    )
    label = {"has_mask": np.array([[False, True]])}
    some, has_mask = loss.regions_with_masks(regions, label, count=4)
    # Object 0 has no mask, the fourth region is background, the fifth is beyond the count.
    assert numpy_of(has_mask).tolist() == [[True, True, False, False]]
    assert numpy_of(some.classes).tolist() == [[1, 2, 3, 0]]
    assert numpy_of(some.boxes)[0, :, 0].tolist() == [4, 8, 0, 12]


def test_anchors_by_hand():
    grid = anchor_grid((64, 32), scales=(2.0,), ratios=(1.0, 4.0))
    assert grid.shape == (sum(level_counts((64, 32), 2)), 4)
    assert level_counts((64, 32), 2) == [64, 16, 4, 2, 2]
    assert grid[0].tolist() == [-4, -4, 12, 12]
    # Width / height is 4; the second anchor of the second cell of the first row.
    assert grid[3].tolist() == [0, -4, 8, 28]
    # The first cell of P4 follows 8 x 4 cells of P3.
    assert grid[64].tolist() == [-8, -8, 24, 24]


def test_huber_and_cross_entropy_equal_their_definitions():
    error = np.array([-2.0, -0.05, 0.0, 0.1, 1.0], np.float32)
    delta = 1 / 9
    expected = np.where(np.abs(error) <= delta, error**2 / 2, delta * np.abs(error) - delta**2 / 2)
    np.testing.assert_allclose(numpy_of(loss.huber(error, delta=delta)), expected, atol=1e-6)
    logits, truth = np.array([-80.0, -1.0, 0.0, 2.0, 80.0], np.float32), np.float32([1, 0, 1, 1, 1])
    chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    expected = -truth * np.log(chance) - (1 - truth) * np.log1p(-np.minimum(chance, 1 - 1e-16))
    found = numpy_of(loss.sigmoid_cross_entropy(logits, truth))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_rpn_loss_by_hand():
    anchors = BOXES[:5]
    label = label_of([([0, 0, 10, 10], 0, False)], [])
    scores = np.tile(np.float32([1.0, -1.0, 9.0, 2.0, -3.0]), (2, 1))
    deltas = np.zeros((2, 5, 4), np.float32)
    prediction = {"scores": scores, "deltas": deltas, "area": AREA}
    found = loss.rpn_loss(prediction, anchors, label, np.zeros(2, np.int32), count=8)

    def entropy(x, t):
        return np.log1p(np.exp(-x if t else x))

    # Anchor 1 is 8 wide, 1 to the left of the center and to be widened by 10 / 8.
    moved = sum((abs(e) - 1 / 18) / 9 for e in (1 / 8, np.log(10 / 8)))
    positive = entropy(1, 1) + entropy(-1, 1) + moved
    negative = entropy(2, 0) + entropy(-3, 0)
    nothing = sum(entropy(x, 0) for x in scores[1])
    np.testing.assert_allclose(numpy_of(found), [(positive + negative) / 8, nothing / 8], rtol=1e-5)


def test_box_loss_by_hand():
    label = label_of([([0, 0, 10, 10], 1, False)])
    regions = loss.Regions(
        boxes=np.array([[[0, 0, 10, 8], [50, 50, 60, 60], [0, 0, 1, 1]]], np.float32),
        chosen=np.array([[True, True, False]]),
        classes=np.array([[2, 0, 0]], np.int32),
        index=np.zeros((1, 3), np.int32),
    )
    scores = np.array([[[0, 1, 2], [3, 0, 0], [0, 50, 0]]], np.float32)
    deltas = np.full((1, 3, 3, 4), 7.0, np.float32)
    deltas[0, 0, 2] = 0
    found = numpy_of(loss.box_loss(scores, deltas, regions, label, count=4))
    entropy = np.log(np.exp([0, 1, 2]).sum()) - 2 + np.log(np.exp([3, 0, 0]).sum()) - 3
    moved = (10 / 8 - 0.5) + (5 * np.log(10 / 8) - 0.5)
    np.testing.assert_allclose(found, [(entropy + moved) / 4], rtol=1e-5)


def test_mask_targets_by_hand():
    label = label_of([([0, 0, 8, 8], 0, False), ([10, 10, 18, 18], 0, False)], mask=4)
    label["masks"][0, 0] = [[1, 1, 0, 0]] * 4
    label["masks"][0, 1] = [[0] * 4] * 2 + [[1] * 4] * 2
    boxes = np.array([[[0, 0, 8, 8], [0, 0, 8, 4], [10, 10, 18, 18], [10, 6, 18, 14]]], np.float32)
    index = np.array([[0, 0, 1, 1]], np.int32)
    found = numpy_of(loss.mask_targets(boxes, index, label, size=4))[0].astype(int)
    assert found[0].tolist() == [[1, 1, 0, 0]] * 4
    assert found[1].tolist() == [[1, 1, 1, 1]] * 4
    assert found[2].tolist() == [[0] * 4] * 2 + [[1] * 4] * 2
    # The left half of the region is outside of the object.
    assert found[3].tolist() == [[0] * 4] * 2 + [[0, 0, 1, 1]] * 2


def test_mask_loss_is_the_mean_over_regions_that_count():
    logits = np.zeros((3, 2, 2, 2), np.float32)
    logits[0, 1] = 3.0
    truth = np.ones_like(logits)
    counts = np.array([[True, False], [True, True], [False, False]])
    found = numpy_of(loss.mask_loss(logits, truth, counts))
    np.testing.assert_allclose(found, [np.log(2), np.log(2), 0.0], rtol=1e-6)


def test_proposals_are_clipped_ranked_and_suppressed_in_their_level():
    anchors = np.array(
        [[0, 0, 10, 10], [0, 0, 10, 9], [40, 40, 60, 60], [0, 0, 10, 10], [90, 90, 99, 99]],
        np.float32,
    )
    prediction = {
        "scores": np.array([[1.0, 2.0, 0.0, 0.5, 9.0]], np.float32),
        "deltas": np.zeros((1, 5, 4), np.float32),
        "area": np.array([[0, 0, 50, 50]], np.float32),
    }
    task = Detection(
        name="boxes", classes=("ant",), num_candidates=3, num_proposals=4, max_detections=4
    )
    boxes, present = decoding.propose(prediction, anchors, [3, 2], task=task)
    # The last anchor is outside of the picture; the first two are alike, the fourth is elsewhere.
    assert numpy_of(present).tolist() == [[True, True, True, False]]
    assert numpy_of(boxes)[0, :3].tolist() == [[0, 0, 10, 9], [0, 0, 10, 10], [40, 40, 50, 50]]


def test_detections_are_suppressed_in_their_class_alone():
    proposals = np.array([[[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30]]], np.float32)
    chance = np.array([[[0.1, 0.6, 0.3], [0.4, 0.5, 0.1], [0.01, 0.95, 0.04]]])
    found = decoding.detect(
        np.log(chance).astype(np.float32),
        np.zeros((1, 3, 3, 4), np.float32),
        proposals,
        np.array([[True, True, False]]),
        np.array([[0, 0, 50, 50]], np.float32),
        task=Detection(
            name="boxes", classes=("ant", "bee"), score_floor=0.2, num_candidates=6,
            max_detections=3,
        ),
    )  # fmt: skip
    np.testing.assert_allclose(numpy_of(found["scores"]), [[0.6, 0.3, 0.0]], rtol=1e-5)
    assert numpy_of(found["classes"]).tolist() == [[0, 1, -1]]
    assert numpy_of(found["boxes"])[0].tolist() == [[0, 0, 10, 10], [0, 0, 10, 10], [0] * 4]


@pytest.mark.parametrize("labeled", [0.0, 1.0])
def test_losses_of_images_without_objects_are_finite(labeled):
    label = label_of([], labeled=labeled)
    scores, deltas = np.zeros((1, 9), np.float32), np.zeros((1, 9, 4), np.float32)
    prediction = {"scores": scores, "deltas": deltas, "area": AREA[:1]}
    found = loss.rpn_loss(prediction, BOXES, label, np.zeros(1, np.int32), count=4)
    np.testing.assert_allclose(numpy_of(found), [np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("area", [[0, 0, 64, 64], [0, 0, 40, 64]])
def test_nothing_in_a_wholly_ignored_picture_is_background(area):
    anchors = anchor_grid((64, 64), scales=(4.0, 8.0), ratios=(0.5, 1.0, 2.0))
    label, area = label_of([(area, -1, True)]), np.array([area], np.float32)
    # Anchors that lie in the padding alone are background of any picture.
    seen = anchors[anchors[:, 0] < area[0, 2]]
    positive, negative = loss.anchor_roles(loss.match(seen, label, area=area))
    assert not numpy_of(positive).any() and not numpy_of(negative).any()
    _, negative = loss.anchor_roles(loss.match(seen, label))
    assert numpy_of(negative).any()
