"""Labels that others made, as records: what comes back out of them."""

import numpy as np
import pytest

from must_keras.data.sources.source import class_label, objects
from must_keras.errors import UserError
from must_keras.ops import maps
from must_keras.pseudo_labels.store import layout as records
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation, base

RANDOM = np.random.default_rng(0)
THINGS = Detection(name="things", classes=("cat", "dog"), max_stored=4)
PARTS = Segmentation(name="parts", classes=("x", "y", "z"))


def back(task, stored, threshold=None):
    """Return a label after a round trip through the bytes of a pseudo-label dataset."""
    specs = task.records.spec()
    payload = records.serialize("image", task.records.from_label(stored), specs)
    return task.records.to_label(records.parse(payload, specs)[1], threshold)


def assert_same(found, expected):
    for key, value in found.items():
        np.testing.assert_array_equal(value, expected[key], err_msg=key)
        assert value.dtype == expected[key].dtype, key


def test_a_class_comes_back():
    for changes in ({}, {"top_k": 2}, {"hard": True}):
        task = Classification(name="kind", classes=("a", "b", "c"), **changes)
        assert_same(back(task, class_label(1, 3)), class_label(1, 3))


def boxes(**more):
    corners = RANDOM.uniform(0, 0.5, (3, 2))
    return objects(
        boxes=np.concatenate([corners, corners + 0.3], axis=1),
        classes=[1, 0, 1],
        masks=RANDOM.integers(0, 2, (3, 56, 56)),
        has_mask=[True, False, True],
        **more,
    )


def test_boxes_masks_and_crowds_come_back():
    label = boxes(ignore=[False, True, False])
    label["masks"][1] = 0  # Nobody looks at a mask that is not there.
    assert_same(back(THINGS, label), label)
    # A crowd has no score that a threshold could be above.
    found = back(THINGS, label | {"scores": np.float32([0.6, 0.1, 0.3])}, threshold=0.5)
    assert found["ignore"].tolist() == [True, False]
    assert found["classes"].tolist() == [0, 1]


def test_an_image_without_objects_is_one():
    nothing = objects(boxes=[], classes=[])
    assert_same(back(THINGS, nothing), nothing)
    assert back(THINGS, nothing)["labelled"] == 1


def test_scores_are_kept_down_to_the_floor():
    label = boxes() | {"scores": np.float32([0.04, 0.3, 0.9])}
    record = THINGS.records.from_label(label)
    np.testing.assert_array_equal(record["scores"], np.float32([0.9, 0.3]))
    np.testing.assert_array_equal(record["boxes"], label["boxes"][[2, 1]])
    assert not record["truncated"]
    assert back(THINGS, label, threshold=0.5)["classes"].tolist() == [1]


@pytest.mark.parametrize(("count", "truncated"), [(4, False), (5, True)])
def test_more_objects_than_are_stored_are_ignored(count, truncated):
    label = objects(boxes=np.tile([0.1, 0.1, 0.2, 0.2], (count, 1)), classes=[0] * count)
    found = back(THINGS, label)
    assert found["ignore"].tolist() == [False] * 4 + [True] * truncated
    if truncated:
        np.testing.assert_array_equal(found["boxes"][-1], [0, 0, 1, 1])


def test_records_without_ignored_regions_are_read():
    record = {k: v for k, v in THINGS.records.from_label(boxes()).items() if k != "ignore"}
    assert not THINGS.records.to_label(record, None)["ignore"].any()


def test_a_map_comes_back_with_its_ignored_pixels():
    label = {"map": RANDOM.choice([0, 1, 2, 255], (30, 320)).astype(np.uint8)}
    for threshold in (None, 1.0):
        assert_same(back(PARTS, label, threshold), label)


def test_a_large_map_is_shrunk_to_the_pixels_at_the_centers_of_its_cells():
    # 640 wide: cells of two pixels, whose center is the corner of the second; 300 high: 150.
    pixels = RANDOM.integers(0, 3, (300, 640)).astype(np.uint8)
    found = back(PARTS, {"map": pixels})["map"]
    np.testing.assert_array_equal(found, pixels[1::2, 1::2])
    # Three pixels: the center of a cell is that of its second.
    np.testing.assert_array_equal(maps.shrink(pixels[:, :600], 200), pixels[1::3, 1:600:3])
    assert maps.shrink(np.zeros((2000, 3)), 320).shape == (320, 1)


def test_depth_comes_back_to_half_a_step():
    depth = RANDOM.uniform(0.5, 8.0, (40, 50)).astype(np.float32)
    whole = back(Depth(name="far"), {"depth": depth})["depth"]
    # Half of (8 - 0.5) / 65535, and the rounding of float32.
    np.testing.assert_allclose(whole, depth, atol=7.5 / 65535 / 2 + 1e-6)


@pytest.mark.parametrize("kind", ["metric", "relative_inverse"])
def test_unknown_depth_stays_unknown(kind):
    depth = RANDOM.uniform(0.0, 8.0, (40, 50)).astype(np.float32)
    depth[0, :4] = [0.0, -1.0, np.nan, np.inf]
    depth[1, 0] = 1e-7  # Known, and nearer than a step.
    found = back(Depth(name="far", kind=kind), {"depth": depth})["depth"]
    assert found[0, :4].tolist() == [0, 0, 0, 0] and (found.ravel()[4:] > 0).all()
    # Half a step, one for what would be 0.
    np.testing.assert_allclose(found.ravel()[4:], depth.ravel()[4:], atol=8 / 65535)
    nothing = back(Depth(name="far", kind=kind), {"depth": np.zeros((3, 4), np.float32)})
    np.testing.assert_array_equal(nothing["depth"], np.zeros((3, 4)))


def test_normals_come_back_to_half_a_degree():
    normals = RANDOM.normal(size=(20, 30, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    normals[0, :5] = 0
    found = back(Normals(name="facing"), {"normals": normals})["normals"]
    np.testing.assert_array_equal(found[0, :5], np.zeros((5, 3)))
    cosine = (found * normals).sum(-1).ravel()[5:]
    assert np.degrees(np.arccos(np.clip(cosine, -1, 1))).max() < 0.5


def test_a_task_that_cannot_store_labels_made_elsewhere_raises():
    class Records(base.Records):
        spec = from_prediction = to_label = None

    with pytest.raises(UserError, match="n.*'classes'"):
        Records(Classification(name="n", classes=("a",))).from_label({})
