"""Instance masks as crops of their own boxes, from the polygons and run lengths of annotations.

Both are rasterized by pycocotools in the image's pixels. A cell of the crop belongs to the object
where at least half of its area does; pixel (r, c) covers [r, r + 1) x [c, c + 1).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask


def crop(bitmap: np.ndarray, box: Sequence[float], *, size: int) -> np.ndarray:
    """The part of a bitmap in a box, resampled by area: [size, size] uint8, 0 or 1.

    Args:
        bitmap: [h, w], 0 or 1; what is outside of it is 0.
        box: (ymin, xmin, ymax, xmax) in the bitmap's pixels, with an area.
        size: cells a side.
    """
    ymin, xmin, ymax, xmax = (float(v) for v in box)
    rows = _means(bitmap.astype(np.float64), ymin, ymax, size)
    covered = _means(rows.T, xmin, xmax, size).T
    # The tolerance: two halves of a sum need not add up to exactly a half.
    return (covered >= 0.5 - 1e-6).astype(np.uint8)


def polygons_crop(polygons: Sequence[np.ndarray], box: Sequence[float], *, size: int) -> np.ndarray:
    """The crop of an object bounded by polygons: [size, size] uint8.

    Only the box is rasterized, which gives the same pixels as the whole image and is faster.

    Args:
        polygons: each [x0, y0, x1, y1, ...] of at least three points, in pixels.
        box: (ymin, xmin, ymax, xmax) in pixels.
        size: cells a side.
    """
    top, left = math.floor(box[0]), math.floor(box[1])
    height, width = math.ceil(box[2]) - top, math.ceil(box[3]) - left
    shift = np.array([left, top], np.float64)
    moved = [(points.reshape(-1, 2) - shift).ravel().tolist() for points in polygons]
    bitmap = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(moved, height, width)))
    inner = (box[0] - top, box[1] - left, box[2] - top, box[3] - left)
    return crop(bitmap, inner, size=size)


def rle_crop(
    counts: bytes, image_size: tuple[int, int], box: Sequence[float], *, size: int
) -> np.ndarray:
    """The crop of an object given by run lengths: [size, size] uint8.

    Args:
        counts: COCO's compressed run lengths of the whole image.
        image_size: (height, width) of the image.
        box: (ymin, xmin, ymax, xmax) in pixels.
        size: cells a side.
    """
    top, left = max(math.floor(box[0]), 0), max(math.floor(box[1]), 0)
    bitmap = coco_mask.decode({"counts": counts, "size": list(image_size)})
    part = bitmap[top : math.ceil(box[2]), left : math.ceil(box[3])]
    inner = (box[0] - top, box[1] - left, box[2] - top, box[3] - left)
    return crop(part, inner, size=size)


def _means(values: np.ndarray, start: float, stop: float, size: int) -> np.ndarray:
    """[size, m]: the means of `values` [n, m], 0 beyond, over equal parts of start to stop.

    By differences of the running sum; a product with a matrix of weights waits for BLAS's threads.
    """
    num_rows = len(values)
    sums = np.zeros((num_rows + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    edges = np.clip(np.linspace(start, stop, size + 1), 0, num_rows)
    whole = np.minimum(edges.astype(np.int64), num_rows - 1)
    at_edges = sums[whole] + (edges - whole)[:, None] * values[whole]
    return np.diff(at_edges, axis=0) * (size / (stop - start))
