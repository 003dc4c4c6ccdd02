import numpy as np
import pytest
import tensorflow as tf

from must_keras.ops.letterboxing import letterbox
from must_keras.ops.resampling import sample_array
from must_keras.ops.views import (
    View,
    fractions_to_input,
    is_mirrored,
    sample,
    visible_area,
    warp_boxes,
)


def ramp(height: int, width: int) -> tf.Tensor:
    """A map whose value at each pixel's center is 10 * y + x."""
    y, x = np.mgrid[:height, :width] + 0.5
    return tf.constant((10 * y + x)[:, :, None], tf.float32)


def test_a_view_of_the_same_size_changes_nothing():
    values = ramp(32, 64)
    view = letterbox(tf.constant([32, 64]), (64, 64))
    for interpolation in ("bilinear", "nearest"):
        seen = sample(values, view, interpolation=interpolation, fill=-1.0)
        np.testing.assert_allclose(seen[:32], values, atol=1e-4)
        np.testing.assert_array_equal(seen[32:], np.full((32, 64, 1), -1.0))


def test_letterbox_shows_whole_pixels():
    view = letterbox(tf.constant([240, 321]), (64, 64))
    np.testing.assert_allclose(visible_area(view), [0, 0, 48, 64], atol=1e-4)
    seen = sample(tf.ones((240, 321, 1)), view, interpolation="bilinear", fill=0.0)
    np.testing.assert_array_equal(np.argwhere(seen[..., 0]).max(axis=0), [47, 63])
    assert float(np.sum(seen)) == 48 * 64


def test_doubling_is_half_pixel_exact():
    values = ramp(8, 8)
    view = letterbox(tf.constant([8, 8]), (16, 16))
    seen = sample(values, view, interpolation="bilinear", fill=0.0)[..., 0]
    y, x = (np.mgrid[:16, :16] + 0.5) / 2
    np.testing.assert_allclose(seen[1:15, 1:15], (10 * y + x)[1:15, 1:15], rtol=1e-5)


def test_a_stored_map_of_another_resolution_lands_in_the_same_place():
    coarse = np.zeros((4, 4, 1), np.uint8)
    coarse[1, 2] = 7
    view = letterbox(tf.constant([100, 100]), (16, 16))
    seen = sample(tf.constant(coarse), view, interpolation="nearest", fill=255).numpy()[..., 0]
    expected = np.zeros((16, 16), np.uint8)
    expected[4:8, 8:12] = 7
    np.testing.assert_array_equal(seen, expected)


MIRROR = View(matrix=tf.constant([[1 / 64, 0, 0], [0, -1 / 64, 1.0]]), size=(64, 64))


def test_a_mirror_swaps_left_and_right():
    assert bool(is_mirrored(MIRROR))
    assert not bool(is_mirrored(letterbox(tf.constant([5, 5]), (64, 64))))
    boxes = warp_boxes(tf.constant([[0.0, 0.0, 0.5, 0.25]]), MIRROR)
    np.testing.assert_allclose(boxes, [[0, 48, 32, 64]], atol=1e-4)
    values = ramp(64, 64)
    seen = sample(values, MIRROR, interpolation="nearest", fill=0.0)
    np.testing.assert_array_equal(seen, values[:, ::-1])


def test_points_go_there_and_back():
    turned = View(matrix=tf.constant([[0.01, 0.004, 0.1], [-0.003, 0.012, 0.2]]), size=(64, 64))
    points = np.random.default_rng(0).uniform(0, 64, (10, 2)).astype("float32")
    fractions = np.c_[points, np.ones(10, "float32")] @ turned.matrix.numpy().T
    np.testing.assert_allclose(
        fractions_to_input(tf.constant(fractions), turned), points, atol=1e-3
    )


@pytest.mark.parametrize("dtype", [tf.uint8, tf.float32])
def test_views_work_inside_tf_data(dtype):
    values = tf.cast(ramp(20, 30), dtype)

    def see(image):
        return sample(
            image, letterbox(tf.shape(image)[:2], (32, 32)), interpolation="nearest", fill=3
        )

    (batch,) = tf.data.Dataset.from_tensors(values).map(see).batch(1)
    np.testing.assert_array_equal(batch[0], see(values))
    assert batch.dtype == dtype


@pytest.mark.parametrize("turn", [0.0, 0.3])
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_equals_a_slow_loop(channels, turn, interpolation):
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 255, (13, 17, channels)).astype(np.float32)
    slope = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) / 14.3
    matrix = np.c_[slope, [-0.11, 0.07]].astype(np.float32)
    view = View(matrix=tf.constant(matrix), size=(16, 20))
    found = sample(tf.constant(values), view, interpolation=interpolation, fill=-1.0).numpy()
    for row in range(16):
        for column in range(20):
            fy, fx = matrix @ (row + 0.5, column + 0.5, 1.0)
            if not (0 <= fy < 1 and 0 <= fx < 1):
                expected = [-1.0] * channels
            elif interpolation == "nearest":
                expected = values[int(fy * 13), int(fx * 17)]
            else:
                y, x = np.clip([fy * 13 - 0.5, fx * 17 - 0.5], 0, [12, 16])
                (top, left), (down, right) = (
                    (int(y), int(x)),
                    (min(int(y) + 1, 12), min(int(x) + 1, 16)),
                )
                down_share, right_share = y - top, x - left
                above = values[top, left] * (1 - right_share) + values[top, right] * right_share
                below = values[down, left] * (1 - right_share) + values[down, right] * right_share
                expected = above * (1 - down_share) + below * down_share
            np.testing.assert_allclose(found[row, column], expected, atol=1e-3)
    assert (found == -1).any()


def test_a_fill_may_have_a_color():
    matrix = letterbox(tf.constant([8, 16]), (16, 16)).matrix.numpy()
    values = np.ones((8, 16, 3), np.float32)
    fill = (1.5, 2.5, 3.5)
    seen = sample_array(values, matrix, (16, 16), interpolation="bilinear", fill=fill)
    assert (seen[:8] == 1).all() and (seen[8:] == np.float32(fill)).all()
