"""The letterbox of a served graph, against the pixels of training."""

import numpy as np
import pytest
import tensorflow as tf

from must_keras.data.pipeline import sample_image
from must_keras.ops.graph_resampling import letterbox_images
from must_keras.ops.letterboxing import PADDING_COLOR, cut, letterbox
from must_keras.ops.resampling import block_side, is_rescaled, is_shown
from must_keras.ops.views import visible_area

# Height and width of an image, by what is special about it at 64 x 64 pixels.
SIZES = {
    "portrait": (150, 90),
    "landscape": (90, 150),
    "odd": (117, 71),
    "of the input's size": (64, 64),
    "of the input's height": (64, 41),
    "tiny": (2, 3),
    "small": (23, 31),
    "twice as large": (128, 128),
    "almost twice as large": (127, 126),
    "blocks of 2 and a rest": (133, 131),
    "blocks of 3, no rest": (192, 144),
    "blocks of 3, warped": (193, 193),
    "blocks of 9, warped": (580, 435),
    "large": (1217, 903),
    "one pixel": (1, 1),
    "one row": (1, 700),
    "one column": (350, 1),
    "three columns": (900, 3),
}


def graph_of(size: tuple[int, int]):
    """The letterbox as a graph for images of any size and number."""

    @tf.function(reduce_retracing=True, autograph=False)
    def run(images: tf.Tensor) -> tf.Tensor:
        return letterbox_images(images, letterbox(tf.shape(images)[1:3], size))

    for dtype in (tf.uint8, tf.float32):
        run.get_concrete_function(tf.TensorSpec((None, None, None, 3), dtype))
    return run


@pytest.fixture(scope="module")
def square():
    return graph_of((64, 64))


def expected(image: np.ndarray, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    return sample_image(tf.constant(image), letterbox(tf.constant(image.shape[:2]), size)).numpy()


def noise(size: tuple[int, int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def ramp(size: tuple[int, int]) -> np.ndarray:
    rows, columns = np.mgrid[: size[0], : size[1]]
    return np.stack([rows % 256, columns % 256, (rows + columns) % 256], -1).astype(np.uint8)


def check(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == np.uint8 and found.shape == wanted.shape
    difference = np.abs(found.astype(int) - wanted)
    assert difference.max() <= 1 and difference.mean() < 0.02


@pytest.mark.parametrize("kind", SIZES)
def test_pixels_are_those_of_training(square, kind):
    for image in (noise(SIZES[kind]), ramp(SIZES[kind])):
        wanted = expected(image)
        check(square(image[None]).numpy()[0], wanted)
        check(square(image[None].astype(np.float32)).numpy()[0], wanted)


@pytest.mark.parametrize("kind", [k for k in SIZES if "warped" not in k])
def test_where_opencv_resizes_they_are_equal_bit_for_bit(square, kind):
    image = noise(SIZES[kind], seed=1)
    np.testing.assert_array_equal(square(image[None]).numpy()[0], expected(image))


def test_random_sizes_into_an_input_that_is_not_square():
    graph, random = graph_of((96, 160)), np.random.default_rng(3)
    for seed in range(40):
        size = tuple((2.0 ** random.uniform(0, 9.5, 2)).astype(int).tolist())
        image = noise(size, seed)
        check(graph(image[None]).numpy()[0], expected(image, (96, 160)))


def test_every_image_of_a_batch_is_letterboxed(square):
    images = np.stack([noise((75, 130), seed) for seed in range(3)])
    found = square(images).numpy()
    for image, one in zip(images, found, strict=True):
        np.testing.assert_array_equal(one, expected(image))
    assert square(images[:0]).shape == (0, 64, 64, 3)


def test_floating_point_values_are_rounded_and_clipped_first(square):
    image = np.random.default_rng(5).uniform(-20, 280, (90, 50, 3)).astype(np.float32)
    whole = np.clip(np.rint(image), 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(square(image[None]).numpy()[0], expected(whole))


def test_padding_has_its_color_and_mixes_with_nothing(square):
    for size in ((20, 64), (300, 100), (1, 9)):
        found = square(np.full((1, *size, 3), 255, np.uint8)).numpy()[0]
        is_white = (found == 255).all(-1)
        assert (is_white | (found == PADDING_COLOR).all(-1)).all()
        np.testing.assert_array_equal(
            is_white, (expected(np.full((*size, 3), 255, np.uint8)) == 255).all(-1)
        )


def test_the_geometry_is_the_same_in_numpy_and_in_a_graph():
    random = np.random.default_rng(7)
    centers = np.arange(64, dtype=np.float32) + np.float32(0.5)
    for visible in random.integers(1, 64, 40).astype(np.float32):
        step, start = np.float32(1) / visible, np.float32(random.uniform(-1, 1))
        for begin in (np.float32(0), start):
            np.testing.assert_array_equal(
                is_shown(centers, step, begin),
                is_shown(tf.constant(centers), tf.constant(step), tf.constant(begin)),
            )
        assert is_shown(centers, step, np.float32(0)).sum() == visible
    steps = np.concatenate([random.uniform(0.01, 40, 200), np.arange(1, 20), [1.9989, 1.9991]])
    np.testing.assert_array_equal(block_side(steps), block_side(tf.constant(steps)))
    assert block_side(steps[-2:]).tolist() == [1, 2]
    near = 1 + random.uniform(-1e-3, 1e-3, 50)
    np.testing.assert_array_equal(
        is_rescaled(near, (48, 64)), is_rescaled(tf.constant(near), (48, 64))
    )


@pytest.mark.parametrize("size", [(64, 41), (30, 64), (64, 64)])
def test_cutting_is_the_inverse_of_padding(size):
    image = noise(size)
    view = letterbox(tf.constant(size), (64, 64))
    padded = sample_image(tf.constant(image), view).numpy()
    np.testing.assert_array_equal(cut(padded, visible_area(view).numpy(), (64, 64)), image)
