"""Letterboxed images in a TensorFlow graph, with the pixels of `resampling.sample_array`.

Training, scoring and labeling sample with OpenCV, which a SavedModel cannot contain. The graph
repeats OpenCV's arithmetic with gathers, sums and products, all of which have an ONNX form.
"""

import tensorflow as tf

from must_keras.ops.letterboxing import PADDING_COLOR
from must_keras.ops.resampling import block_side, is_rescaled, is_shown
from must_keras.ops.views import View

# OpenCV's fixed-point weights are multiples of 1 / 2048.
_UNIT = 2048.0


def letterbox_images(images: tf.Tensor, view: View) -> tf.Tensor:
    """Resample images of one size to the network's input, as training does.

    Equal to `resampling.sample_array(..., interpolation="averaged")` of every image: means of
    blocks of k x k pixels where the view shrinks the original k-fold, rounded, then bilinear
    samples of them, rounded. One case can differ by 1 in a few of 10,000 values: where OpenCV
    warps instead of resizing (the resized blocks have the size of the blocks), ties are rounded
    by the processor's own order of operations.

    Args:
        images: [B, h, w, 3] RGB in [0, 255], uint8 or float32. Floating-point values are rounded
            to whole numbers first, half to even, and clipped to [0, 255].
        view: `letterbox` of (h, w).

    Returns:
        [B, H, W, 3] uint8; padding has PADDING_COLOR.
    """
    matrix = tf.stack([view.matrix[0, 0], view.matrix[1, 1]])
    size = tf.cast(tf.shape(images)[1:3], tf.float64)
    steps = tf.cast(matrix, tf.float64) * size
    factor = tf.maximum(tf.cast(block_side(tf.reduce_min(steps)), tf.int32), 1)
    means = _block_means(_whole_numbers(images), factor)
    steps = steps / tf.cast(factor, tf.float64)
    samples = _bilinear(means, steps, view.size)
    rows, columns = (
        is_shown(tf.range(count, dtype=tf.float32) + 0.5, step, 0.0)
        for count, step in zip(view.size, (matrix[0], matrix[1]), strict=True)
    )
    shown = (rows[:, None] & columns)[:, :, None]
    # In float32: LiteRT does not select among bytes.
    return tf.cast(tf.where(shown, samples, tf.constant(PADDING_COLOR, tf.float32)), tf.uint8)


def _whole_numbers(images: tf.Tensor) -> tf.Tensor:
    """Return images as uint8."""
    if images.dtype == tf.uint8:
        return images
    rounded = tf.round(tf.cast(images, tf.float32))
    return tf.cast(tf.minimum(tf.maximum(rounded, 0.0), 255.0), tf.uint8)


def _block_means(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Return means of factor x factor pixels, rounded as by OpenCV: [B, h, w, 3] float32.

    Blocks that reach beyond the image repeat its edge.
    """
    sums = _block_sums(_block_sums(images, factor, axis=1), factor, axis=2)
    # OpenCV rounds the means of 2 x 2 pixels half up, all others half to even.
    halves_up = tf.floor((sums + 2.0) * 0.25)
    halves_to_even = tf.round(sums * (1.0 / tf.cast(factor * factor, tf.float32)))
    return tf.where(tf.equal(factor, 2), halves_up, halves_to_even)


def _block_sums(values: tf.Tensor, factor: tf.Tensor, *, axis: int) -> tf.Tensor:
    """Return sums of `factor` values each along an axis, float32; exact below 2^24."""
    shape = tf.shape(values)
    length = shape[axis]
    count = (length + factor - 1) // factor
    places = tf.minimum(tf.range(count * factor), length - 1)
    blocked = tf.concat([shape[:axis], [count, factor], shape[axis + 1 :]], axis=0)
    # Gathered before the cast: a large image is copied as bytes.
    blocks = tf.reshape(tf.gather(values, places, axis=axis), blocked)
    return tf.reduce_sum(tf.cast(blocks, tf.float32), axis=axis + 1)


def _bilinear(values: tf.Tensor, steps: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Return bilinear samples, half-pixel centers, as by OpenCV: [B, H, W, 3] float32.

    OpenCV resizes uint8 with weights in units of 1 / 2048, drops the 4 lowest bits after the
    columns and 16 after each row, and rounds half up. Every intermediate value is a whole number
    below 2^24 here, so that float32 is exact on any device.

    Args:
        values: [B, h, w, 3] float32, whole numbers in [0, 255].
        steps: [2] float64, pixels of `values` for one sample, by row and by column.
        size: (H, W).
    """
    height, width = tf.shape(values)[1], tf.shape(values)[2]
    warps = _warps(tf.cast(tf.stack([height, width]), tf.float64), steps, size)
    rows = _places(steps[0], size[0])
    columns = _places(steps[1], size[1])
    columns = tf.minimum(tf.maximum(columns, 0.0), tf.cast(width - 1, tf.float32))

    left, right, (by_left, by_right) = *_around(columns, width), _weights(columns, warps)
    samples = tf.gather(values, left, axis=2) * by_left[:, None]
    samples += tf.gather(values, right, axis=2) * by_right[:, None]
    samples /= 16.0
    samples = tf.where(warps, samples, tf.floor(samples))

    upper, lower, (by_upper, by_lower) = *_around(rows, height), _weights(rows, warps)
    above, below = tf.gather(samples, upper, axis=1), tf.gather(samples, lower, axis=1)
    by_upper, by_lower = by_upper[:, None, None], by_lower[:, None, None]
    exact = tf.round((above * by_upper + below * by_lower) / (_UNIT * _UNIT / 16.0))
    fixed = _high_bits(above, by_upper) + _high_bits(below, by_lower)
    return tf.where(warps, exact, tf.floor((fixed + 2.0) * 0.25))


def _warps(lengths: tf.Tensor, steps: tf.Tensor, size: tuple[int, int]) -> tf.Tensor:
    """Return whether OpenCV warps, in floating point, where its resizing would return a copy."""
    unchanged = tf.reduce_all(tf.equal(tf.round(lengths * (1.0 / steps)), lengths))
    return tf.logical_and(unchanged, tf.reduce_any(is_rescaled(steps, size)))


def _places(step: tf.Tensor, count: int) -> tf.Tensor:
    """Return the positions of the samples along an axis, as indices: [count] float32."""
    return tf.cast((tf.range(count, dtype=tf.float64) + 0.5) * step - 0.5, tf.float32)


def _around(places: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the indices before and after each position, within an axis of `length` values."""
    before = tf.cast(tf.floor(places), tf.int32)
    first, last = (tf.maximum(tf.minimum(before + i, length - 1), 0) for i in (0, 1))
    return first, last


def _weights(places: tf.Tensor, warps: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the weights of the values before and after each position, in units of 1 / 2048."""
    after = places - tf.floor(places)
    first, last = (1.0 - after) * _UNIT, after * _UNIT
    return tf.where(warps, first, tf.round(first)), tf.where(warps, last, tf.round(last))


def _high_bits(values: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Return floor(values * weights / 2^16) of whole numbers below 2^15 and up to 2^11.

    The product itself has more bits than float32, hence in two parts.
    """
    high = tf.floor(values / 32.0)
    low = values - high * 32.0
    return tf.floor((high * weights + tf.floor(low * weights / 32.0)) / 2048.0)
