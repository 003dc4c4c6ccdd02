"""Pseudo labels as JSON for labels.html: panels of one image, and tallies of many records."""

import base64
import io
from typing import Any

import numpy as np
import tensorflow as tf
from PIL import Image

from must_keras.ops.letterboxing import letterbox
from must_keras.ops.maps import encode_png
from must_keras.pages import data_uri
from must_keras.tasks.base import Task
from must_keras.tasks.summaries import Pixels, Ranking, Regions, Sketch
from must_keras.tasks.thresholds import Threshold

# Pixels of the longer side of a photo, and cells of a map's.
_PHOTO_SIDE, _MAP_SIDE = 288, 160
# The most likely classes that are listed.
_TOP_CLASSES = 4


def packed(values: Any, dtype: str) -> str:
    """Return numbers as base64 of their little-endian bytes."""
    array = np.ascontiguousarray(np.asarray(values), np.dtype(dtype).newbyteorder("<"))
    return base64.b64encode(array.tobytes()).decode()


class Tally:
    """Counts over many records of a head, small enough for a page with movable thresholds.

    Args:
        num_classes: K, of the head.

    Example:
        tally = Tally(num_classes=3)
        tally.add(task.records.sketch(record))
        tally.pack()["regions"]["counts"]
    """

    def __init__(self, num_classes: int):
        self._answers: list[Ranking] = []
        self._regions: list[Regions] = []
        self._histogram = np.zeros((num_classes, 256))
        self._highest: list[np.ndarray] = []

    def add(self, sketch: Sketch) -> None:
        """Count the forms of one record."""
        self._answers += [sketch.answers] if sketch.answers is not None else []
        self._regions += [sketch.regions] if sketch.regions is not None else []
        if (form := sketch.pixels) is not None:
            known = form.classes < len(self._histogram)
            codes = form.classes[known].astype(np.int64) * 256 + form.confidence[known]
            counts = np.bincount(codes, minlength=self._histogram.size)
            counts = counts.reshape(self._histogram.shape)
            self._histogram += counts / form.classes.size
            self._highest.append(np.where(counts > 0, np.arange(1, 257), 0).max(axis=1))

    def pack(self) -> dict[str, Any]:
        """Return {form: its counts} of the forms that the records have.

        "answers" has each image's most likely class, "regions" every box and the number of boxes of
        each image; of "pixels", "histogram" is [K, 256] with a share of an image for a pixel, so
        that all images count alike, and "highest" is [N, K], 1 more than the highest confidence of
        each class in an image, 0 where it is absent.
        """
        found: dict[str, Any] = {}
        if self._answers:
            scores = [form.probabilities[0] for form in self._answers]
            classes = [form.classes[0] for form in self._answers]
            found["answers"] = {"scores": packed(scores, "f4"), "classes": packed(classes, "u2")}
        if self._regions:
            found["regions"] = {
                "scores": packed(np.concatenate([form.scores for form in self._regions]), "f4"),
                "classes": packed(np.concatenate([form.classes for form in self._regions]), "u2"),
                "counts": packed([len(form.scores) for form in self._regions], "u2"),
            }
        if self._highest:
            found["pixels"] = {
                "histogram": packed(self._histogram, "f4"),
                "highest": packed(self._highest, "u2"),
                "images": len(self._highest),
            }
        return found


def photo(image: np.ndarray) -> np.ndarray:
    """Return an image, [h, w, 3] uint8, small enough for the page."""
    picture = Image.fromarray(image)
    picture.thumbnail((_PHOTO_SIDE, _PHOTO_SIDE))
    return np.asarray(picture)


def jpeg(image: np.ndarray) -> str:
    """Return a picture, [h, w, 3] uint8, as a data URI."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=85, subsampling=0)
    return data_uri("jpeg", buffer.getvalue())


def panel(
    task: Task, record: dict[str, Any], sketch: Sketch, threshold: Threshold, image: np.ndarray
) -> dict[str, Any]:
    """Return the forms of a sketch, or the task's visualization where it has none to show.

    Args:
        task: the head.
        record: its pseudo label.
        sketch: of the record.
        threshold: the recipe's.
        image: as `photo` returns it.
    """
    found: dict[str, Any] = {"certainty": sketch.certainty}
    if sketch.answers is not None:
        pairs = zip(sketch.answers.classes, sketch.answers.probabilities, strict=True)
        found["answers"] = [[int(k), round(float(p), 4)] for k, p in list(pairs)[:_TOP_CLASSES]]
    if sketch.regions is not None:
        found["regions"] = _regions(sketch.regions)
    if sketch.pixels is not None:
        found["pixels"] = _pixels(sketch.pixels)
    if len(found) == 1:
        label = _label(task, record, threshold, image.shape[:2])
        found["picture"] = jpeg(task.visualization.visualize(image, label))
        bar = task.visualization.color_bar(label)
        if bar is not None:
            found["bar"] = {"colors": [_css(color) for color in bar.colors], "ticks": bar.ticks}
    return found


def swatches(task: Task) -> list[dict[str, str]]:
    """Return [{"name", "color"}] of the colors with a name in a head's pictures."""
    found = task.visualization.swatches()
    return [{"name": swatch.name, "color": _css(swatch.color)} for swatch in found]


def _css(color: Any) -> str:
    return "#" + bytes(np.asarray(color, np.uint8)).hex()


def _regions(regions: Regions) -> dict[str, Any]:
    """Pack boxes and masks; masks are bits, row by row, the first the highest of a byte."""
    bits = [None if m is None else packed(np.packbits(m > 0), "u1") for m in regions.masks]
    return {
        "boxes": packed(regions.boxes, "f4"),
        "scores": packed(regions.scores, "f4"),
        "classes": packed(regions.classes, "u2"),
        "masks": bits,
        "sides": [0 if m is None else len(m) for m in regions.masks],
    }


def _pixels(pixels: Pixels) -> str:
    """Return a PNG of (class, confidence, 0), with one of the map's pixels for every cell."""
    both = np.stack([pixels.classes, pixels.confidence, np.zeros_like(pixels.classes)], axis=-1)
    height, width = both.shape[:2]
    share = min(1.0, _MAP_SIDE / max(height, width))
    rows, columns = (
        ((np.arange(cells) + 0.5) / cells * side).astype(int)
        for side in (height, width)
        for cells in [max(1, round(share * side))]
    )
    return data_uri("png", encode_png(np.ascontiguousarray(both[rows][:, columns])))


def _label(
    task: Task, record: dict[str, Any], threshold: Threshold, size: tuple[int, int]
) -> dict[str, np.ndarray]:
    """Return a record as the label of an image of (height, width) pixels."""
    stored = {
        key: tf.constant(value) for key, value in task.records.to_label(record, threshold).items()
    }
    label = task.labels.warp(stored, letterbox(tf.constant(size), size))
    return {key: np.asarray(value) for key, value in label.items()}
