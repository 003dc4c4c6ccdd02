"""Arrays sampled through a view by OpenCV, and averaged where a view shrinks them.

`matrix` is that of a view, [2, 3] float32: (fy, fx) = matrix @ (y, x, 1), pixels of the input to
fractions of the original. Along one axis of a view without rotation or shear, input pixel i has its
center at step * (i + 0.5) + start pixels of the original.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from must_keras.ops import Tensor

Fill = float | tuple[float, ...]

# A position so close to the edge of a pixel is on it: float32 is no more exact in large images.
NEAR = 1e-3
# Images are read in parallel already.
cv2.setNumThreads(1)


# ---- one axis of a view that neither rotates nor shears, of numpy and TensorFlow -----------


def is_shown(centers: Tensor, step: Tensor, start: Tensor) -> Tensor:
    """Return whether pixels of the input show the original, not padding: bool.

    Args:
        centers: [N] float32, centers of pixels along the axis.
        step: fraction of the original for one pixel.
        start: fraction of the original at 0.
    """
    fractions = step * centers + start
    return (fractions >= 0) & (fractions < 1)


def block_side(step: Tensor) -> Tensor:
    """Return the side of the blocks of the original that are averaged, whole pixels as a float.

    Args:
        step: pixels of the original for one of the input, of the axis that shrinks less.
    """
    return (step + NEAR) // 1.0


def is_rescaled(step: Tensor, size: tuple[int, int]) -> Tensor:
    """Return whether a step of about one pixel changes the place of a sample in an input."""
    return abs(step - 1.0) * max(size) > NEAR


# ---- arrays, by OpenCV ---------------------------------------------------------------------------


def sample_array(
    values: np.ndarray, matrix: np.ndarray, size: tuple[int, int], *, interpolation: str, fill: Fill
) -> np.ndarray:
    """Return a map of the original sampled through a view; half-pixel centers.

    Bilinear samples of uint8 are rounded, and less than one away from the exact ones; those of
    float32 are within 0.01 of them for values up to 255.

    Args:
        values: [h, w, C] uint8 or float32; C is at most 4.
        matrix: of the view.
        size: (H, W).
        interpolation: "nearest", "bilinear", or "averaged": bilinear samples of the means of blocks
            of k x k pixels, where the view shrinks the original k-fold. Bilinear sampling alone
            would skip pixels there.
        fill: the value of padding, or one for each channel. Bilinear samples never mix with it.

    Returns:
        [H, W, C] of the dtype of `values`.
    """
    part, scaled = values, matrix
    if interpolation == "averaged":
        part, scaled = _shrunk(values, matrix, size)
    if matrix[0, 1] or matrix[1, 0]:
        samples = _warped(part, scaled, size, interpolation)
        _fill_around(samples, matrix, fill)
        return samples
    shown = [_shown(matrix[axis, axis], matrix[axis, 2], size[axis]) for axis in (0, 1)]
    if interpolation == "nearest":
        samples = _picked(part, scaled, size)
    else:
        samples = _stretched(part, scaled, shown, size)
        if samples is None:
            samples = _warped(part, scaled, size, interpolation)
    _fill_beside(samples, shown, fill)
    return samples


def _shrunk(
    image: np.ndarray, matrix: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Return means of blocks of the part that a view shows, and the matrix that maps to them.

    Blocks begin where the view does; those that reach beyond the image repeat its edge.
    """
    shape = np.array(image.shape[:2])
    scaled = matrix.astype(np.float64) * shape[:, None]
    factor = int(block_side(np.linalg.norm(scaled[:, :2], axis=1).min()))
    if factor < 2:
        return image, matrix
    corners = scaled @ [[0, 0, size[0], size[0]], [0, size[1], 0, size[1]], [1, 1, 1, 1]]
    parts, around = [], []
    for axis, places in enumerate(corners):
        length = int(shape[axis])
        first = min(max(math.floor(places.min() + NEAR), 0), length - 1)
        last = max(min(math.ceil(places.max() - NEAR), length), first + 1)
        extra = -(last - first) % factor
        # The view of a mirror image begins at the far end.
        if scaled[axis, axis] < 0:
            first -= extra
        else:
            last += extra
        parts.append((first, last))
        around.append((max(-first, 0), max(last - length, 0)))
    (top, bottom), (left, right) = parts
    part = image[max(top, 0) : bottom, max(left, 0) : right]
    if any(map(any, around)):
        part = cv2.copyMakeBorder(part, *around[0], *around[1], cv2.BORDER_REPLICATE)
    blocks = ((right - left) // factor, (bottom - top) // factor)
    means = cv2.resize(part, blocks, interpolation=cv2.INTER_AREA)
    scaled[:, 2] -= top, left
    return means, scaled / [[bottom - top], [right - left]]


def _warped(
    values: np.ndarray, matrix: np.ndarray, size: tuple[int, int], interpolation: str
) -> np.ndarray:
    """Return samples of any view; padding has any value."""
    (height, width), (h, w, channels) = size, values.shape
    if channels == 2:
        # OpenCV 5.0 would round places to a 32nd of a pixel for two channels, and for these alone.
        values = np.concatenate([values, values[:, :, :1]], axis=2)
    kind = cv2.INTER_NEAREST if interpolation == "nearest" else cv2.INTER_LINEAR
    m = matrix.astype(np.float64)
    # OpenCV maps the index (x, y) of an output pixel to an index of `values`; an index is half a
    # pixel less than the position of the pixel's center.
    index = np.stack([m[1, [1, 0, 2]] * w, m[0, [1, 0, 2]] * h])
    index[:, 2] += 0.5 * (index[:, 0] + index[:, 1]) - 0.5
    # One pixel is as far as samples reach beyond the edge; it takes half the time to leave out what
    # is farther.
    index[:, 2] += 1.0
    bordered = cv2.copyMakeBorder(values, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    how = {"flags": kind | cv2.WARP_INVERSE_MAP, "borderMode": cv2.BORDER_CONSTANT}
    samples = cv2.warpAffine(bordered, index, (width, height), **how).reshape(height, width, -1)
    return np.ascontiguousarray(samples[:, :, :channels])


def _picked(values: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the nearest pixels of a view without rotation or shear; padding repeats the edge."""
    for axis in (0, 1):
        step, start = matrix[axis, [axis, 2]].astype(np.float64) * values.shape[axis]
        places = np.floor(step * (np.arange(size[axis]) + 0.5) + start)
        values = values.take(places.astype(np.intp), axis=axis, mode="clip")
    return values


class _Axis(NamedTuple):
    """One axis of a view that begins at the edge of a pixel.

    Attributes:
        step: pixels of the original, or of its mirror image, for one of the input.
        first: of them, where the view begins.
        place: the pixel of the input that shows it.
        mirrored: whether it is the mirror image that is shown.
    """

    step: float
    first: int
    place: int
    mirrored: bool


def _axis(matrix: np.ndarray, axis: int, length: int) -> _Axis | None:
    """Return an axis of a view without rotation or shear; None where it begins within a pixel."""
    step, start = matrix[axis, [axis, 2]].astype(np.float64) * length
    mirrored = bool(step < 0)
    if mirrored:
        step, start = -step, length - start
    # The view begins within the original, or the original within the view.
    first, place = max(start, 0.0), max(-start / step, 0.0) if step else 0.0
    is_whole = max(abs(first - round(first)), abs(place - round(place))) <= NEAR
    # OpenCV returns no image of less than a pixel.
    if not is_whole or not 0 < step <= length - first:
        return None
    return _Axis(step=step, first=round(first), place=round(place), mirrored=mirrored)


def _stretched(
    values: np.ndarray, matrix: np.ndarray, shown: Sequence[tuple[int, int]], size: tuple[int, int]
) -> np.ndarray | None:
    """Return bilinear samples of a view that begins at edges of pixels; padding has any value.

    Rows and columns apart take a fifth of the time that one pixel after the other takes. None where
    OpenCV cannot do that.
    """
    axes = [_axis(matrix, axis, values.shape[axis]) for axis in (0, 1)]
    if not all(axes):
        return None
    samples = np.empty((*size, values.shape[2]), values.dtype)
    if any(first >= last for first, last in shown):
        return samples
    part = values
    for axis, (along, (_, last)) in enumerate(zip(axes, shown, strict=True)):
        length = values.shape[axis]
        end = min(along.first + math.ceil(along.step * (last - along.place)) + 1, length)
        kept = (length - end, length - along.first) if along.mirrored else (along.first, end)
        part = part[slice(*kept)] if axis == 0 else part[:, slice(*kept)]
        if along.mirrored:
            part = cv2.flip(part, axis)
    # By these factors and not, as for a size in whole pixels, by those that fill it.
    factors = {"fy": 1 / axes[0].step, "fx": 1 / axes[1].step}
    found = cv2.resize(part, None, **factors, interpolation=cv2.INTER_LINEAR)
    if found.shape[:2] == part.shape[:2] and any(is_rescaled(a.step, size) for a in axes):
        return None  # It has copied what it should have changed by less than a pixel.
    found = found.reshape(*found.shape[:2], -1)
    top, left = (along.place for along in axes)
    (_, bottom), (_, right) = shown
    found = found[: bottom - top, : right - left]
    # Pixels whose centers are on the original's far edge, by a hair within, repeat it.
    missing = bottom - top - found.shape[0], right - left - found.shape[1]
    if any(missing):
        found = np.pad(found, ((0, missing[0]), (0, missing[1]), (0, 0)), mode="edge")
    samples[top:bottom, left:right] = found
    # Enlarged crops begin between two pixels of which the part has only the second.
    rows, columns = (math.ceil(0.5 / along.step - 0.5) if along.first else 0 for along in axes)
    if rows:
        samples[:rows] = _warped(values, matrix, (min(rows, size[0]), size[1]), "bilinear")
    if columns:
        samples[:, :columns] = _warped(values, matrix, (size[0], min(columns, size[1])), "bilinear")
    return samples


def _shown(step: float, start: float, length: int) -> tuple[int, int]:
    """Return the first and last (exclusive) pixel along an axis that shows the original."""
    centers = np.arange(length, dtype=np.float32) + np.float32(0.5)
    inside = np.flatnonzero(is_shown(centers, step, start))
    return (int(inside[0]), int(inside[-1]) + 1) if inside.size else (0, 0)


def _fill_beside(samples: np.ndarray, shown: Sequence[tuple[int, int]], fill: Fill) -> None:
    """Write `fill` to all rows and columns except those that show the original."""
    (top, bottom), (left, right) = shown
    row = np.full(samples.shape[1:], fill, samples.dtype)
    samples[:top] = row
    samples[bottom:] = row
    samples[top:bottom, :left] = row[:left]
    samples[top:bottom, right:] = row[right:]


def _fill_around(samples: np.ndarray, matrix: np.ndarray, fill: Fill) -> None:
    """Write `fill` to pixels whose centers show padding of any view.

    The original is convex: in every row its pixels are from a first to a last one.
    """
    height, width, _ = samples.shape
    centers = np.arange(height)[:, None] + 0.5
    first, last = np.zeros((height, 1)), np.full((height, 1), float(width))
    for by_row, by_column, start in matrix.astype(np.float64):
        # 0 <= at + by_column * (index + 0.5) < 1.
        at = by_row * centers + start
        if not by_column:
            last = np.where((at >= 0) & (at < 1), last, 0.0)
            continue
        ends = np.stack([-at, 1.0 - at]) / by_column - 0.5
        inside = np.ceil(ends) if by_column > 0 else np.floor(ends[::-1]) + 1.0
        first, last = np.maximum(first, inside[0]), np.minimum(last, inside[1])
    index = np.arange(width, dtype=np.float32)
    outside = (index < first.astype(np.float32)) | (index >= last.astype(np.float32))
    cv2.copyTo(np.full_like(samples, fill), outside.view(np.uint8), samples)
