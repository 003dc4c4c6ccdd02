"""Grids of images, labels and predictions with their legends, for people, as PNG."""

import io
import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from must_keras.files import replacing
from must_keras.ops.letterboxing import cut
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Arrays, Size
from must_keras.tasks.visualization import ColorBar, Swatch, enlarge, enlargement, font, letter_size

# Pixels between the pictures of a grid.
_GAP = 4
# Of a line of text, in letters.
_LINE = 1.4
# Pixels of a visualization of all heads.
_MAX_WIDTH, _MAX_HEIGHT = 2400, 4800
# Names in a legend within a picture.
_MAX_NAMES = 12
_MUTED = (110, 110, 110)


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
    """Return a picture, [H, W, 3] uint8, with a line of text above it.

    A text that is too long loses its beginning: a path ends with what tells it apart.
    """
    letter = letter_size(*picture.shape[:2])
    caption = Image.new("RGB", (picture.shape[1], round(_LINE * letter)), "white")
    pen, margin = ImageDraw.Draw(caption), round(0.2 * letter)
    room, shown = caption.width - 2 * margin, text
    while pen.textlength(shown, font=font(letter)) > room and len(shown) > 1:
        text = text[1:]
        shown = f"…{text}"
    pen.text((margin, round(0.1 * letter)), shown, fill="black", font=font(letter))
    return np.concatenate([np.asarray(caption), picture])


def with_color_bar(picture: np.ndarray, bar: ColorBar | None) -> np.ndarray:
    """Return a picture, [H, W, 3] uint8, with its color bar below; unchanged without one."""
    if bar is None:
        return picture
    width, letter = picture.shape[1], letter_size(*picture.shape[:2])
    strip = bar.colors[np.arange(width) * len(bar.colors) // width]
    strip = np.broadcast_to(strip, (max(4, letter * 2 // 3), width, 3))
    ticks = Image.new("RGB", (width, round(_LINE * letter)), "white")
    pen = ImageDraw.Draw(ticks)
    lengths = [pen.textlength(tick, font=font(letter)) for tick in bar.ticks]
    places = (0, (width - lengths[1]) / 2, width - lengths[2])
    is_tight = sum(lengths) + 2 * letter > width
    for index, (tick, left) in enumerate(zip(bar.ticks, places, strict=True)):
        if not (index == 1 and is_tight):
            pen.text((left, 0), tick, fill="black", font=font(letter))
    gap = np.full((2, width, 3), 255, np.uint8)
    return np.concatenate([picture, gap, strip, np.asarray(ticks)])


def with_swatches(picture: np.ndarray, swatches: Sequence[Swatch]) -> np.ndarray:
    """Return a picture, [H, W, 3] uint8, with names and their colors below, in lines.

    Of many, the first are shown, and the number of the others.
    """
    if not swatches:
        return picture
    width, letter = picture.shape[1], letter_size(*picture.shape[:2])
    letters, line = font(letter), round(_LINE * letter)
    rest = len(swatches) - _MAX_NAMES
    shown = [*swatches[:_MAX_NAMES], *([Swatch(f"and {rest} more", _MUTED)] if rest > 0 else [])]
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    left, top, places = 0, 0, []
    for swatch in shown:
        needed = round(1.2 * letter + measure.textlength(swatch.name, font=letters))
        if left and left + needed > width:
            left, top = 0, top + line
        places.append((left, top))
        left += needed + letter
    legend = Image.new("RGB", (width, top + line), "white")
    pen = ImageDraw.Draw(legend)
    for swatch, (left, top) in zip(shown, places, strict=True):
        square = (left, top + round(0.25 * letter), left + letter - 1, top + round(1.15 * letter))
        pen.rectangle(square, fill=swatch.color, outline=_MUTED)
        pen.text((left + 1.2 * letter, top), swatch.name, fill="black", font=letters)
    gap = np.full((2, width, 3), 255, np.uint8)
    return np.concatenate([picture, gap, np.asarray(legend)])


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
    seen = task.visualization
    pictures = [enlarge(p) for p in (plain, *(seen.visualize(plain, label) for label in shown))]
    if area is not None:
        pictures = [cut(picture, area, image.shape[:2]) for picture in pictures]
    bars = [None, *(seen.color_bar(label) for label in shown)]
    return [with_color_bar(*pair) for pair in zip(pictures, bars, strict=True)]


def of_heads(
    image: np.ndarray, name: str, tasks: Sequence[Task], outputs: Mapping[str, Arrays]
) -> Image.Image:
    """Return a picture of an image, and beside it a visualization of each head's prediction.

    Each has a caption and, where colors have a meaning, a legend. Large images are reduced, and the
    heads stand in several lines, so that captions and legends can be read.

    Args:
        image: [H, W, 3] uint8.
        name: of the image, its caption.
        tasks: of the heads that are shown.
        outputs: {head: prediction} in the image's pixels.
    """
    count = len(tasks) + 1
    is_wide = count * (enlargement(*image.shape[:2]) * image.shape[1] + _GAP) > _MAX_WIDTH
    num_columns = math.ceil(math.sqrt(count)) if is_wide else count
    shrunk = Image.fromarray(image)
    shrunk.thumbnail((_MAX_WIDTH // num_columns - _GAP, _MAX_HEIGHT // -(-count // num_columns)))
    small = np.array(shrunk)  # A task may draw into it.
    panels = [captioned(enlarge(small), name)]
    for task in tasks:
        reduced = _scaled(task, outputs[task.name], image.shape[:2], small.shape[:2])
        seen = task.visualization
        shown = captioned(enlarge(seen.visualize(small, reduced)), task.name)
        shown = with_color_bar(shown, seen.color_bar(reduced))
        panels.append(with_swatches(shown, seen.swatches(reduced)))
    lines = [panels[i : i + num_columns] for i in range(0, count, num_columns)]
    canvas = Image.fromarray(grid(lines))
    canvas.thumbnail((_MAX_WIDTH, min(canvas.height, _MAX_HEIGHT)))
    return canvas


def _scaled(task: Task, prediction: Arrays, size: Size, small: Size) -> Arrays:
    """Return a prediction in pixels of a reduced image: a picture takes some bytes a pixel."""
    if size == small:
        return prediction
    sides = list(zip(small, size, strict=True))
    rows, columns = (((np.arange(new) + 0.5) / new * old).astype(int) for new, old in sides)
    # Positions are (y, x) in turn.
    scale = np.array([new / old for new, old in sides], np.float32)
    found = {}
    for key, value in prediction.items():
        values = np.asarray(value)
        if key in task.predictions.per_pixel:
            values = values[rows][:, columns]
        if key in task.predictions.coordinates:
            values = values * np.tile(scale, values.shape[-1] // 2)
        found[key] = values
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
