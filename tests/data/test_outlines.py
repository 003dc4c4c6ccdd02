"""Outlines of masks as polygons, and Label Studio's run lengths of them."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from must_keras.data.io.brush_codes import decode_brush, encode_brush
from must_keras.data.io.outlines import outline
from must_keras.ops.masks import paste


def area(ring):
    x, y = ring.T
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


def test_a_full_mask_is_its_box():
    ring = outline(np.ones((5, 5), np.uint8))
    assert sorted(ring.tolist()) == [[0, 0], [0, 1], [1, 0], [1, 1]]


def test_the_edge_lies_between_cells_and_reaches_to_the_box():
    mask = np.zeros((4, 4), np.uint8)
    mask[:, :2] = 1
    assert sorted(outline(mask).tolist()) == [[0, 0], [0, 1], [0.5, 0], [0.5, 1]]


def test_an_empty_mask_has_none():
    assert outline(np.zeros((4, 4), np.uint8)) is None


def test_parts_are_joined_and_holes_are_filled():
    mask = np.zeros((8, 8), np.uint8)
    mask[:, 0], mask[:, 6:] = 1, 1
    # 1 and 2 of 8 columns.
    assert area(outline(mask)) == pytest.approx(3 / 8)
    ring = np.ones((8, 8), np.uint8)
    ring[3:5, 3:5] = 0
    assert area(outline(ring)) == pytest.approx(1.0)


def test_the_polygon_has_the_pixels_of_the_mask():
    random = np.random.default_rng(0)
    y, x = np.indices((28, 28)) / 27
    for _ in range(5):
        a, b, c = random.uniform(0.3, 0.7, 3)
        mask = ((x - a) ** 2 + (y - b) ** 2 < 0.3 * c).astype(np.uint8)
        box, size = np.array([10.5, 30.25, 190.0, 280.0]), (200, 300)
        pixels = paste(mask, box, size)
        points = box[[1, 0]] + outline(mask) * (box[[3, 2]] - box[[1, 0]])
        rle = coco_mask.frPyObjects([points.ravel().tolist()], *size)
        drawn = coco_mask.decode(rle)[:, :, 0]
        assert np.sum(pixels & drawn) / np.sum(pixels | drawn) > 0.985


def test_a_brush_code_is_its_mask_again():
    random = np.random.default_rng(0)
    for shape in ((1, 1), (3, 7), (300, 400)):
        mask = (random.uniform(size=shape) < 0.2).astype(np.uint8)
        np.testing.assert_array_equal(decode_brush(encode_brush(mask), shape), mask)
    for mask in (np.zeros((300, 400), np.uint8), np.ones((300, 400), np.uint8)):
        code = encode_brush(mask)
        assert len(code) < 60
        np.testing.assert_array_equal(decode_brush(code, mask.shape), mask)


def test_values_that_do_not_repeat():
    # 4 values of 8 bits: one pixel, with lengths of 1, 1, 1 and 2 bits; then a run of 4 values.
    bits = f"{8:032b}" + "00111" + "0000" * 3 + "0001"
    bits += "0" + "11" + f"{3:02b}" + "".join(f"{v:08b}" for v in (9, 9, 9, 0))
    bits += "1" + "11" + f"{3:02b}" + f"{255:08b}"
    bits += "0" * (-len(bits) % 8)
    code = [int(bits[i : i + 8], 2) for i in range(0, len(bits), 8)]
    assert decode_brush(code, (1, 2)).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("abc", "expected a list of bytes"),
        ([1, 300], "expected a list of bytes"),
        ([0, 0, 0, 8], "ends within a run"),
        (encode_brush(np.ones((2, 1))), "not of 1 x 3 pixels"),
        (encode_brush(np.ones((1, 3)))[:-2], "ends within a run"),
    ],
)
def test_damaged_brush_codes(code, problem):
    with pytest.raises(ValueError, match=problem):
        decode_brush(code, (1, 3) if code != [0, 0, 0, 8] else (1, 2))


def test_label_studio_reads_brush_codes():
    brush = pytest.importorskip(
        "label_studio_sdk.converter.brush", reason="label-studio-sdk is not installed"
    )
    mask = np.zeros((30, 50), np.uint8)
    mask[3:9, 20:41] = 1
    pixels = np.reshape(brush.decode_rle(encode_brush(mask)), (30, 50, 4))
    np.testing.assert_array_equal(pixels[:, :, 3], 255 * mask)
    np.testing.assert_array_equal(decode_brush(list(brush.mask2rle(255 * mask)), (30, 50)), mask)
