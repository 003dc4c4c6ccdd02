"""The "segmentation" field of COCO's annotations, and instance masks as crops of their boxes.

Segmentations are polygons, or run lengths of both kinds; pycocotools rasterizes them in the image's
pixels.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from must_keras.data.io.annotation_fields import NUMBERS, Entry, are_finite, shown, whole_numbers
from must_keras.ops.masks import crop_bitmap, run_lengths
from must_keras.tasks.detection.labels import masks_of_some

# Polygons, each [x0, y0, x1, y1, ...] in pixels, or COCO's compressed run lengths.
Segmentation = list[np.ndarray] | bytes

# pycocotools walks along every edge: the time grows with how far a polygon leaves its image.
_MAX_IMAGES_AWAY = 16
# pycocotools' run lengths have 32 bits.
_MAX_PIXELS = 2**32 - 1
_FIELD = "segmentation"
# Cells a side of a stored mask: twice what Mask R-CNN's mask head gives.
_MASK_SIZE = 56


def read_segmentation(entry: Entry, size: tuple[int, int]) -> Segmentation | None:
    """Return an annotation's polygons of at least three points, or its run lengths.

    A polygon may stand alone, [x0, y0, x1, y1, ...], or be a list of points, [[x0, y0], ...].

    Args:
        entry: the annotation.
        size: (height, width) of its image.

    Returns:
        None where the field is absent, null or empty, or no polygon has three points.

    Raises:
        UserError: the field has another form, or does not fit the image.
    """
    value = entry.fields.get(_FIELD)
    if value is None or value == [] or value == {}:
        return None
    if type(value) is dict:
        return _run_lengths(entry, value, size)
    if type(value) is list:
        return _polygons(entry, value, size)
    raise entry.wrong(_FIELD, "polygons [[x0, y0, x1, y1, ...], ...] or run lengths")


def bounds(segmentation: Segmentation, size: tuple[int, int]) -> Sequence[float]:
    """Return COCO's (x, y, width, height) of a segmentation."""
    if isinstance(segmentation, bytes):
        return coco_mask.toBbox({"counts": segmentation, "size": list(size)}).tolist()
    points = np.concatenate(segmentation).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    return [*low.tolist(), *(high - low).tolist()]


def _polygons(entry: Entry, value: list[Any], size: tuple[int, int]) -> list[np.ndarray] | None:
    if all(type(v) in NUMBERS for v in value):
        value = [value]
    elif len(value) >= 3 and all(type(v) is list and len(v) == 2 for v in value):
        value = [[coordinate for point in value for coordinate in point]]
    return [p for v in value if (p := _polygon(entry, v, size)) is not None] or None


def _polygon(entry: Entry, points: Any, size: tuple[int, int]) -> np.ndarray | None:
    """Return one polygon; None where it has fewer than three points, which bound nothing."""
    if type(points) is dict:
        raise entry.error(
            f"has a list of run lengths as its segmentation, {shown(points)}: expected one object "
            '{"size", "counts"} for the whole annotation, or polygons'
        )
    expected = "expected [x0, y0, x1, y1, ...]: finite numbers in pixels, two for each point"
    if type(points) is not list or not all(type(v) in NUMBERS for v in points):
        odd = next((v for v in points if type(v) not in NUMBERS), points) if points else points
        raise entry.error(f"has {shown(odd)} in a polygon of its segmentation, {expected}")
    if len(points) % 2 or not are_finite(points):
        count = f"{len(points)} numbers" if len(points) % 2 else "a number that is not finite"
        raise entry.error(
            f"has a polygon of {count} in its segmentation: {shown(points)}, {expected}"
        )
    if len(points) < 6:
        return None
    found = np.asarray(points, np.float64)
    if np.abs(found).max() > (1 + _MAX_IMAGES_AWAY) * max(size):
        raise entry.error(
            f"has a polygon far outside of its image of {size[1]}x{size[0]} pixels (width x "
            f"height) in its segmentation: {shown(points)}, {expected}"
        )
    return found


