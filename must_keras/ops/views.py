"""One geometric view of an image: an affine map from the network's input to the original.

Coordinates are continuous: pixel (r, c) covers [r, r + 1) x [c, c + 1). A view maps a point (y, x)
in pixels of the input to fractions (fy, fx) of the upright original, so that labels stored at any
resolution are sampled through the same map, once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
from keras import ops

Tensor = Any

_INTERPOLATIONS = {"bilinear": cv2.INTER_LINEAR, "nearest": cv2.INTER_NEAREST}
# Images are read in parallel already.
cv2.setNumThreads(1)


@dataclasses.dataclass(frozen=True)
class View:
    """What part of the original the network sees, and how.

    Attributes:
        matrix: [2, 3] float32; (fy, fx) = matrix @ (y, x, 1), input pixels to fractions.
        size: (H, W) of the input in pixels, Python integers.
        axis_aligned: whether rows are sure to stay rows: it may scale, shift and mirror, but not
            turn or shear.
    """

    matrix: Tensor
    size: tuple[int, int]
    axis_aligned: bool = True


def letterbox(original_size: Tensor, size: tuple[int, int]) -> View:
    """The whole original, as large as it fits, at the top left; the rest is padding.

    The visible part has whole pixels a side (at least one), so that padding can be cut off exactly.

    Args:
        original_size: [2], (height, width) of the original in pixels.
        size: (H, W) of the input.
    """
    original = ops.cast(original_size, "float32")
    limit = ops.convert_to_tensor(size, dtype="float32")
    scale = ops.min(limit / original)
    visible = ops.clip(ops.round(original * scale), 1.0, limit)
    zero = ops.zeros((), "float32")
    matrix = ops.stack(
        [
            ops.stack([1.0 / visible[0], zero, zero]),
            ops.stack([zero, 1.0 / visible[1], zero]),
        ]
    )
    return View(matrix=matrix, size=size)


def mirrored(view: View) -> View:
    """The same part of the original, as in a mirror, on the same pixels of the input.

    For a view of the original's whole width: its fraction f becomes 1 - f.
    """
    flip = ops.convert_to_tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, -1.0]], dtype="float32")
    shift = ops.convert_to_tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]], dtype="float32")
    return View(matrix=view.matrix * flip + shift, size=view.size)


def is_mirrored(view: View) -> Tensor:
    """True (a scalar) where the view shows the original as in a mirror."""
    m = view.matrix
    return m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0] < 0


def fractions_to_input(points: Tensor, view: View) -> Tensor:
    """Points (fy, fx) of the original, [..., 2], as (y, x) in pixels of the input."""
    m = view.matrix
    determinant = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    fy, fx = points[..., 0] - m[0, 2], points[..., 1] - m[1, 2]
    y = (m[1, 1] * fy - m[0, 1] * fx) / determinant
    x = (m[0, 0] * fx - m[1, 0] * fy) / determinant
    return ops.stack([y, x], axis=-1)


def warp_boxes(boxes: Tensor, view: View) -> Tensor:
    """Boxes in fractions of the original, [N, 4], as boxes in input pixels, [N, 4], not clipped.

    Boxes are (ymin, xmin, ymax, xmax). Under a rotation the result bounds the four corners.
    """
    ymin, xmin, ymax, xmax = (boxes[..., i] for i in range(4))
    corners = ops.stack(
        [
            ops.stack([ymin, xmin], axis=-1),
            ops.stack([ymin, xmax], axis=-1),
            ops.stack([ymax, xmin], axis=-1),
            ops.stack([ymax, xmax], axis=-1),
        ],
        axis=-2,
    )
    points = fractions_to_input(corners, view)
    return ops.concatenate([ops.min(points, axis=-2), ops.max(points, axis=-2)], axis=-1)


def visible_area(view: View) -> Tensor:
    """The original's rectangle in input pixels, clipped to the input: [4], float32."""
    whole = ops.convert_to_tensor([[0.0, 0.0, 1.0, 1.0]], dtype="float32")
    box = warp_boxes(whole, view)[0]
    height, width = view.size
    limit = ops.convert_to_tensor([height, width, height, width], dtype="float32")
    return ops.minimum(ops.maximum(box, 0.0), limit)


def sample(values: Tensor, view: View, *, interpolation: str, fill: float) -> Tensor:
    """A map of the original seen through a view, on TensorFlow: views run inside tf.data.

    Args:
        values: [h, w, C] uint8 or float32, at any resolution; C is at most 4.
        view: the view.
        interpolation: "bilinear" or "nearest"; half-pixel centres.
        fill: the value of padding. Bilinear samples never mix with it.

    Returns:
        [H, W, C] of the dtype of `values`.
    """
    import tensorflow as tf

    def run(values: np.ndarray, matrix: np.ndarray) -> np.ndarray:
        return sample_array(values, matrix, view.size, interpolation=interpolation, fill=fill)

    seen = tf.numpy_function(run, [values, view.matrix], values.dtype, stateful=False)
    return tf.ensure_shape(seen, (*view.size, values.shape[-1]))


def sample_array(
    values: np.ndarray,
    matrix: np.ndarray,
    size: tuple[int, int],
    *,
    interpolation: str,
    fill: float | tuple[float, ...],
) -> np.ndarray:
    """`sample` of arrays, by OpenCV; a fill may have a value for each channel."""
    height, width = size
    h, w, channels = values.shape
    if channels == 2:
        # OpenCV 5.0 would round places to a 32nd of a pixel for two channels, and for these alone.
        values = np.concatenate([values, values[:, :, :1]], axis=2)
    m = matrix.astype(np.float64)
    # OpenCV maps the index (x, y) of an output pixel to an index of `values`; an index is half a
    # pixel less than the position of the pixel's centre.
    index = np.stack([m[1, [1, 0, 2]] * w, m[0, [1, 0, 2]] * h])
    index[:, 2] += 0.5 * (index[:, 0] + index[:, 1]) - 0.5
    seen = cv2.warpAffine(
        values,
        index,
        (width, height),
        flags=_INTERPOLATIONS[interpolation] | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    ).reshape(height, width, -1)[:, :, :channels]
    _fill_outside(seen, matrix, fill)
    return np.ascontiguousarray(seen)


def _fill_outside(seen: np.ndarray, m: np.ndarray, fill: float | tuple[float, ...]) -> None:
    """Writes `fill` to pixels whose centres show padding, not the original."""
    y = np.arange(seen.shape[0], dtype=np.float32)[:, None] + np.float32(0.5)
    x = np.arange(seen.shape[1], dtype=np.float32)[None, :] + np.float32(0.5)
    if not m[0, 1] and not m[1, 0]:
        # Whole rows and columns: much less to do than a pixel at a time.
        fy, fx = m[0, 0] * y[:, 0] + m[0, 2], m[1, 1] * x[0] + m[1, 2]
        seen[(fy < 0) | (fy >= 1)] = fill
        seen[:, (fx < 0) | (fx >= 1)] = fill
        return
    fy = m[0, 0] * y + m[0, 1] * x + m[0, 2]
    fx = m[1, 0] * y + m[1, 1] * x + m[1, 2]
    seen[(fy < 0) | (fy >= 1) | (fx < 0) | (fx >= 1)] = fill
