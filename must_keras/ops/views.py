"""One geometric view of an image: an affine map from the network's input to the original.

Coordinates are continuous: pixel (r, c) covers [r, r + 1) x [c, c + 1). A view maps a point (y, x)
in pixels of the input to fractions (fy, fx) of the upright original, so that labels stored at any
resolution are sampled through the same map, once.

The letterbox is the view of a whole image, beside padding. Training, scoring, labeling and the
exported model share its definition. The pixels are sampled by OpenCV (`resampling`), and in an
exported model by the same arithmetic in a TensorFlow graph (`graph_resampling`).
"""

import dataclasses

import numpy as np
from keras import ops

from must_keras.ops import Tensor


@dataclasses.dataclass(frozen=True)
class View:
    """The part of the original that an input of the network shows, and where.

    Attributes:
        matrix: [2, 3] float32; (fy, fx) = matrix @ (y, x, 1), input pixels to fractions.
        size: (H, W) of the input in pixels, Python integers.
        axis_aligned: whether rows are sure to stay rows: it may scale, shift and mirror, but not
            rotate or shear.

    Example:
        # The left half of the original, at 64 x 64 pixels.
        View(matrix=ops.convert_to_tensor([[1 / 64, 0, 0], [0, 0.5 / 64, 0]]), size=(64, 64))
    """

    matrix: Tensor
    size: tuple[int, int]
    axis_aligned: bool = True


def mirrored(view: View) -> View:
    """Return the mirror image of a view, left to right, on the same pixels of the input.

    For a view of the original's whole width: its fraction f becomes 1 - f.
    """
    flip = ops.convert_to_tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]], dtype="float32")
    shift = ops.convert_to_tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype="float32")
    return View(matrix=view.matrix * flip + shift, size=view.size)


def is_mirrored(view: View) -> Tensor:
    """Return whether a view shows a mirror image of the original: a bool scalar."""
    m = view.matrix
    return m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0] < 0


def fractions_to_input(points: Tensor, view: View) -> Tensor:
    """Return points (fy, fx) of the original, [..., 2], as (y, x) in pixels of the input."""
    m = view.matrix
    determinant = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    fy, fx = points[..., 0] - m[0, 2], points[..., 1] - m[1, 2]
    y = (m[1, 1] * fy - m[0, 1] * fx) / determinant
    x = (m[0, 0] * fx - m[1, 0] * fy) / determinant
    return ops.stack([y, x], axis=-1)


def warp_boxes(boxes: Tensor, view: View) -> Tensor:
    """Return boxes in fractions of the original, [N, 4], in input pixels, [N, 4], not clipped.

    Boxes are (ymin, xmin, ymax, xmax). Under a rotation the result bounds the four corners.
    """
    ymin, xmin, ymax, xmax = (boxes[..., i] for i in range(4))
    corners = [ops.stack([y, x], axis=-1) for y in (ymin, ymax) for x in (xmin, xmax)]
    points = fractions_to_input(ops.stack(corners, axis=-2), view)
    return ops.concatenate([ops.min(points, axis=-2), ops.max(points, axis=-2)], axis=-1)


def visible_area(view: View) -> Tensor:
    """Return the original's rectangle in input pixels, clipped to the input: [4], float32."""
    whole = ops.convert_to_tensor([[0.0, 0.0, 1.0, 1.0]], dtype="float32")
    box = warp_boxes(whole, view)[0]
    height, width = view.size
    limit = ops.convert_to_tensor([height, width, height, width], dtype="float32")
    return ops.minimum(ops.maximum(box, 0.0), limit)


def sample(values: Tensor, view: View, *, interpolation: str, fill: float) -> Tensor:
    """Sample a map through a view, as `resampling.sample_array` inside tf.data.

    Args:
        values: [h, w, C] uint8 or float32, at any resolution; C is at most 4.
        view: from the input to the original.
        interpolation: "bilinear" or "nearest"; half-pixel centers.
        fill: the value of padding. Bilinear samples never mix with it.

    Returns:
        [H, W, C] of the dtype of `values`.
    """
    # Networks use views too, and run where neither OpenCV nor TensorFlow is installed.
    import tensorflow as tf

    from must_keras.ops.resampling import sample_array

    def run(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return sample_array(values, matrix, view.size, interpolation=interpolation, fill=fill)

    samples = tf.numpy_function(run, [values, view.matrix], values.dtype, stateful=False)
    return tf.ensure_shape(samples, (*view.size, values.shape[-1]))
