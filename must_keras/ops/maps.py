"""Values for every pixel: resized, sampled at a stride, stored as PNG; and sums over valid ones.

Invalid elements are replaced before anything is computed from them: a later multiplication by zero
would leave inf * 0 in the gradients.
"""

import io

import numpy as np
from keras import ops
from PIL import Image

from must_keras.errors import UserError
from must_keras.ops import Tensor

# Cells of the long side of a map in a pseudo-label dataset.
MAX_STORED_SIDE = 320


def resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize [B, h, w, C] bilinearly, with half-pixel centers, to [B, H, W, C]."""
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
    """Return every `stride`-th pixel of [B, H, W, ...]: the one with the center of its cell.

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
    """Return `at_stride(resize(values, size), stride)` of [B, h, w, C] without the large map.

    A loss compares a coarse map so with the labels of exactly the pixels that `at_stride` takes.
    """
    rows, columns = (
        _interpolation(cells, side, stride)
        for cells, side in zip(values.shape[1:3], size, strict=True)
    )
    values = ops.einsum("ah,bhwc->bawc", ops.cast(rows, values.dtype), values)
    return ops.einsum("dw,bawc->badc", ops.cast(columns, values.dtype), values)


def _interpolation(cells: int, side: int, stride: int) -> np.ndarray:
    """Return [side / stride, cells]: the weight of each cell in the pixels of `at_stride`."""
    center = (np.arange(stride // 2, side, stride) + 0.5) * cells / side - 0.5
    center = np.clip(center, 0, cells - 1)
    return np.maximum(0.0, 1.0 - np.abs(center[:, None] - np.arange(cells))).astype(np.float32)


def loss_pixels(visible: tuple[float, float], stride: int) -> float:
    """Return how many pixels a loss at a stride reads of an image of (height, width) pixels."""
    return visible[0] * visible[1] / stride**2


def check_stride(name: str, stride: int, size: tuple[int, int] | None = None) -> None:
    """Raise UserError where a task's loss_stride is no stride, or not one of this size."""
    if stride < 1 or (size and any(side % stride for side in size)):
        of = f" that divides {size[0]} x {size[1]} pixels" if size else " of at least 1"
        raise UserError(f"{name}: loss_stride must be a whole number{of}, received {stride}")


def nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a map [h, w, ...] in another size: each cell takes the pixel at its center."""
    rows, columns = (
        ((np.arange(cells) + 0.5) * length / cells).astype(int)
        for length, cells in zip(values.shape[:2], size, strict=True)
    )
    return values[rows[:, None], columns[None]]


def shrink(values: np.ndarray, side: int) -> np.ndarray:
    """Shrink a map [h, w, ...] to a long side of at most ``side``, in its proportions.

    Each cell takes the pixel at its center: values are never mixed.
    """
    longest = max(values.shape[:2])
    if longest <= side:
        return values
    height, width = (max(1, round(length * side / longest)) for length in values.shape[:2])
    return nearest(values, (height, width))


def encode_png(values: np.ndarray) -> bytes:
    """Return [h, w] uint8 or uint16, or [h, w, 3] uint8, as PNG; equal maps give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()


def decode_png(data: bytes) -> np.ndarray:
    """Return the map that `encode_png` stored."""
    picture = Image.open(io.BytesIO(data))
    return np.asarray(picture, np.uint16 if picture.mode.startswith("I") else np.uint8)


def only_valid(values: Tensor, valid: Tensor, fill: float = 0.0) -> Tensor:
    """Return the values where `valid` (bool, the same shape), `fill` elsewhere."""
    return ops.where(valid, values, ops.cast(fill, values.dtype))


def masked_sum(values: Tensor, valid: Tensor) -> Tensor:
    """Return the sum over the valid elements of each row, [B], of values and bool [B, N]."""
    return ops.sum(only_valid(values, valid), axis=1)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean over the valid elements of each row, [B]; 0 for none. Arrays are [B, N]."""
    count = ops.sum(ops.cast(valid, values.dtype), axis=1)
    return masked_sum(values, valid) / ops.maximum(count, 1.0)


def masked_median(values: Tensor, valid: Tensor) -> Tensor:
    """Return the (lower) median of each row's valid elements, [B]; 0 for none."""
    last = ops.cast(3.0e38, values.dtype)
    ordered = ops.sort(ops.where(valid, values, last), axis=1)
    count = ops.sum(ops.cast(valid, "int32"), axis=1)
    middle = ops.maximum((count - 1) // 2, 0)
    median = ops.take_along_axis(ordered, middle[:, None], axis=1)[:, 0]
    return ops.where(count > 0, median, ops.zeros_like(median))


def fit_scale_shift(values: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scale s >= 0 and the shift t that minimize the sum of (s * values + t - target)^2.

    Where the best scale of any sign is negative, the best of those that are allowed is s = 0 with
    the target's mean as t: the sum is convex in s.

    Args:
        values: [B, N].
        target: [B, N].
        valid: [B, N] bool.

    Returns:
        s [B], t [B] and solvable [B] bool: the values are not all (nearly) equal. Where it is not
        solvable, s is 0 and t the target's mean.
    """
    mean_value, mean_target = masked_mean(values, valid), masked_mean(target, valid)
    centered = only_valid(values - mean_value[:, None], valid)
    residual = only_valid(target - mean_target[:, None], valid)
    variance = masked_mean(ops.square(centered), valid)
    covariance = ops.maximum(masked_mean(centered * residual, valid), 0.0)
    scale_of_values = ops.maximum(ops.square(mean_value), 1.0)
    solvable = variance > 1e-10 * scale_of_values
    scale = ops.where(
        solvable, covariance / ops.where(solvable, variance, 1.0), ops.zeros_like(variance)
    )
    return scale, mean_target - scale * mean_value, solvable


def as_byte(confidence: np.ndarray) -> np.ndarray:
    """Return confidences in [0, 1] as records store them: floor(255 c), uint8."""
    # A float32 softmax can be a rounding error above 1.
    return np.floor(255.0 * np.minimum(confidence, 1.0)).astype(np.uint8)
