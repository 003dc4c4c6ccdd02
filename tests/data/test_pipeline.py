import collections

import numpy as np
import pytest
import tensorflow as tf

import sampled_views
from must_keras.data import pipeline
from must_keras.data.augmentation import Augmentation
from must_keras.errors import DataError, UserError
from must_keras.ops import sampling
from must_keras.ops.letterboxing import PADDING_COLOR, letterbox
from must_keras.ops.views import View, visible_area, warp_boxes
from must_keras.tasks import Classification, Segmentation

CLASSES = ("a", "b", "c")
TASKS = (Classification(name="kind", classes=CLASSES), Segmentation(name="parts", classes=CLASSES))
STILL = Augmentation(scale=(1.0, 1.0), mirror=False, brightness=0.0)


class Numbered:
    """Image i has the gray value i, the class i % 3 and a map of the same."""

    def __init__(self, count: int, size: tuple[int, int] = (48, 64)):
        self._count, self._size = count, size
        self.reads: list[int] = []

    def __len__(self) -> int:
        return self._count

    def load(self, index):
        self.reads.append(index)
        image = np.full((*self._size, 3), index, np.uint8)
        return image, {
            "kind": {
                "probabilities": np.eye(3, dtype=np.float32)[index % 3],
                "labelled": np.ones((), np.float32),
            },
            "parts": {"map": np.full(self._size, index % 3, np.uint8)},
        }


def batches(examples, steps: range, seed: int = 3, augmentation=STILL):
    return list(
        pipeline.training_batches(
            examples,
            TASKS,
            batch=4,
            seed=seed,
            steps=steps,
            make_views=pipeline.one_view(TASKS, size=64, augmentation=augmentation),
        )
    )


def numbers(found) -> list[int]:
    return [int(v) for x, _ in found for v in np.round(x["image"][:, 32, 20, 0])]


def test_every_epoch_shows_every_image_once_in_another_order():
    shown = numbers(batches(Numbered(12), range(6)))
    assert sorted(shown[:12]) == sorted(shown[12:]) == list(range(12))
    assert shown[:12] != shown[12:]
    assert numbers(batches(Numbered(12), range(6), seed=4)) != shown


def test_a_run_resumes_at_a_step_without_reading_what_came_before():
    augmentation = Augmentation()
    whole = batches(Numbered(12), range(6), augmentation=augmentation)
    examples = Numbered(12)
    rest = batches(examples, range(4, 6), augmentation=augmentation)
    assert len(examples.reads) == 8
    for one, other in zip(whole[4:], rest, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_labels_belong_to_their_image():
    for x, y in batches(Numbered(9), range(5), augmentation=Augmentation(brightness=0.0)):
        area = np.round(x["area"]).astype(int)
        for i in range(4):
            middle = (area[i, 0] + area[i, 2]) // 2, (area[i, 1] + area[i, 3]) // 2
            number = round(float(x["image"][i, middle[0], middle[1], 0]))
            assert int(np.argmax(y["labels"]["kind"]["probabilities"][i])) == number % 3
            assert int(y["labels"]["parts"]["map"][i, middle[0], middle[1]]) == number % 3


def test_padding_is_mean_color_and_ignored():
    ((x, y), *_) = batches(Numbered(12), range(1))
    for i in range(4):
        top, _, bottom, _ = np.round(x["area"][i]).astype(int)
        assert bottom - top == 48
        outside = np.ones(64, bool)
        outside[top:bottom] = False
        inner = outside & np.roll(outside, 1) & np.roll(outside, -1)
        rows = x["image"][i].numpy()[inner]
        assert rows.dtype == np.uint8 and (rows == PADDING_COLOR).all()
        assert (y["labels"]["parts"]["map"][i].numpy()[inner] == 255).all()


def test_evaluation_shows_each_image_once_and_marks_fillers():
    found = list(
        pipeline.evaluation_batches(
            Numbered(12), TASKS, size=64, batch=4, ranges=[range(3, 9), range(10, 12)]
        )
    )
    indices = np.concatenate([y["index"] for _, y in found])
    np.testing.assert_array_equal(indices, [3, 4, 5, 6, 7, 8, -1, -1, 10, 11, -1, -1])
    assert all(x["image"].shape == (4, 64, 64, 3) for x, _ in found)
    np.testing.assert_array_equal(numbers(found)[:6], range(3, 9))


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::4] = 255
    seen = pipeline.sample_image(tf.constant(stripes), letterbox(tf.constant([256, 256]), (64, 64)))
    np.testing.assert_allclose(seen, 255 / 4, atol=1.0)


