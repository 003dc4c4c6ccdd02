"""RandAugment: Pillow's changes of color, and one affine view for all labels."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

import sampled_views
from must_keras.data.augmentation import GEOMETRIC, PHOTOMETRIC, Augmentation, RandAugment
from must_keras.data.pipeline import sample_image
from must_keras.errors import UserError
from must_keras.ops.letterboxing import letterbox
from must_keras.ops.masks import paste
from must_keras.ops.views import View
from must_keras.runs.fingerprint import describe
from must_keras.tasks import Depth, Detection, Normals, Segmentation

FULL = RandAugment(layers=1, magnitude=10.0)
NAMES = [*GEOMETRIC, *PHOTOMETRIC]


def changed(name: str, pixels: list, level: float) -> list:
    """What becomes of a row of gray pixels."""
    image = np.repeat(np.uint8(pixels)[None, :, None], 3, axis=2)
    found = PHOTOMETRIC[name](image, level)
    assert found.shape == image.shape and found.dtype == np.uint8
    return found[0, :, 0].tolist()


@pytest.mark.parametrize(
    ("name", "level", "wanted"),
    [
        ("identity", 1.0, [10, 60, 110, 210]),
        # From 10..210 to 0..255.
        ("auto_contrast", 1.0, [0, 63, 127, 255]),
        # The threshold falls from 256 to 0.
        ("solarize", 0.5, [10, 60, 110, 45]),
        ("solarize", -1.0, [245, 195, 145, 45]),
        # Six bits, then four.
        ("posterize", 0.5, [8, 60, 108, 208]),
        ("posterize", -1.0, [0, 48, 96, 208]),
        ("brightness", 1.0, [19, 114, 209, 255]),
        ("brightness", -0.5, [5, 33, 60, 115]),
        # Away from the mean, 98, or towards it.
        ("contrast", 1.0, [0, 25, 120, 255]),
        ("contrast", -1.0, [89, 94, 99, 109]),
        # Gray has no color to change.
        ("color", 1.0, [10, 60, 110, 210]),
    ],
)
def test_changes_by_hand(name, level, wanted):
    assert np.abs(np.subtract(changed(name, [10, 60, 110, 210], level), wanted)).max() <= 1


def test_equalized_values_are_equally_frequent():
    found = changed("equalize", [100] * 256 + [101] * 256 + [102] * 256 + [103] * 256, 1.0)
    assert np.bincount(found).nonzero()[0][0] == 0 and max(found) == 255
    assert len(set(np.bincount(found)) - {0}) == 1


def test_a_color_is_strengthened_and_a_corner_sharpened():
    red, green, blue = PHOTOMETRIC["color"](np.uint8([[[100, 100, 200]]]), 1.0)[0, 0]
    assert red == green < 100 and blue > 200
    image = np.full((5, 5, 3), 100, np.uint8)
    image[2, 2] = 150
    sharper, softer = (PHOTOMETRIC["sharpness"](image, level)[2, 2, 0] for level in (1.0, -1.0))
    assert softer < 150 < sharper


def enhanced(kind):
    return lambda image, level: kind(image).enhance(1.0 + level * 0.9)


PILLOWS = {
    "auto_contrast": lambda image, level: ImageOps.autocontrast(image),
    "equalize": lambda image, level: ImageOps.equalize(image),
    "solarize": lambda image, level: ImageOps.solarize(image, round(256 * (1 - abs(level)))),
    "posterize": lambda image, level: ImageOps.posterize(image, 8 - round(4 * abs(level))),
    "color": enhanced(ImageEnhance.Color),
    "contrast": enhanced(ImageEnhance.Contrast),
    "brightness": enhanced(ImageEnhance.Brightness),
    "sharpness": enhanced(ImageEnhance.Sharpness),
}


@pytest.mark.parametrize("level", [-0.9, -0.4, 0.5, 1.0])
@pytest.mark.parametrize("name", sorted(PILLOWS))
def test_changes_are_pillows_up_to_its_rounding(name, level):
    """Pillow cuts decimals off, and rounds what it blends with, where OpenCV rounds once; "equalize"
    of Pillow has whole numbers of pixels for each value, which matters the less the more there are."""
    random = np.random.default_rng(0)
    coarse = Image.fromarray(random.integers(70, 180, (6, 8, 3)).astype(np.uint8))
    smooth = np.asarray(coarse.resize((320, 240), Image.Resampling.BICUBIC), np.float64)
    image = (smooth + random.normal(0, 8, smooth.shape)).clip(0, 255).astype(np.uint8)
    before = image.copy()
    found = PHOTOMETRIC[name](image, level).astype(int)
    wanted = np.asarray(PILLOWS[name](Image.fromarray(image), level)).astype(int)
    np.testing.assert_array_equal(image, before)
    exact = {"solarize": 0, "posterize": 0, "auto_contrast": 1, "brightness": 1, "equalize": 4}
    allowed = exact.get(name, 2)
    assert np.abs(found - wanted).max() <= allowed
    assert np.abs(found - image).max() > 3 * allowed, "it does change something"


def test_an_even_image_has_no_contrast_to_change():
    even = np.full((4, 4, 3), 77, np.uint8)
    for name in ("auto_contrast", "contrast", "sharpness", "color"):
        np.testing.assert_array_equal(PHOTOMETRIC[name](even, 0.7), even)


def key_of(name: str, sign: float = 1.0) -> tf.Tensor:
    """The first key that samples a change and a sign."""
    which, signs = sampled_views.changes(FULL, 300)
    found = (which[:, 0] == NAMES.index(name)) & (signs[:, 0] == sign)
    assert found.any(), f"{name} is never sampled"
    return tf.constant(int(found.argmax()))


@pytest.mark.parametrize(
    ("name", "point", "wanted"),
    [
        ("shear_x", (0, 32), (0, 32 - 0.3 * 32)),
        ("shear_y", (32, 0), (32 - 0.3 * 32, 0)),
        ("translate_x", (5, 6), (5, 6 + 64 * 150 / 331)),
        ("translate_y", (5, 6), (5 + 64 * 150 / 331, 6)),
        ("rotate", (32, 42), (32 - 10 * np.sin(np.pi / 6), 32 + 10 * np.cos(np.pi / 6))),
        ("equalize", (5, 6), (5, 6)),
    ],
)
def test_points_move_as_the_change_says(name, point, wanted):
    """Of an input of 64 x 64 pixels, with the center at (32, 32)."""
    matrix = FULL.geometry(key_of(name), (64, 64)).numpy()
    np.testing.assert_allclose(matrix @ [*point, 1.0], [*wanted, 1.0], atol=1e-3)
    other = FULL.geometry(key_of(name, -1.0), (64, 64)).numpy()
    center = np.array([32, 32, 1.0])
    np.testing.assert_allclose(matrix @ center + other @ center, 2 * center, atol=1e-3)


def test_every_change_is_sampled_about_equally_often():
    which, _ = sampled_views.changes(RandAugment(layers=3, magnitude=1.0), 700)
    counts = np.bincount(which.ravel(), minlength=14)
    assert len(counts) == 14 == len(NAMES) and counts.min() > 100 and counts.max() < 200


def turned_view() -> View:
    """A quarter turn of a square: what was at the top is at the left."""
    return View(
        matrix=tf.constant([[0.0, 1 / 64, 0.0], [-1 / 64, 0.0, 1.0]]), size=(64, 64),
        axis_aligned=False,
    )  # fmt: skip


def test_a_quarter_turn_of_every_label():
    thing = Detection(name="things", classes=("a",), max_boxes=2, mask_region=14)
    mask = np.zeros((28, 28), np.uint8)
    mask[:14] = 1  # The upper half of the box.
    stored = {
        "boxes": np.float32([[0.0, 0.5, 0.25, 1.0]]), "classes": np.int32([0]),
        "masks": mask[None], "has_mask": np.array([True]), "ignore": np.array([False]),
        "labelled": np.float32(1.0),
    }  # fmt: skip
    found = thing.labels.warp(stored, turned_view())
    np.testing.assert_allclose(found["boxes"][0], [0, 0, 32, 16], atol=1e-3)
    seen = found["masks"][0].numpy()
    half = seen.shape[1] // 2
    assert seen[:, :half].all() and not seen[:, half:].any(), "the left half now"
    # The original's left is the view's bottom: a normal to the left points down.
    normals = np.zeros((32, 32, 3), np.float32)
    normals[..., 0], normals[..., 2] = -0.6, -0.8
    turned = Normals(name="n").labels.warp({"normals": normals}, turned_view())["normals"].numpy()
    np.testing.assert_allclose(turned[40, 40], [0.0, 0.6, -0.8], atol=1e-5)


def test_a_turned_mirrored_view_of_one_axis_is_the_aligned_one():
    """Where nothing is turned, both ways give the same labels."""
    matrix = tf.constant([[1 / 50, 0.0, 0.1], [0.0, -1 / 40, 0.9]])
    views = [View(matrix=matrix, size=(64, 64), axis_aligned=a) for a in (True, False)]
    random = np.random.default_rng(1)
    stored = {
        "boxes": np.float32([[0.1, 0.2, 0.6, 0.7]]), "classes": np.int32([0]),
        "masks": random.integers(0, 2, (1, 28, 28)).astype(np.uint8),
        "has_mask": np.array([True]), "ignore": np.array([False]), "labelled": np.float32(1.0),
    }  # fmt: skip
    task = Detection(name="things", classes=("a",), max_boxes=2, mask_region=14)
    one, other = (task.labels.warp(stored, view) for view in views)
    for key in one:
        np.testing.assert_array_equal(one[key], other[key])


@pytest.mark.parametrize("key", range(4))
def test_one_view_serves_image_maps_boxes_and_masks(key):
    """A bright ellipse: where the image is bright, the map has 1, depth 5 m and the mask 1."""
    y, x = np.mgrid[:96, :96]
    inside = ((y - 40) / 22) ** 2 + ((x - 52) / 14) ** 2 < 1
    image = np.where(inside[..., None], 255, 0).astype(np.uint8).repeat(3, axis=2)
    augmentation = Augmentation(
        scale=(0.8, 1.0), brightness=0.0, rand_augment=RandAugment(layers=3, magnitude=6.0)
    )
    view = augmentation.view(tf.constant([96, 96]), (96, 96), tf.constant(key))
    assert not view.axis_aligned
    bright = sample_image(tf.constant(image), view).numpy()[..., 0] > 128
    classes = Segmentation(name="map", classes=("no", "yes")).labels.warp(
        {"map": inside.astype(np.uint8)}, view
    )["map"].numpy()  # fmt: skip
    depth = Depth(name="far").labels.warp(
        {"depth": np.where(inside, 5.0, 2.0).astype(np.float32)}, view
    )
    box = np.float32([[18, 38, 62, 66]]) / 96
    rows, columns = (
        (np.arange(28) + 0.5) / 28 * (box[0, i + 2] - box[0, i]) * 96 + box[0, i] * 96
        for i in (0, 1)
    )
    mask = inside[rows.astype(int)[:, None], columns.astype(int)[None]].astype(np.uint8)
    found = Detection(name="things", classes=("a",), max_boxes=2, mask_region=14).labels.warp(
        {
            "boxes": box, "classes": np.int32([0]), "masks": mask[None],
            "has_mask": np.array([True]), "ignore": np.array([False]),
            "labelled": np.float32(1.0),
        }, view,
    )  # fmt: skip
    pasted = paste(found["masks"][0].numpy(), found["boxes"][0].numpy(), (96, 96))
    known = classes != 255
    assert bright[known].sum() > 100
    for other in (classes == 1, depth["depth"].numpy() > 3.5, pasted == 1):
        union = ((bright | other) & known).sum()
        assert (bright & other & known).sum() > 0.88 * union
    assert (depth["depth"].numpy()[~known] == 0).mean() > 0.95, "padding has no label"


def test_it_works_inside_tf_data_and_by_the_key_alone():
    augmentation = Augmentation(brightness=0.0, rand_augment=RandAugment(layers=2, magnitude=9.0))
    image = tf.constant(np.random.default_rng(0).integers(20, 230, (30, 40, 3)), tf.uint8)

    def change(key):
        return augmentation.colors(image, key)

    keys = tf.data.Dataset.range(24).map(lambda k: tf.cast(k, tf.int32))
    found = [changed.numpy() for changed in keys.map(change)]
    again = [changed.numpy() for changed in keys.map(change)]
    np.testing.assert_array_equal(found, again)
    different = sum(not np.array_equal(changed, image) for changed in found)
    assert 12 < different < 24, "some samples move only, or change nothing"


def test_values_that_are_none_and_fingerprints():
    with pytest.raises(UserError, match=r"magnitude must be in \(0, 10\], received 15"):
        RandAugment(magnitude=15)
    with pytest.raises(UserError, match="layers must be at least 1"):
        RandAugment(layers=0)
    assert describe(Augmentation()) == {
        "type": "Augmentation", "scale": [0.8, 1.25], "mirror": True, "brightness": 0.2,
    }  # fmt: skip
    assert describe(Augmentation(rand_augment=FULL))["rand_augment"] == {
        "type": "RandAugment", "layers": 1, "magnitude": 10.0,
    }  # fmt: skip
    assert letterbox(tf.constant([5, 5]), (64, 64)).axis_aligned
