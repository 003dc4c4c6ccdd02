import cv2
import numpy as np
import pytest
import tensorflow as tf

from must_keras.data import augmentation, pipeline
from must_keras.data.augmentation import Augmentation, blur_sigma, hue_rotation, jitter_matrix
from must_keras.data.strong_views import StrongViews
from must_keras.errors import UserError
from must_keras.ops.letterboxing import PADDING_COLOR
from must_keras.runs.fingerprint import describe
from must_keras.self_supervised import views
from must_keras.tasks import Segmentation

RANDOM = np.random.default_rng(0)
# Values from which no change below reaches 0 or 255.
MIDDLE = RANDOM.integers(100, 140, (24, 32, 3)).astype(np.uint8)
IMAGE = RANDOM.integers(0, 256, (24, 32, 3)).astype(np.uint8)
NONE = {"jitter_share": 0.0, "gray_share": 0.0, "blur_share": 0.0, "cutout_share": 0.0}


def only(**changes) -> StrongViews:
    return StrongViews(**(NONE | changes))


def numbers(strong: StrongViews, seed: int = 0) -> np.ndarray:
    """Return what one key samples."""
    return np.random.default_rng(seed).random(8 + 5 * strong.cutouts).astype(np.float32)


def test_hue_rotates_colors_about_the_grays():
    np.testing.assert_allclose(hue_rotation(0.0), np.eye(3), atol=1e-15)
    np.testing.assert_allclose(hue_rotation(1.0), np.eye(3), atol=1e-12)
    red, green, blue = np.eye(3)
    np.testing.assert_allclose(hue_rotation(1 / 3) @ red, green, atol=1e-12)
    np.testing.assert_allclose(hue_rotation(-1 / 3) @ red, blue, atol=1e-12)
    turned = hue_rotation(0.1)
    np.testing.assert_allclose(turned @ hue_rotation(0.2), hue_rotation(0.3), atol=1e-12)
    np.testing.assert_allclose(turned @ turned.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(turned @ [0.4, 0.4, 0.4], [0.4, 0.4, 0.4], atol=1e-12)
    # Half a circle, with the formula's cosine of -1: 2 * mean - color.
    np.testing.assert_allclose(hue_rotation(0.5) @ red, [-1 / 3, 2 / 3, 2 / 3], atol=1e-12)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)])
def test_one_matrix_is_four_changes_in_any_order(order):
    saturation, contrast, brightness, turn = 1.3, 0.7, 1.2, 0.15

    def more_colorful(x):
        gray = x.mean(-1, keepdims=True)
        return gray + saturation * (x - gray)

    steps = (
        more_colorful,
        lambda x: x.mean() + contrast * (x - x.mean()),
        lambda x: brightness * x,
        lambda x: x @ hue_rotation(turn).T,
    )
    wanted = MIDDLE.astype(np.float64)
    for step in order:
        wanted = steps[step](wanted)
    hue = hue_rotation(turn)
    matrix = jitter_matrix(MIDDLE, saturation, contrast, brightness, hue=hue)
    found = cv2.transform(MIDDLE.astype(np.float64), matrix)
    np.testing.assert_allclose(found, wanted, atol=1e-9)


def test_factors_and_turn_span_their_ranges():
    strong = only(jitter_share=1.0, brightness=0.2, contrast=0.4, saturation=1.5, hue=0.1)
    low, high = np.zeros(8 + 15), np.full(8 + 15, 1.0 - 1e-9)
    low[5:8] = high[5:8] = 0.5
    for u, factors, turn in ((low, (0.0, 0.6, 0.8), -0.1), (high, (2.5, 1.4, 1.2), 0.1)):
        matrix = jitter_matrix(MIDDLE, *factors, hue=hue_rotation(turn))
        found = strong.changed(MIDDLE, u)
        wanted = cv2.transform(MIDDLE.astype(np.float64), matrix)
        # OpenCV's bytes have matrices of fixed precision.
        assert np.abs(found - np.clip(wanted, 0, 255)).max() <= 0.6


def test_gray_is_the_light_of_itu_601():
    found = only(gray_share=1.0).changed(IMAGE, numbers(StrongViews()))
    wanted = IMAGE.astype(np.float64) @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(found, np.repeat(wanted[..., None], 3, -1), atol=0.6)


