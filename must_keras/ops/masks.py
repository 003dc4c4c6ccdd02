"""Instance masks as crops of their boxes: cropped again, pasted, run-length coded."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from keras import ops
from pycocotools import mask as coco_mask

from must_keras.ops import Tensor
from must_keras.ops.views import View


def _centers(start: Tensor, stop: Tensor, size: int) -> Tensor:
    """Return [..., size]: the centers of `size` equal parts of (start, stop)."""
    step = (ops.arange(size, dtype=start.dtype) + 0.5) / size
    return start[..., None] + step * (stop - start)[..., None]


def _weights(low: Tensor, high: Tensor, samples: Tensor, cells: Any) -> Tensor:
    """Return [..., P, cells]: the weight of each of `cells` cells over (low, high) in each sample.

    Linear between the cells' centers, constant beyond the first and the last, 0 outside (low, high)
    or if it has no length.
    """
    length = (high - low)[..., None]
    share = (samples - low[..., None]) / ops.where(length > 0.0, length, 1.0)
    inside = (share >= 0.0) & (share <= 1.0) & (length > 0.0)
    number = ops.cast(cells, samples.dtype)
    place = ops.clip(share * number - 0.5, 0.0, number - 1.0)
    centers = ops.arange(cells, dtype=samples.dtype)
    hat = ops.maximum(1.0 - ops.abs(place[..., None] - centers), 0.0)
    return ops.where(inside[..., None], hat, 0.0)


def crop(masks: Tensor, boxes: Tensor, regions: Tensor, *, size: int) -> Tensor:
    """Crop masks, which are crops of their own boxes, to other regions.

    Args:
        masks: [..., S, S], crops of `boxes`, any dtype, 0 to 1.
        boxes: [..., 4], the masks' own boxes.
        regions: [..., 4], in the same units.
        size: side of the result.

    Returns:
        [..., size, size], bilinear at the centers of the region's cells; 0 outside the
        own box, where the object is not.
    """
    side = ops.shape(masks)[-1]
    y, x = (_centers(regions[..., i], regions[..., i + 2], size) for i in (0, 1))
    rows = _weights(boxes[..., 0], boxes[..., 2], y, side)
    columns = _weights(boxes[..., 1], boxes[..., 3], x, side)
    samples = ops.matmul(rows, ops.cast(masks, rows.dtype))
    return ops.matmul(samples, ops.swapaxes(columns, -1, -2))


def crop_through(masks: Tensor, boxes: Tensor, regions: Tensor, view: View, *, size: int) -> Tensor:
    """Crop masks as `crop` does, through a view that may rotate and shear.

    Args:
        masks: [N, S, S], crops of `boxes`, any dtype, 0 to 1.
        boxes: [N, 4], the masks' own boxes, in fractions of the original.
        regions: [N, 4], in pixels of the view.
        view: from these pixels to fractions.
        size: side of the result.

    Returns:
        [N, size, size].
    """
    y, x = (_centers(regions[:, i], regions[:, i + 2], size) for i in (0, 1))
    y, x = y[:, :, None], x[:, None, :]
    number, m = ops.shape(masks)[0], view.matrix
    fy, fx = (
        ops.reshape(m[i, 0] * y + m[i, 1] * x + m[i, 2], (number, size * size)) for i in (0, 1)
    )
    side = ops.shape(masks)[-1]
    rows = _weights(boxes[:, 0], boxes[:, 2], fy, side)
    columns = _weights(boxes[:, 1], boxes[:, 3], fx, side)
    samples = ops.sum(ops.matmul(rows, ops.cast(masks, rows.dtype)) * columns, axis=-1)
    return ops.reshape(samples, (number, size, size))


def paste(mask: np.ndarray, box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Paste a mask [S, S], 0 to 1, of a box in pixels into an image: [H, W] uint8, 0 or 1.

    A pixel belongs to the object where the mask, bilinear at the pixel's center, is at least 0.5.
    """
    height, width = size
    image = np.zeros(size, np.uint8)
    ymin, xmin, ymax, xmax = (float(v) for v in box)
    side = mask.shape[0]
    if ymax <= ymin or xmax <= xmin:
        return image

    # Pixels whose centers are inside the box.
    def axis(low: float, high: float, limit: int) -> tuple[int, int, np.ndarray]:
        first = max(int(np.ceil(low - 0.5)), 0)
        last = max(min(int(np.ceil(high - 0.5)), limit), first)
        share = (np.arange(first, last) + 0.5 - low) / (high - low)
        place = np.clip(share * side - 0.5, 0.0, side - 1.0)
        weights = np.maximum(1.0 - np.abs(place[:, None] - np.arange(side)), 0.0)
        return first, last, weights

    top, bottom, rows = axis(ymin, ymax, height)
    left, right, columns = axis(xmin, xmax, width)
    values = rows @ mask.astype(np.float64) @ columns.T
    # The tolerance: two halves of a weight need not add up to exactly a half.
    image[top:bottom, left:right] = values >= 0.5 - 1e-9
    return image


