"""One geometric view of an image: an affine map from the network's input to the original.

Coordinates are continuous: pixel (r, c) covers [r, r + 1) x [c, c + 1). A view maps a point (y, x)
in pixels of the input to fractions (fy, fx) of the upright original, so that labels stored at any
resolution are sampled through the same map, once.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from keras import ops

Tensor = Any


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


def inside(view: View) -> Tensor:
    """[H, W] bool: True where the centre of an input pixel shows the original, not padding."""
    height, width = view.size
    y = ops.arange(height, dtype="float32")[:, None] + 0.5
    x = ops.arange(width, dtype="float32")[None, :] + 0.5
    m = view.matrix
    fy = m[0, 0] * y + m[0, 1] * x + m[0, 2]
    fx = m[1, 0] * y + m[1, 1] * x + m[1, 2]
    return (fy >= 0) & (fy < 1) & (fx >= 0) & (fx < 1)


def sample(values: Tensor, view: View, *, interpolation: str, fill: float) -> Tensor:
    """A map of the original seen through a view.

    Args:
        values: [h, w, C], uint8, int32 or float32, at any resolution.
        view: the view.
        interpolation: "bilinear" or "nearest"; half-pixel centres.
        fill: the value of padding. Bilinear samples never mix with it.

    Returns:
        [H, W, C] of the dtype of `values`.
    """
    # Views run inside tf.data, and keras.ops.image.affine_transform cannot change the size.
    import tensorflow as tf

    shape = tf.shape(values)
    h, w = tf.cast(shape[0], "float32"), tf.cast(shape[1], "float32")
    m = view.matrix
    # The operation maps the index (x, y) of an output pixel to an index of `values`; an index is
    # half a pixel less than the position of the pixel's centre.
    a0, a1 = m[1, 1] * w, m[1, 0] * w
    b0, b1 = m[0, 1] * h, m[0, 0] * h
    a2 = m[1, 2] * w + 0.5 * (a0 + a1) - 0.5
    b2 = m[0, 2] * h + 0.5 * (b0 + b1) - 0.5
    sampled = tf.raw_ops.ImageProjectiveTransformV3(
        images=values[None],
        transforms=tf.stack([a0, a1, a2, b0, b1, b2, 0.0, 0.0])[None],
        output_shape=view.size,
        fill_value=0.0,
        interpolation=interpolation.upper(),
        fill_mode="NEAREST",
    )[0]
    sampled = tf.ensure_shape(sampled, (*view.size, values.shape[-1]))
    return tf.where(inside(view)[:, :, None], sampled, tf.cast(fill, values.dtype))
