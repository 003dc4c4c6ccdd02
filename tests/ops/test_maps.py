import numpy as np
import pytest
import tensorflow as tf

from must_keras.ops import maps
from must_keras.ops.letterboxing import cut


def test_resizing_has_half_pixel_centers():
    y, x = np.mgrid[:8, :12] + 0.5
    ramp = (10 * y + x)[None, :, :, None].astype("float32")
    y, x = (np.mgrid[:16, :24] + 0.5) / 2
    larger = maps.resize(ramp, (16, 24))[0, :, :, 0]
    np.testing.assert_allclose(larger[1:-1, 1:-1], (10 * y + x)[1:-1, 1:-1], rtol=1e-5)
    smaller = maps.resize(ramp, (4, 6))[0, :, :, 0]
    y, x = (np.mgrid[:4, :6] + 0.5) * 2
    np.testing.assert_allclose(smaller, 10 * y + x, rtol=1e-5)
    assert maps.resize(ramp, (8, 12)) is ramp


@pytest.mark.parametrize(("stride", "expected"), [(1, range(8)), (2, [1, 3, 5, 7]), (4, [2, 6])])
def test_a_cell_takes_the_pixel_at_its_center(stride, expected):
    values = np.tile(np.arange(8), (1, 8, 1))
    for kind in (np.asarray, tf.constant):
        taken = maps.at_stride(kind(values), stride)
        np.testing.assert_array_equal(taken[0], np.tile(list(expected), (len(expected), 1)))


def test_a_stride_that_does_not_fit_is_an_error():
    with pytest.raises(ValueError, match=r"multiples of the stride 3.*\(8, 8\)"):
        maps.at_stride(np.zeros((1, 8, 8)), 3)


@pytest.mark.parametrize(
    ("shape", "area", "expected"),
    [
        ((64, 64), [0, 0, 64, 64], (0, 64, 0, 64)),
        ((64, 64), [0, 0, 48, 64], (0, 48, 0, 64)),
        ((32, 32, 3), [0, 0, 48, 64], (0, 24, 0, 32)),
        ((32, 32), [16, 8, 64, 64], (8, 32, 4, 32)),
        ((8, 8), [0, 0, 1, 64], (0, 1, 0, 8)),  # at least one row remains
    ],
)
def test_padding_is_cut_off(shape, area, expected):
    values = np.arange(np.prod(shape)).reshape(shape)
    top, bottom, left, right = expected
    found = cut(values, np.array(area, "float32"), (64, 64))
    np.testing.assert_array_equal(found, values[top:bottom, left:right])


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).integers(0, 256, (5, 7), dtype=np.uint8),
        np.random.default_rng(0).integers(0, 65536, (5, 7), dtype=np.uint16),
        np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8),
        np.zeros((1, 1), np.uint16),
    ],
    ids=["uint8", "uint16", "rgb", "one"],
)
def test_png_keeps_every_value(values):
    data = maps.encode_png(values)
    found = maps.decode_png(data)
    assert found.dtype == values.dtype and data[:4] == b"\x89PNG"
    np.testing.assert_array_equal(found, values)
    assert maps.encode_png(values.copy()) == data


@pytest.mark.parametrize("stride", [1, 2, 3, 4, 6, 12])
def test_resizing_at_a_stride_is_resizing_and_taking(stride):
    values = np.random.default_rng(0).normal(size=(2, 6, 3, 5)).astype("float32")
    expected = maps.at_stride(maps.resize(values, (24, 12)), stride)
    found = maps.resize_at_stride(values, (24, 12), stride)
    np.testing.assert_allclose(found, expected, atol=1e-5)