@pytest.mark.parametrize("size", [(24, 32), (64, 64), (224, 230)])
@pytest.mark.parametrize("u", [0.0, 0.5, 0.999])
def test_blur_is_that_of_self_supervised_views_up_to_rounding(size, u):
    image = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    number = numbers(StrongViews())
    number[4] = u
    found = only(blur_share=1.0).changed(image, number)
    sigma = blur_sigma(u, side=min(size))
    assert sigma == pytest.approx((0.1 + 1.9 * u) * min(size) / 224)
    wanted = views.blur(tf.constant(image, tf.float32), sigma, radius=max(min(size) // 20, 1))
    # OpenCV's kernel ends at three standard deviations.
    assert np.abs(found - wanted.numpy()).max() <= 2.0
    assert np.abs(found - wanted.numpy()).mean() <= 0.6


def test_cutout_hides_rectangles_of_the_asked_area_and_nothing_else():
    strong = only(cutouts=1, cutout_share=1.0, cutout_area=(0.05, 0.2))
    image, shares, ratios, middles = np.full((80, 120, 3), 9, np.uint8), [], [], []
    for seed in range(300):
        before, u = image.copy(), numbers(strong, seed)
        found = strong.changed(image, u)
        np.testing.assert_array_equal(image, before)
        hidden = (found == PADDING_COLOR).all(-1)
        assert (found[~hidden] == 9).all()
        rows, columns = (np.flatnonzero(hidden.any(axis)) for axis in (1, 0))
        assert hidden.sum() == len(rows) * len(columns), "one rectangle"
        assert np.ptp(rows) == len(rows) - 1 and np.ptp(columns) == len(columns) - 1
        shares.append(hidden.mean())
        ratios.append((len(rows) / 80) / (len(columns) / 120))
        middles.append((rows.mean() / 80, columns.mean() / 120))
    assert 0.045 < min(shares) < 0.06 and 0.19 < max(shares) < 0.21
    assert 0.3 < min(ratios) < 0.4 and 2.6 < max(ratios) < 3.3
    np.testing.assert_allclose(np.mean(middles, axis=0), 0.5, atol=0.05)


def test_rectangles_are_clipped_to_the_input_and_each_has_its_own_chance():
    whole = only(cutouts=1, cutout_share=1.0, cutout_area=(1.0, 1.0))
    assert (whole.changed(IMAGE, np.full(13, 0.5)) == PADDING_COLOR).all()
    strong = only(cutouts=2, cutout_share=0.5, cutout_area=(0.01, 0.02))
    counts = [0, 0, 0]
    for seed in range(200):
        u = numbers(strong, seed)
        counts[int((u[[8, 13]] < 0.5).sum())] += 1
        changed = (strong.changed(IMAGE, u) != IMAGE).any()
        assert changed == (u[[8, 13]] < 0.5).any()
    assert 30 < counts[0] < 70 and 70 < counts[1] < 130 and 30 < counts[2] < 70


def test_nothing_is_changed_where_every_share_is_0():
    assert StrongViews(**NONE, cutouts=0).changed(IMAGE, numbers(StrongViews(), 3)[:8]) is IMAGE


def test_it_works_inside_tf_data_and_by_the_key_alone():
    strong = StrongViews(cutouts=0)
    keys = tf.data.Dataset.range(40).map(lambda k: tf.cast(k, tf.int32))
    found, again = (
        [x.numpy() for x in keys.map(lambda key: strong.colors(tf.constant(IMAGE), key))]
        for _ in range(2)
    )
    np.testing.assert_array_equal(found, again)
    assert all(x.shape == IMAGE.shape and x.dtype == np.uint8 for x in found)
    assert sum(not np.array_equal(x, IMAGE) for x in found) > 30
    grays = sum((np.ptp(x, axis=-1) == 0).all() for x in found)
    assert 2 < grays < 16, "a fifth"


class Halves:
    """Image i has the value i on the left; the map's classes are its halves."""

    def __len__(self):
        return 8

    def load(self, index):
        image = np.full((32, 32, 3), 200, np.uint8)
        image[:, :16] = 40 + index
        return image, {"parts": {"map": (np.arange(32 * 32).reshape(32, 32) % 2).astype(np.uint8)}}


def test_images_with_ground_truth_and_all_labels_stay():
    parts = Segmentation(name="parts", classes=("a", "b"))
    is_exempt = np.arange(8) % 2 == 0

    def batches(**options):
        ordinary = Augmentation(brightness=0.3)
        make_views = pipeline.one_view([parts], size=32, augmentation=ordinary)
        arguments = {"batch": 8, "seed": 2, "steps": range(2), "make_views": make_views}
        return list(pipeline.training_batches(Halves(), [parts], **arguments, **options))

    strong = StrongViews(jitter_share=1.0)
    places = tf.range(16, dtype=tf.int64)
    indices = [int(pipeline.shuffled(p, num_examples=8, seed=2)) for p in places]
    pairs = zip(batches(), batches(recolor=strong.unless(is_exempt)), strict=True)
    for step, ((x, y), (changed, labels)) in enumerate(pairs):
        tf.nest.map_structure(np.testing.assert_array_equal, y, labels)
        np.testing.assert_array_equal(x["area"], changed["area"])
        for i, index in enumerate(indices[8 * step : 8 * step + 8]):
            same = np.array_equal(x["image"][i], changed["image"][i])
            assert same == is_exempt[index]
            if not same:
                wanted = strong.colors(x["image"][i], y["keys"][i])
                np.testing.assert_array_equal(changed["image"][i], wanted)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hue": 0.6}, r"hue=0.6: expected a number in \[0, 0.5\]"),
        ({"brightness": -0.1}, "brightness=-0.1: expected at least 0"),
        ({"contrast": float("nan")}, "contrast=nan: expected at least 0"),
        ({"gray_share": 1.5}, r"gray_share=1.5: expected a number in \[0, 1\]"),
        ({"blur_share": "often"}, "blur_share is a str, expected a number"),
        ({"cutouts": 1.5}, "cutouts is a float, expected an int"),
        ({"cutouts": -1}, "cutouts=-1: expected at least 0"),
        ({"cutout_area": (0.3, 0.1)}, r"cutout_area=\(0.3, 0.1\): expected \(smallest, largest\)"),
        ({"cutout_area": (0.1,)}, r"cutout_area=\(0.1,\): expected \(smallest, largest\)"),
        ({"cutout_area": (0.0, 0.1)}, "cutout_area="),
        ({"cutout_area": 0.1}, "cutout_area is a float"),
    ],
)
def test_values_that_are_none(values, message):
    with pytest.raises(UserError, match=f"strong views: {message}"):
        StrongViews(**values)


def test_two_files_of_the_same_changes_share_their_numbers():
    assert describe(StrongViews())["type"] == "StrongViews"
    fields = ("jitter_share", "gray_share", "blur_share", "brightness", "contrast", "hue")
    assert all(hasattr(views.RandomViews(), name) for name in fields)
    np.testing.assert_allclose(augmentation.GRAY @ [1, 1, 1], [1, 1, 1])
