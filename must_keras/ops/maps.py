"""Maps with a value for every pixel: resizing, taking them at a stride, storing them as PNG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from keras import ops
from PIL import Image

from must_keras.errors import UserError

Tensor = Any

# A label column's maps have a long side of at most this many cells.
MAX_STORED_SIDE = 320


def resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    """[B, h, w, C] resized bilinearly, with half-pixel centers, to [B, H, W, C]."""
    if tuple(values.shape[1:3]) == tuple(size):
        return values
    return ops.image.resize(values, size, interpolation="bilinear", antialias=False)


def largest(values: Tensor) -> Tensor:
    """Return the index of the largest value on the last axis, the first of equal ones: int32.

    `ops.argmax` of floating-point values compares their bits, which has no ONNX form.
    """
    is_largest = values >= ops.max(values, axis=-1, keepdims=True)
    return ops.argmax(ops.cast(is_largest, "int32"), axis=-1)


def at_stride(values: Tensor, stride: int) -> Tensor:
    """Every `stride`-th pixel of [B, H, W, ...]: the one that holds the center of its cell.

    Where the center lies between pixels (an even stride), the one below and to the right.

    Raises:
        ValueError: H or W is not a multiple of the stride.
    """
    if any(side % stride for side in values.shape[1:3]):
        raise ValueError(
            f"height and width must be multiples of the stride {stride}, "
            f"received {tuple(values.shape[1:3])}"
        )
    first = stride // 2
    return values[:, first::stride, first::stride]


def resize_at_stride(values: Tensor, size: tuple[int, int], stride: int) -> Tensor:
    """`at_stride(resize(values, size), stride)` without the large map: [B, h, w, C] float.

    A loss so compares a coarse map with the labels of exactly the pixels that `at_stride` takes.
    """
    rows, columns = (
        _interpolation(cells, side, stride)
        for cells, side in zip(values.shape[1:3], size, strict=True)
    )
    values = ops.einsum("ah,bhwc->bawc", ops.cast(rows, values.dtype), values)
    return ops.einsum("dw,bawc->badc", ops.cast(columns, values.dtype), values)


def _interpolation(cells: int, side: int, stride: int) -> np.ndarray:
    """[side / stride, cells]: how much of each cell lies in the pixels that `at_stride` takes."""
    center = (np.arange(stride // 2, side, stride) + 0.5) * cells / side - 0.5
    center = np.clip(center, 0, cells - 1)
    return np.maximum(0.0, 1.0 - np.abs(center[:, None] - np.arange(cells))).astype(np.float32)


def loss_pixels(visible: tuple[float, float], stride: int) -> float:
    """Return how many pixels a loss at a stride reads of an image of (height, width) pixels."""
    return visible[0] * visible[1] / stride**2


def check_stride(name: str, stride: int, size: tuple[int, int] | None = None) -> None:
    """Raises UserError where a task's loss_stride is no stride, or not one of this size."""
    if stride < 1 or (size and any(side % stride for side in size)):
        of = f" that divides {size[0]} x {size[1]} pixels" if size else " of at least 1"
        raise UserError(f"{name}: loss_stride must be a whole number{of}, received {stride}")


def cut(values: np.ndarray, area: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The part of a map, [h, w, ...], that shows the picture.

    Args:
        values: a map of the whole input at any resolution.
        area: [4], the picture (ymin, xmin, ymax, xmax) in pixels of the input.
        size: (H, W) of the input.
    """
    scale = np.tile(np.asarray(values.shape[:2]) / np.asarray(size), 2)
    top, left, bottom, right = np.round(np.asarray(area) * scale).astype(int)
    return values[top : max(bottom, top + 1), left : max(right, left + 1)]


def shrink(values: np.ndarray, side: int) -> np.ndarray:
    """A map [h, w, ...] with a long side of at most ``side``, in its proportions.

    Each cell takes the pixel that holds its center: no value is mixed of two.
    """
    longest = max(values.shape[:2])
    if longest <= side:
        return values
    rows, columns = (
        ((np.arange(cells) + 0.5) * length / cells).astype(int)
        for length in values.shape[:2]
        for cells in [max(1, round(length * side / longest))]
    )
    return values[rows[:, None], columns[None]]


def encode_png(values: np.ndarray) -> bytes:
    """[h, w] uint8 or uint16, or [h, w, 3] uint8, as PNG; equal maps give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """The map that `encode_png` was given."""
    picture = Image.open(io.BytesIO(data))
    return np.asarray(picture, np.uint16 if picture.mode.startswith("I") else np.uint8)
