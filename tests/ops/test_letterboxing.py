"""The letterbox of a served graph, against the pixels of training."""

import numpy as np
import pytest
import tensorflow as tf

from must_keras.data.pipeline import PADDING, see
from must_keras.ops.letterboxing import letterbox_images
from must_keras.ops.views import letterbox

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
        return letterbox_images(images, letterbox(tf.shape(images)[1:3], size), fill=PADDING)

    for dtype in (tf.uint8, tf.float32):
        run.get_concrete_function(tf.TensorSpec((None, None, None, 3), dtype))
    return run


@pytest.fixture(scope="module")
def square():
    return graph_of((64, 64))


def expected(image: np.ndarray, size: tuple[int, int] = (64, 64)) -> np.ndarray:
    return see(tf.constant(image), letterbox(tf.constant(image.shape[:2]), size)).numpy()


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
        assert (is_white | (found == PADDING).all(-1)).all()
        np.testing.assert_array_equal(
            is_white, (expected(np.full((*size, 3), 255, np.uint8)) == 255).all(-1)
        )
