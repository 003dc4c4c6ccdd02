"""Pictures for people: images, labels and predictions side by side."""

from __future__ import annotations

import io
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from must_keras.files import replacing
from must_keras.ops import maps
from must_keras.tasks.base import Task
from must_keras.tasks.visualization import enlarge, font

_GAP = 4
_BAND = 14


def grid(rows: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    """Pictures, [H, W, 3] uint8, in rows and columns with a white gap; sizes may differ."""
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
    """The columns of a `grid` of so many."""
    width = (picture.shape[1] + _GAP) // count
    return [picture[:, i * width : (i + 1) * width - _GAP] for i in range(count)]


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """A picture, [H, W, 3] uint8, with a line of text above it."""
    band = Image.new("RGB", (picture.shape[1], _BAND), "white")
    ImageDraw.Draw(band).text((2, 1), text, fill="black", font=font())
    return np.concatenate([np.asarray(band), picture])


def beside(
    task: Task,
    image: np.ndarray,
    *shown: Mapping[str, np.ndarray],
    area: np.ndarray | None = None,
) -> list[np.ndarray]:
    """The image and what labels or outputs say of it: a row of a grid.

    Args:
        task: whose labels they are.
        image: [H, W, 3] float32 or uint8, [0, 255].
        shown: labels or outputs of this one image.
        area: [4], the picture without padding, pixels; the rest is cut off. None: all of it.
    """
    plain = np.clip(np.round(image), 0, 255).astype(np.uint8)
    row = [enlarge(plain), *(enlarge(task.draw(plain, label)) for label in shown)]
    return row if area is None else [maps.cut(p, area, image.shape[:2]) for p in row]


def spread(number: int, count: int) -> list[int]:
    """Indices that are evenly spread over ``count`` images: neighbors are often alike."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(number, count))})


def take(batch: Mapping[str, Any], index: int) -> dict[str, np.ndarray]:
    """One image's part of a batch of labels or outputs."""
    return {key: np.asarray(value)[index] for key, value in batch.items()}


def save(path: pathlib.Path, picture: np.ndarray) -> None:
    """Writes a PNG; another run that shares the old file keeps it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        temporary.write_bytes(png(picture))


def png(picture: np.ndarray) -> bytes:
    """A picture, [H, W, 3] uint8, as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()
