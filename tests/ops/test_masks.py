import numpy as np
from keras import ops
from pycocotools import mask as coco_mask

from must_keras.ops import masks as mask_ops


def crop(masks, boxes, regions, size):
    found = mask_ops.crop(
        np.asarray(masks), np.asarray(boxes, np.float32), np.asarray(regions, np.float32), size=size
    )
    return ops.convert_to_numpy(found)


def test_the_own_box_at_the_own_size_is_the_mask_itself():
    masks = np.random.default_rng(0).integers(0, 2, (3, 8, 8)).astype(np.uint8)
    boxes = [[0, 0, 8, 8], [5, 7, 21, 13], [-3, 2, 40, 4]]
    np.testing.assert_allclose(crop(masks, boxes, boxes, 8), masks, atol=1e-4)


def test_half_of_the_box_is_half_of_the_mask():
    mask = np.arange(16).reshape(1, 4, 4) % 2
    box, right = [[0, 0, 8, 8]], [[0, 4, 8, 8]]
    found = crop(mask, box, right, 4)
    # Columns 2 and 3 of the mask, each seen twice: a quarter of a cell beside the centers.
    columns = np.array([1.75, 2.25, 2.75, 3.0])
    whole, part = np.floor(columns).astype(int), columns % 1
    expected = mask[0, :, whole] * (1 - part)[:, None]
    expected = expected + mask[0, :, np.minimum(whole + 1, 3)] * part[:, None]
    assert found.shape == (1, 4, 4)
    np.testing.assert_allclose(found[0], expected.T, atol=1e-6)


def test_outside_of_the_own_box_there_is_no_object():
    found = crop(np.ones((1, 2, 2)), [[0, 0, 4, 4]], [[0, 0, 8, 4]], 4)
    assert found[0].tolist() == [[1] * 4, [1] * 4, [0] * 4, [0] * 4]


def test_a_box_without_area_has_an_empty_mask():
    assert not crop(np.ones((1, 2, 2)), [[3, 3, 3, 3]], [[0, 0, 8, 8]], 4).any()
    assert np.isfinite(crop(np.ones((1, 2, 2)), [[0, 0, 4, 4]], [[3, 3, 3, 3]], 4)).all()


def test_paste_puts_a_mask_where_its_box_is():
    mask = np.array([[1, 0], [0, 1]])
    picture = mask_ops.paste(mask, np.array([1, 2, 5, 6]), (6, 7))
    expected = np.zeros((6, 7), np.uint8)
    expected[1:3, 2:4] = 1
    expected[3:5, 4:6] = 1
    assert picture.tolist() == expected.tolist()


def test_paste_outside_of_the_picture_is_cut_and_empty_boxes_are_empty():
    mask = np.ones((4, 4))
    assert mask_ops.paste(mask, np.array([-2, -2, 2, 2]), (4, 4)).sum() == 4
    assert mask_ops.paste(mask, np.array([3, 3, 3, 3]), (4, 4)).sum() == 0
    assert mask_ops.paste(mask, np.array([10, 10, 20, 20]), (4, 4)).sum() == 0


def test_run_lengths_are_pycocotools_and_come_back():
    mask = np.random.default_rng(0).integers(0, 2, (9, 5)).astype(np.uint8)
    counts = mask_ops.encode_rle(mask)
    assert counts == coco_mask.encode(np.asfortranarray(mask))["counts"]
    assert (mask_ops.decode_rle(counts, (9, 5)) == mask).all()


def test_run_lengths_are_those_of_pycocotools():
    rng = np.random.default_rng(3)
    for share in (0.02, 0.5, 0.98):
        mask = (rng.random((37, 53)) < share).astype(np.uint8)
        column = mask.ravel(order="F")
        edges = np.flatnonzero(np.diff(column)) + 1
        wanted = np.diff(np.concatenate([[0], edges, [column.size]])).tolist()
        wanted = [0, *wanted] if column[0] else wanted
        assert mask_ops.run_lengths(mask_ops.encode_rle(mask)) == wanted
    assert mask_ops.run_lengths(b"") == []