def views_of(augmentation: Augmentation, count: int, original=(40, 80)) -> list[View]:
    return sampled_views.views(augmentation, original, range(count), size=(64, 64))


def test_a_view_keeps_the_aspect_and_stays_in_its_range():
    for view in views_of(Augmentation(scale=(0.5, 2.0)), 20):
        box = warp_boxes(tf.constant([[0.0, 0.0, 1.0, 1.0]]), view)[0].numpy()
        height, width = box[2] - box[0], box[3] - box[1]
        assert height / width == pytest.approx(0.5, rel=1e-3)
        assert 0.5 <= width / 64 <= 2.0
        area = visible_area(view).numpy()
        # A crop fills the input; a smaller image is whole.
        assert area[3] - area[1] == pytest.approx(min(width, 64), abs=1e-2)


def test_large_scale_jitter_crops_and_pads():
    """0.1 to 2.0 as in detection from scratch: a tenth of the input to a quarter of the picture."""
    jitter = Augmentation(scale=(0.1, 2.0), mirror=False)
    sides = []
    for view in views_of(jitter, 60, original=(64, 64)):
        box = warp_boxes(tf.constant([[0.0, 0.0, 1.0, 1.0]]), view)[0].numpy()
        sides.append((box[3] - box[1]) / 64)
        assert 0.1 - 1e-3 <= sides[-1] <= 2.0 + 1e-3
        picture = tf.constant(np.full((64, 64, 3), 255, np.uint8))
        seen = pipeline.sample_image(picture, view).numpy()
        shown = (seen == 255).all(axis=-1)
        side = min(sides[-1], 1.0) * 64
        assert abs(shown.sum() - side**2) <= 2 * side + 1
        assert (seen[~shown] == PADDING_COLOR).all()
    assert min(sides) < 0.2 and max(sides) > 1.6
    # Uniform in the logarithm: half are below sqrt(0.1 * 2).
    assert 0.3 < np.mean(np.array(sides) < 0.447) < 0.7


def test_half_of_the_views_are_mirrored():
    count = collections.Counter(
        bool(view.matrix[1, 1] < 0) for view in views_of(Augmentation(), 200)
    )
    assert 70 < count[True] < 130


def test_photometric_changes_are_one_matrix_and_depend_on_the_key():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    augmentation = Augmentation(brightness=0.5)
    found = [augmentation.colors(tf.constant(pixels), tf.constant(k)) for k in range(8)]
    for key, image in enumerate(found):
        u = sampling.uniform(tf.constant([key]), 3, purpose=102)[0].numpy().astype(float)
        saturation, contrast, brightness = 1 + 0.5 * (2 * u - 1)
        gray = pixels.mean(axis=-1, keepdims=True)
        wanted = gray + saturation * (pixels - gray)
        wanted = brightness * (pixels.mean() + contrast * (wanted - pixels.mean()))
        assert image.dtype == tf.uint8
        # Rounded, by OpenCV's coefficients of eleven bits.
        assert np.abs(image.numpy() - wanted.clip(0, 255)).max() < 0.8
    assert not np.array_equal(found[0], found[1])
    np.testing.assert_array_equal(STILL.colors(tf.constant(pixels), tf.constant(1)), pixels)


@pytest.mark.parametrize("kind", [UserError, DataError])
def test_a_sources_error_comes_out_as_itself(kind):
    examples = Numbered(4)

    def load(index):
        raise kind("photos/7.jpg is not a picture")

    examples.load = load
    with (
        pytest.raises(kind, match=r"^photos/7.jpg is not a picture$"),
        pipeline.errors_of_sources(),
    ):
        batches(examples, range(1))
