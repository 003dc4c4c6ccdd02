"""Views of arrays, against a slow and obvious sampling."""

import functools

import numpy as np
import pytest

import sampled_views
from must_keras.data.augmentation import Augmentation, RandAugment
from must_keras.ops.resampling import sample_array

SIZE = (24, 32)
# Exact to OpenCV's fractions of eleven bits and a rounding; on noise, half a pixel is 50 away.
CLOSE = {np.uint8: 0.95, np.float32: 0.01}


def slowly(values: np.ndarray, matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear samples [H, W, C] in float64, and which pixels' centers show the original."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    fractions = np.einsum("ij,jhw->ihw", matrix.astype(np.float64), [y, x, np.ones_like(x)])
    inside = ((fractions >= 0) & (fractions < 1)).all(axis=0)
    h, w = values.shape[:2]
    py = np.clip(fractions[0] * h - 0.5, 0, h - 1)[..., None]
    px = np.clip(fractions[1] * w - 0.5, 0, w - 1)[..., None]
    top, left = py.astype(int)[..., 0], px.astype(int)[..., 0]
    down, right = np.minimum(top + 1, h - 1), np.minimum(left + 1, w - 1)
    values = values.astype(np.float64)
    above = values[top, left] * (1 - px % 1) + values[top, right] * (px % 1)
    below = values[down, left] * (1 - px % 1) + values[down, right] * (px % 1)
    return above * (1 - py % 1) + below * (py % 1), inside


def noise(shape, dtype) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, shape).astype(dtype)


@functools.cache
def sampled(rand_augment: RandAugment | None = None) -> list[tuple[tuple[int, int], np.ndarray]]:
    """The sizes of some originals, and the matrix of a random view of each."""
    originals = [np.random.default_rng(key).integers(16, 60, 2).tolist() for key in range(40)]
    augmentation = Augmentation(scale=(0.3, 2.0), rand_augment=rand_augment)
    views = sampled_views.views(augmentation, originals, range(40), size=SIZE)
    return [(tuple(o), view.matrix.numpy()) for o, view in zip(originals, views, strict=True)]


@pytest.mark.parametrize("rand_augment", [None, RandAugment(magnitude=9.0)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_random_views_equal_slow_samples(channels, dtype, rand_augment):
    for key, (original, matrix) in enumerate(sampled(rand_augment)[:30]):
        values = noise((*original, channels), dtype)
        found = sample_array(values, matrix, SIZE, interpolation="bilinear", fill=255)
        wanted, inside = slowly(values, matrix)
        assert found.dtype == dtype and (found[~inside] == 255).all()
        assert np.abs(found - wanted)[inside].max() < CLOSE[dtype], f"key {key}"


def view(rows, columns) -> np.ndarray:
    """A matrix that shows `step` and `start` of an original of 40 x 50 pixels, along each axis."""
    (a, b), (c, d) = rows, columns
    return np.float32([[a / 40, 0, b / 40], [0, c / 50, d / 50]])


@pytest.mark.parametrize(
    "matrix",
    [
        view((0.5, 7), (0.3, 20)),  # A crop, enlarged: it begins between two pixels.
        view((0.5, 7), (-0.3, 41)),  # Its mirror image.
        view((0.02, 7), (0.02, 20)),  # Less than a pixel on the whole input.
        view((-1.0, 24), (1.0, 3)),  # Upside down, of the same scale.
        view((1.004, 3), (1.004, 5)),  # Almost of the same scale.
        view((1.5, 2.3), (1.5, 0)),  # It begins within a pixel.
        view((1.6, -8), (1.6, -1.6)),  # Beside padding.
        view((1.6, -8.4), (1.6, 0)),  # Beside padding that ends within a pixel.
        view((1.6, 39), (1.5, 49)),  # The last row and column.
        view((60.0, 0), (60.0, 0)),  # All of it in less than a pixel.
        view((1.0, 100), (1.0, 0)),  # Nothing of it.
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_chosen_views_equal_slow_samples(channels, dtype, matrix):
    values = noise((40, 50, channels), dtype)
    before = values.copy()
    found = sample_array(values, matrix, SIZE, interpolation="bilinear", fill=255)
    wanted, inside = slowly(values, matrix)
    assert (found[~inside] == 255).all()
    assert np.abs(found - wanted)[inside].max(initial=0) < CLOSE[dtype]
    np.testing.assert_array_equal(values, before)


@pytest.mark.parametrize("rand_augment", [None, RandAugment(magnitude=9.0)])
def test_means_of_blocks_stay_in_place(rand_augment):
    """A ramp of places says where a sample is from, whatever is averaged around it."""
    shrunk = 0
    for original, matrix in sampled(rand_augment)[:30]:
        original = tuple(5 * side + 1 for side in original)
        places = np.mgrid[: original[0], : original[1]] + 0.5
        values = np.stack(places, axis=-1).astype(np.float32)
        found = sample_array(values, matrix, SIZE, interpolation="averaged", fill=-1.0)
        y, x = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
        wanted = np.stack([y, x, np.ones_like(x)], axis=-1) @ matrix.T.astype(np.float64)
        wanted *= original
        steps = np.linalg.norm(matrix[:, :2], axis=1) * original
        # Not within a block of the edge, which is repeated beyond it.
        far = ((wanted > 2 * steps) & (wanted < original - 2 * steps)).all(axis=-1)
        np.testing.assert_allclose(found[far], wanted[far], atol=0.02)
        _, inside = slowly(values, matrix)
        assert ((found == -1).all(axis=-1) == ~inside).all(), "padding is that of the original"
        shrunk += steps.min() >= 2
    assert shrunk > 20


def test_means_are_of_all_pixels():
    """Stripes of two pixels in six, seen at a third of their size: a third of 255 and 0 in turn."""
    stripes = np.zeros((30, 36, 3), np.uint8)
    stripes[:, 0::6] = 255
    matrix = np.float32([[3 / 30, 0, 0], [0, 3 / 36, 0]])
    found = sample_array(stripes, matrix, SIZE, interpolation="averaged", fill=7)
    assert (found[:10, :12:2] == 85).all() and (found[:10, 1:12:2] == 0).all()
    assert (found[10:] == 7).all() and (found[:, 12:] == 7).all()


def test_random_views_begin_at_edges_of_pixels():
    for original, matrix in sampled():
        for axis, length in enumerate(original):
            step, start = matrix[axis, [axis, 2]].astype(np.float64) * length
            if step < 0:
                step, start = -step, length - start
            place = start if start > 0 else start / step
            assert place == pytest.approx(round(place), abs=1e-3)
