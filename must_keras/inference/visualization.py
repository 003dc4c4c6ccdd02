"""Grids of images, labels and predictions for people, as PNG."""

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from must_keras.files import replacing
from must_keras.ops.letterboxing import cut
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Arrays, Size
from must_keras.tasks.visualization import enlarge, font

# Pixels between the pictures of a grid, and of a caption's height.
_GAP, _CAPTION = 4, 14
# Pixels of a visualization of all heads, and of the longer side of one head's part of it.
_MAX_WIDTH, _MAX_HEIGHT, _MAX_SIDE = 2400, 4800, 4096


def grid(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Return pictures, [H, W, 3] uint8 of any sizes, in rows and columns with a white gap."""
    heights = [max(picture.shape[0] for picture in row) for row in rows]
    width = max(p.shape[1] for row in rows for p in row)
    columns = max(len(row) for row in rows)
    shape = (sum(heights) + _GAP * (len(rows) - 1), columns * (width + _GAP) - _GAP, 3)
    canvas, top = np.full(shape, 255, np.uint8), 0
    for row, height in zip(rows, heights, strict=True):
        for j, picture in enumerate(row):
            left = j * (width + _GAP)
            canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
        top += height + _GAP
    return canvas


def columns(picture: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the `count` columns of a `grid`."""
    width = (picture.shape[1] + _GAP) // count
    return [picture[:, i * width : (i + 1) * width - _GAP] for i in range(count)]


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """Return a picture, [H, W, 3] uint8, with a line of text above it."""
    caption = Image.new("RGB", (picture.shape[1], _CAPTION), "white")
    ImageDraw.Draw(caption).text((2, 1), text, fill="black", font=font())
    return np.concatenate([np.asarray(caption), picture])


def row(
    task: Task, image: np.ndarray, *shown: Mapping[str, np.ndarray], area: np.ndarray | None = None
) -> list[np.ndarray]:
    """Return the row of a grid with an image and the visualization of its labels or predictions.

    Args:
        task: whose labels they are.
        image: [H, W, 3] float32 or uint8, [0, 255].
        shown: labels or predictions of this one image.
        area: [4] (ymin, xmin, ymax, xmax) in pixels, the image without padding, which is cut off.
            None: there is no padding.
    """
    plain = np.clip(np.round(image), 0, 255).astype(np.uint8)
    pictures = [plain, *(task.visualization.visualize(plain, label) for label in shown)]
    row = [enlarge(picture) for picture in pictures]
    return row if area is None else [cut(p, area, image.shape[:2]) for p in row]


def of_heads(
    image: np.ndarray, name: str, tasks: Sequence[Task], outputs: Mapping[str, Arrays]
) -> Image.Image:
    """Return a picture of an image, and beside it a visualization of each head's prediction.

    Args:
        image: [H, W, 3] uint8.
        name: of the image, its caption.
        tasks: of the heads that are shown.
        outputs: {head: prediction} in the image's pixels.
    """
    shrunk = Image.fromarray(image)
    shrunk.thumbnail((_MAX_SIDE, _MAX_SIDE))
    small = np.array(shrunk)  # A task may draw into it.
    row = [captioned(enlarge(small), name)]
    for task in tasks:
        reduced = _scaled(task, outputs[task.name], image.shape[:2], small.shape[:2])
        shown = task.visualization.visualize(small, reduced)
        row.append(captioned(enlarge(shown), task.name))
    canvas = Image.fromarray(grid([row]))
    canvas.thumbnail((_MAX_WIDTH, min(canvas.height, _MAX_HEIGHT)))
    return canvas


def _scaled(task: Task, prediction: Arrays, size: Size, small: Size) -> Arrays:
    """Return a prediction in pixels of a reduced image: a picture takes some bytes a pixel."""
    if size == small:
        return prediction
    scale = _MAX_SIDE / max(size)
    sides = zip(small, size, strict=True)
    rows, columns = (((np.arange(new) + 0.5) / new * old).astype(int) for new, old in sides)
    found = {}
    for key, value in prediction.items():
        values = np.asarray(value)
        if key in task.predictions.per_pixel:
            values = values[rows][:, columns]
        found[key] = values * np.float32(scale) if key in task.predictions.coordinates else values
    return found


def spread(number: int, count: int) -> list[int]:
    """Return at most `number` evenly spread indices of `count` images: neighbors are often alike.

    Example:
        >>> spread(3, 11)
        [0, 5, 10]
    """
    return sorted({round(i) for i in np.linspace(0, count - 1, min(number, count))})


def take(batch: Mapping[str, Any], index: int) -> dict[str, np.ndarray]:
    """Return the labels or predictions of one image of a batch."""
    return {key: np.asarray(value)[index] for key, value in batch.items()}


def save(path: pathlib.Path, picture: np.ndarray) -> None:
    """Write a picture as PNG; a hard link of the old file in another run keeps its content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(png(picture))


def png(picture: np.ndarray) -> bytes:
    """Return a picture, [H, W, 3] uint8, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
