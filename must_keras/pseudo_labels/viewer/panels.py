"""One image and what a head says of it, as JSON that the page draws."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_keras.ops.maps import encode_png
from must_keras.ops.views import letterbox
from must_keras.pseudo_labels.viewer.tallies import packed
from must_keras.tasks.base import Task
from must_keras.tasks.sketch import Pixels, Regions, Sketch
from must_keras.tasks.thresholds import Threshold

# Pixels of the longer side of a photo, and cells of a map's.
_PHOTO_SIDE, _MAP_SIDE = 288, 160
# The most likely classes that are told.
_ANSWERS = 4


def photo(image: np.ndarray) -> np.ndarray:
    """An image, [h, w, 3] uint8, small enough for the page."""
    picture = Image.fromarray(image)
    picture.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
    return np.asarray(picture)


def jpeg(image: np.ndarray) -> str:
    """A picture, [h, w, 3] uint8, as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def panel(
    task: Task, record: dict[str, Any], sketch: Sketch, threshold: Threshold, image: np.ndarray
) -> dict[str, Any]:
    """The forms of a sketch, or the task's own picture where there is none to draw.

    Args:
        task: the head.
        record: what it said.
        sketch: of the record.
        threshold: the recipe's.
        image: as `photo` made it.
    """
    found: dict[str, Any] = {"certainty": sketch.certainty}
    if sketch.answers is not None:
        pairs = zip(sketch.answers.classes, sketch.answers.probabilities, strict=True)
        found["answers"] = [[int(k), round(float(p), 4)] for k, p in list(pairs)[:_ANSWERS]]
    if sketch.regions is not None:
        found["regions"] = _regions(sketch.regions)
    if sketch.pixels is not None:
        found["pixels"] = _pixels(sketch.pixels)
    if len(found) == 1:
        found["picture"] = jpeg(_drawn(task, record, threshold, image))
    return found


def _regions(regions: Regions) -> dict[str, Any]:
    """Masks are bits, row by row, the first the highest of a byte."""
    bits = [None if m is None else packed(np.packbits(m > 0), "u1") for m in regions.masks]
    return {
        "boxes": packed(regions.boxes, "f4"),
        "scores": packed(regions.scores, "f4"),
        "classes": packed(regions.classes, "u2"),
        "masks": bits,
        "sides": [0 if m is None else len(m) for m in regions.masks],
    }


def _pixels(pixels: Pixels) -> str:
    """A PNG of (class, confidence, 0), every cell one of the map's."""
    both = np.stack([pixels.classes, pixels.confidence, np.zeros_like(pixels.classes)], axis=-1)
    height, width = both.shape[:2]
    share = min(1.0, _MAP_SIDE / max(height, width))
    rows, columns = (
        ((np.arange(cells) + 0.5) / cells * side).astype(int)
        for side in (height, width)
        for cells in [max(1, round(share * side))]
    )
    png = encode_png(np.ascontiguousarray(both[rows][:, columns]))
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def _drawn(
    task: Task, record: dict[str, Any], threshold: Threshold, image: np.ndarray
) -> np.ndarray:
    size = image.shape[:2]
    stored = {key: tf.constant(value) for key, value in task.decode(record, threshold).items()}
    label = task.warp(stored, letterbox(tf.constant(size), size))
    return task.draw(image, {key: np.asarray(value) for key, value in label.items()})