def crop_bitmap(bitmap: np.ndarray, box: Sequence[float], *, size: int) -> np.ndarray:
    """Return the part of a bitmap in a box, resampled by area: [size, size] uint8, 0 or 1.

    A cell belongs to the object where at least half of its area does; pixel (r, c) covers
    [r, r + 1) x [c, c + 1).

    Args:
        bitmap: [h, w], 0 or 1; 0 outside of it.
        box: (ymin, xmin, ymax, xmax) in the bitmap's pixels, with an area.
        size: cells a side.
    """
    ymin, xmin, ymax, xmax = (float(v) for v in box)
    rows = _means(bitmap.astype(np.float64), ymin, ymax, size)
    covered = _means(rows.T, xmin, xmax, size).T
    # The tolerance: two halves of a sum need not add up to exactly a half.
    return (covered >= 0.5 - 1e-6).astype(np.uint8)


def _means(values: np.ndarray, start: float, stop: float, size: int) -> np.ndarray:
    """Return [size, m]: means of `values` [n, m], 0 beyond, over equal parts of start to stop.

    By differences of the running sum; a product with a matrix of weights waits for BLAS's threads.
    """
    num_rows = len(values)
    sums = np.zeros((num_rows + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    edges = np.clip(np.linspace(start, stop, size + 1), 0, num_rows)
    whole = np.minimum(edges.astype(np.int64), num_rows - 1)
    at_edges = sums[whole] + (edges - whole)[:, None] * values[whole]
    return np.diff(at_edges, axis=0) * (size / (stop - start))


def run_lengths(runs: bytes) -> list[int]:
    """Return the lengths in COCO's compressed run-length text, in pixels.

    Six bits a character from "0" to "o", of which five count; from the fourth length on it is the
    difference to the one before the last. A length may be negative where the text is damaged.

    Raises:
        ValueError: the text is not such a code.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in runs:
        bits = character - 48
        # 13 characters are 65 bits: more than the length of any image.
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError(f"{chr(character)!r} is not a character of a run-length code")
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            if bits & 0x10:
                value -= 1 << shift
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift:
        raise ValueError("the run-length code ends within a length")
    return lengths


def encode_rle(mask: np.ndarray) -> bytes:
    """Return COCO's compressed run-length code of a mask [h, w], 0 or 1."""
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


def decode_rle(counts: bytes, size: tuple[int, int]) -> np.ndarray:
    """Return the mask [h, w] uint8 of `encode_rle`'s bytes.

    Raises:
        ValueError: the bytes are not the run lengths of so many pixels.
    """
    # pycocotools returns unwritten memory for the pixels that the lengths do not reach.
    lengths = run_lengths(counts)
    if sum(lengths) != size[0] * size[1] or min(lengths, default=0) < 0:
        raise ValueError(
            f"the run lengths have {sum(lengths)} pixels, expected {size[0]} x {size[1]}"
        )
    return coco_mask.decode({"counts": counts, "size": list(size)})
