"""Two views of an image, as published."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from fakes.random_examples import training
from must_keras.ops.views import View, sample
from must_keras.self_supervised import MoCo, RandomViews, SimCLR
from must_keras.self_supervised.views import distorted, gray, random_crop, two_views

KEYS = range(60)
STILL = RandomViews(jitter_share=0.0, gray_share=0.0, blur_share=0.0)
BLOCKS = np.kron(
    np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8), np.ones((8, 10, 1))
).astype(np.uint8)


def rectangle(view, original):
    """(top, left, height, width) in pixels of the original, and whether it is mirrored."""
    m, (h, w) = np.asarray(view.matrix), view.size
    assert m[0, 1] == m[1, 0] == 0
    edges = sorted([m[1, 2], m[1, 2] + m[1, 1] * w])
    top, left = m[0, 2] * original[0], edges[0] * original[1]
    return top, left, m[0, 0] * h * original[0], (edges[1] - edges[0]) * original[1], m[1, 1] < 0


@tf.function(autograph=False)
def matrix(original, key, least_area):
    """Traced once for all sizes and areas."""
    return random_crop(original, (64, 64), key, least_area=least_area).matrix


def crops(original, least_area):
    least = tf.constant(least_area, tf.float32)
    for key in KEYS:
        found = matrix(tf.constant(original), tf.constant(key), least)
        yield rectangle(View(matrix=found, size=(64, 64)), original)


@pytest.mark.parametrize("original", [(60, 80), (200, 90), (64, 64)])
@pytest.mark.parametrize("least", [0.08, 0.2])
def test_crops_lie_within_and_have_the_published_areas_and_aspects(original, least):
    found = list(crops(original, least))
    for top, left, height, width, _ in found:
        assert top > -1e-3 and left > -1e-3
        assert top + height < original[0] + 1e-3 and left + width < original[1] + 1e-3
        assert 3 / 4 - 1e-3 <= width / height <= 4 / 3 + 1e-3
        assert least - 1e-3 <= height * width / np.prod(original) <= 1 + 1e-3
    areas = [height * width / np.prod(original) for *_, height, width, _ in found]
    assert min(areas) < least + 0.15 and max(areas) > 0.5
    assert 15 < sum(mirrored for *_, mirrored in found) < 45


def test_where_no_draw_fits_the_middle_is_taken():
    """Ten times as wide as high: no crop of half the picture has an aspect of 4:3."""
    for top, left, height, width, _ in crops((20, 200), 0.5):
        assert (top, height) == pytest.approx((0, 20), abs=1e-3)
        assert width == pytest.approx(20 * 4 / 3, rel=1e-4)
        assert left == pytest.approx((200 - width) / 2, rel=1e-3)


def test_a_view_shows_what_its_rectangle_holds():
    places = np.stack(np.meshgrid(np.arange(48.0), np.arange(64.0), indexing="ij"), -1) + 0.5
    places = tf.constant(places, tf.float32)
    for key in range(5):
        view = random_crop(tf.constant([48, 64]), (32, 32), tf.constant(key), least_area=0.2)
        top, left, height, width, mirrored = rectangle(view, (48, 64))
        seen = np.asarray(sample(places, view, interpolation="bilinear", fill=-1.0))
        assert (seen >= 0).all(), "there is no padding"
        middle = np.asarray([top + height * 16.5 / 32, left + width * 16.5 / 32])
        if mirrored:
            middle[1] = left + width * 15.5 / 32
        np.testing.assert_allclose(seen[16, 16], middle, atol=0.01)


def test_the_views_differ_and_are_functions_of_the_key():
    look = two_views(RandomViews(), size=32)
    one, other, again = (look(tf.constant(BLOCKS), {}, tf.constant(k))[0] for k in (1, 2, 1))
    for view in ("image", "other"):
        assert one[view].shape == (32, 32, 3)
        assert one[view].dtype == tf.uint8
        np.testing.assert_array_equal(one[view], again[view])
        assert not np.allclose(one[view], other[view])
    assert not np.allclose(one["image"], one["other"])


@tf.function(autograph=False)
def distort(image, key, jitter_share, gray_share, blur_share, color_range):
    """Traced once for all probabilities, and for each range of colors."""
    views = RandomViews(
        jitter_share=jitter_share, gray_share=gray_share, blur_share=blur_share,
        brightness=0.4, contrast=color_range, saturation=color_range, hue=color_range,
    )  # fmt: skip
    return distorted(image, key, views)


def distorted_by(image, key, *, jitter=0.0, gray=0.0, blur=0.0, colors=0.2):
    return distort(image, tf.constant(key), *map(tf.constant, (jitter, gray, blur)), colors)


def changed(keys=range(150), **shares) -> collections.Counter:
    """Count the views that are gray, and those that are unchanged."""
    image = tf.constant(BLOCKS[:32, :32], tf.float32)
    found = collections.Counter()
    for key in keys:
        result = np.asarray(distorted_by(image, key, **shares))
        found["gray"] += np.allclose(result, np.asarray(gray(result)), atol=1e-2)
        found["same"] += np.array_equal(result, image)
    return found


def test_each_change_has_its_published_chance():
    assert 100 < 150 - changed(jitter=0.8)["same"] < 138
    assert 15 < changed(gray=0.2)["gray"] < 50
    assert 50 < changed(blur=0.5)["same"] < 100
    assert changed(keys=range(9))["same"] == 9


def test_colors_change_as_far_as_they_may():
    """An even image of brightness 100 in which nothing but the brightness is changed."""
    even = tf.fill((32, 32, 3), 100.0)
    found = [float(distorted_by(even, key, jitter=1.0, colors=0.0)[0, 0, 0]) for key in range(150)]
    assert 60 - 1e-2 <= min(found) < 64 and 136 < max(found) <= 140 + 1e-2


def test_the_methods_have_the_views_of_their_papers():
    run = training(3)
    simclr, moco = SimCLR(training=run), MoCo(training=run)
    assert simclr.views == RandomViews(
        least_area=0.08, brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2, jitter_share=0.8,
        gray_share=0.2, blur_share=0.5,
    )  # fmt: skip
    assert moco.views == RandomViews(
        least_area=0.2, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, jitter_share=0.8,
        gray_share=0.2, blur_share=0.5,
    )  # fmt: skip
    assert (simclr.temperature, moco.temperature, moco.momentum) == (0.1, 0.2, 0.999)
