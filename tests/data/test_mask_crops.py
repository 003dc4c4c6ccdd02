import numpy as np
import pytest
from pycocotools import mask as coco_mask

from must_keras.data.io.coco_segmentations import rasterized
from must_keras.ops.masks import crop_bitmap as crop
from must_keras.ops.masks import paste


def slow_crop(bitmap, box, size, parts=40):
    """Counts sub-samples of every cell."""
    ymin, xmin, ymax, xmax = box
    n = size * parts
    y = np.floor(ymin + (np.arange(n) + 0.5) * (ymax - ymin) / n).astype(int)
    x = np.floor(xmin + (np.arange(n) + 0.5) * (xmax - xmin) / n).astype(int)
    seen = bitmap[y][:, x].reshape(size, parts, size, parts)
    return seen.mean((1, 3))


@pytest.mark.parametrize("box", [(2.3, 1.7, 9.1, 12.9), (0, 0, 12, 16), (3.2, 4.1, 5.0, 4.9)])
@pytest.mark.parametrize("size", [3, 8, 56])
def test_a_cell_is_covered_by_half_of_its_area(box, size):
    bitmap = (np.random.default_rng(0).random((12, 16)) < 0.5).astype(np.uint8)
    share = slow_crop(bitmap, box, size)
    clear = np.abs(share - 0.5) > 0.06
    np.testing.assert_array_equal(crop(bitmap, box, size=size)[clear], (share >= 0.5)[clear])


def test_by_hand():
    bitmap = np.array([[1, 0], [0, 1]], np.uint8)
    np.testing.assert_array_equal(crop(bitmap, (0, 0, 2, 2), size=2), bitmap)
    np.testing.assert_array_equal(
        crop(bitmap, (0, 0, 2, 2), size=4), np.repeat(np.repeat(bitmap, 2, 0), 2, 1)
    )
    # Exactly a half belongs to the object; outside of the bitmap there is nothing.
    assert crop(bitmap, (0, 0, 2, 2), size=1).tolist() == [[1]]
    assert crop(np.ones((2, 2), np.uint8), (0, 0, 2, 4), size=2).tolist() == [[1, 0], [1, 0]]


def blob(seed, n=9):
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    radius = rng.uniform(8, 20, n)
    points = np.stack([40 + radius * np.cos(angle), 30 + radius * np.sin(angle)], 1)
    return points.ravel()


@pytest.mark.parametrize("seed", range(5))
def test_polygons_and_run_lengths_are_those_of_the_whole_image(seed):
    points, height, width = blob(seed), 64, 80
    box = (
        points[1::2].min(), points[::2].min(), points[1::2].max(), points[::2].max(),
    )  # fmt: skip
    rle = coco_mask.frPyObjects([points.tolist()], height, width)[0]
    expected = crop(coco_mask.decode(rle), box, size=56)
    assert 0.2 < expected.mean() < 1
    np.testing.assert_array_equal(rasterized([points], (height, width), box, size=56), expected)
    np.testing.assert_array_equal(
        rasterized(rle["counts"], (height, width), box, size=56), expected
    )


def test_pasting_gives_the_mask_back():
    points = blob(3)
    bitmap = coco_mask.decode(coco_mask.frPyObjects([points.tolist()], 64, 80)[0])
    rows, columns = np.nonzero(bitmap.any(1))[0], np.nonzero(bitmap.any(0))[0]
    box = np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1], np.float32)
    pasted = paste(crop(bitmap, box, size=56), box, (64, 80))
    both, either = (pasted & bitmap).sum(), (pasted | bitmap).sum()
    assert both / either > 0.98


def test_a_polygon_that_leaves_its_box_is_cut():
    square = np.array([-20, -20, 30, -20, 30, 30, -20, 30], np.float64)
    assert rasterized([square], (20, 20), (2, 3, 12, 13), size=8).all()


def test_two_polygons_are_one_object():
    left, right = (np.array([x, 0, x + 4, 0, x + 4, 10, x, 10], np.float64) for x in (0, 6))
    mask = rasterized([left, right], (10, 10), (0, 0, 10, 10), size=10)
    assert mask[:, :4].all() and mask[:, 6:].all() and not mask[:, 4:6].any()
