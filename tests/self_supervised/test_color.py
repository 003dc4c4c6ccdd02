import colorsys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance

from must_keras.self_supervised import views

RANDOM = np.random.default_rng(0)
IMAGE = RANDOM.integers(0, 256, (12, 16, 3)).astype(np.uint8)
PICTURE = Image.fromarray(IMAGE)


def both(change, *amounts) -> np.ndarray:
    """What a change gives eagerly, which is also what it gives inside tf.data."""
    image = tf.constant(IMAGE, tf.float32)
    eager = np.asarray(change(image, *amounts))
    data = tf.data.Dataset.from_tensors(image).map(lambda x: change(x, *amounts))
    (graph,) = data
    np.testing.assert_allclose(graph, eager, rtol=1e-5, atol=1e-3)
    assert eager.shape == IMAGE.shape and eager.min() >= 0 and eager.max() <= 255
    return eager


@pytest.mark.parametrize("factor", [0.0, 0.4, 1.0, 1.8])
@pytest.mark.parametrize(
    ("change", "pillow"),
    [
        (views.brightness, ImageEnhance.Brightness),
        (views.contrast, ImageEnhance.Contrast),
        (views.saturation, ImageEnhance.Color),
    ],
)
def test_pillow_blends_the_same_up_to_its_rounding(change, pillow, factor):
    wanted = np.asarray(pillow(PICTURE).enhance(factor), np.float32)
    np.testing.assert_allclose(both(change, factor), wanted, atol=2.0)


@pytest.mark.parametrize("turn", [-0.5, -0.1, 0.0, 0.2, 0.5])
def test_hue_turns_every_pixel_as_the_standard_library_does(turn):
    def turned(pixel):
        hue, saturation, value = colorsys.rgb_to_hsv(*(pixel / 255.0))
        return np.array(colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)) * 255.0

    wanted = np.apply_along_axis(turned, -1, IMAGE.astype(np.float64))
    np.testing.assert_allclose(both(views.hue, turn), wanted, atol=0.05)


def test_hue_leaves_grays_and_a_whole_turn_alone():
    grays = tf.constant([[[0.0] * 3, [77.0] * 3, [255.0] * 3]])
    np.testing.assert_allclose(views.hue(grays, 0.3), grays, atol=1e-3)
    np.testing.assert_allclose(both(views.hue, 1.0), IMAGE, atol=0.05)


def test_gray_is_the_light_of_itu_601():
    found = both(views.gray)
    wanted = IMAGE.astype(np.float64) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(found, np.repeat(wanted[..., None], 3, -1), atol=1e-3)


def slow_blur(image, sigma, radius):
    """A sum over all taps for each pixel; the edge is mirrored, its own pixel included."""
    padded = np.pad(image, ((radius, radius), (radius, radius), (0, 0)), mode="symmetric")
    found = np.zeros(image.shape)
    weights = [[np.exp(-(y * y + x * x) / (2 * sigma**2)) for x in range(-radius, radius + 1)]
               for y in range(-radius, radius + 1)]  # fmt: skip
    for y in range(2 * radius + 1):
        for x in range(2 * radius + 1):
            part = padded[y : y + image.shape[0], x : x + image.shape[1]]
            found += weights[y][x] * part
    return found / np.sum(weights)


@pytest.mark.parametrize(("sigma", "radius"), [(0.3, 1), (1.1, 3), (2.0, 11)])
def test_blur_is_the_weighted_mean_of_the_neighbors(sigma, radius):
    found = both(lambda x: views.blur(x, sigma, radius=radius))
    np.testing.assert_allclose(found, slow_blur(IMAGE.astype(float), sigma, radius), atol=1e-3)


def test_a_narrow_blur_and_an_even_image_change_nothing():
    np.testing.assert_allclose(
        both(lambda x: views.blur(x, 0.05, radius=2)), IMAGE, atol=1e-3
    )  # fmt: skip
    even = tf.fill((8, 8, 3), 90.0)
    np.testing.assert_allclose(views.blur(even, 1.5, radius=3), even, rtol=1e-5)