def _run_lengths(entry: Entry, value: dict[str, Any], size: tuple[int, int]) -> bytes:
    """Return compressed run lengths that cover exactly the image."""
    if size[0] * size[1] > _MAX_PIXELS:
        raise entry.error(
            f"has run lengths of {size[0]} x {size[1]} pixels, more than 32 bits hold"
        )
    declared = value.get("size", list(size))
    if declared != list(size):
        swapped = ": they are swapped, " if declared == list(size)[::-1] else ", "
        raise entry.error(
            f"has run lengths of a size of {shown(declared)}{swapped}its image has {list(size)} "
            "(height, width)"
        )
    counts = value.get("counts")
    if type(counts) is str:
        try:
            compressed = counts.encode("ascii")
            # pycocotools reads beyond the end of runs that are too short.
            lengths = run_lengths(compressed)
        except ValueError as error:
            raise entry.error(
                f"has run lengths that cannot be read, 'counts' {shown(counts)}: {error}"
            ) from None
    else:
        compressed, lengths = None, whole_numbers(counts)
        if lengths is None:
            raise entry.error(
                f"has run lengths with the 'counts' {shown(counts)}, expected a list of whole "
                "numbers, or COCO's compressed text"
            )
    if sum(lengths) != size[0] * size[1] or min(lengths, default=-1) < 0:
        raise entry.error(
            f"has run lengths, 'counts' {shown(counts)}, that are not those of {size[0]} x "
            f"{size[1]} pixels (height x width): their sum is {sum(lengths)}, expected "
            f"{size[0] * size[1]}, and none may be negative"
        )
    if compressed is None:
        plain = {"size": list(size), "counts": lengths}
        return coco_mask.frPyObjects(plain, *size)["counts"]
    return compressed


# ---- crops ---------------------------------------------------------------------------------------


def masks_of(
    segmentations: Sequence[Segmentation | None], size: tuple[int, int], boxes: np.ndarray
) -> dict[str, Any]:
    """Return the arguments "masks" and "has_mask" of `sources.source.objects`.

    Args:
        segmentations: of each object of an image; None without one.
        size: (height, width) of the image.
        boxes: [N, 4] (ymin, xmin, ymax, xmax) in pixels, within the image.
    """
    with_mask = [i for i, segmentation in enumerate(segmentations) if segmentation is not None]
    masks = [rasterized(segmentations[i], size, boxes[i], size=_MASK_SIZE) for i in with_mask]
    return {
        "masks": masks_of_some(len(boxes), with_mask, masks, size=_MASK_SIZE),
        "has_mask": [segmentation is not None for segmentation in segmentations],
    }


def rasterized(
    segmentation: Segmentation, image_size: tuple[int, int], box: Sequence[float], *, size: int
) -> np.ndarray:
    """Return the part of a segmentation in a box: [size, size] uint8; see `crop_bitmap`.

    Of polygons only the box is rasterized, which has the same pixels as the whole image and is
    faster.

    Args:
        segmentation: of an image.
        image_size: (height, width) of the image.
        box: (ymin, xmin, ymax, xmax) in pixels, within the image.
        size: cells a side.
    """
    top, left = math.floor(box[0]), math.floor(box[1])
    bottom, right = math.ceil(box[2]), math.ceil(box[3])
    if isinstance(segmentation, bytes):
        bitmap = coco_mask.decode({"counts": segmentation, "size": list(image_size)})
        bitmap = bitmap[top:bottom, left:right]
    else:
        shift = np.array([left, top], np.float64)
        moved = [(points.reshape(-1, 2) - shift).ravel().tolist() for points in segmentation]
        runs = coco_mask.merge(coco_mask.frPyObjects(moved, bottom - top, right - left))
        bitmap = coco_mask.decode(runs)
    inner = (box[0] - top, box[1] - left, box[2] - top, box[3] - left)
    return crop_bitmap(bitmap, inner, size=size)
