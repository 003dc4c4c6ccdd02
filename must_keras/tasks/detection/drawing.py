"""A picture of boxes, masks and class names."""

from __future__ import annotations

import colorsys
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from must_keras.ops.masks import paste

# A person wants to see what the detector is fairly sure of.
_SHOWN_SCORE = 0.5
_OPACITY = 0.4
# Keeps an edge that is a whole pixel but for rounding where it is.
_ROUNDING = np.array([1e-3, 1e-3, -1e-3, -1e-3], np.float32)
_IGNORED = (160, 160, 160)
# Hues that follow each other by the golden ratio never come close.
_GOLDEN = 0.618034


def colour(number: int) -> tuple[int, int, int]:
    """RGB of a class, [0, 255]; neighbours differ clearly."""
    red, green, blue = colorsys.hsv_to_rgb((number * _GOLDEN) % 1.0, 0.9, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw(
    image: np.ndarray, shown: Mapping[str, np.ndarray], classes: tuple[str, ...]
) -> np.ndarray:
    """See Task.draw: masks as veils, boxes of one pixel, names; ignored boxes are grey.

    Detections below a score of 0.5 are left out, and names where a box has no room for them.
    """
    picture = np.clip(np.round(np.asarray(image, np.float32)), 0, 255)
    labels = np.asarray(shown["classes"])
    ignored = np.asarray(shown.get("ignore", np.zeros(labels.shape)), bool)
    scores = np.asarray(shown.get("scores", np.ones(labels.shape)))
    boxes = np.asarray(shown["boxes"], np.float32)
    has_mask = np.asarray(shown.get("has_mask", np.ones(labels.shape)), bool)
    wanted = np.flatnonzero((ignored | (labels >= 0)) & (scores >= _SHOWN_SCORE))
    for i in wanted:
        if "masks" in shown and has_mask[i] and not ignored[i]:
            inside = paste(np.asarray(shown["masks"][i]), boxes[i], picture.shape[:2]) > 0
            tint = np.asarray(colour(int(labels[i])), np.float32)
            picture[inside] = (1.0 - _OPACITY) * picture[inside] + _OPACITY * tint
    canvas = Image.fromarray(picture.astype(np.uint8))
    pen = ImageDraw.Draw(canvas)
    font = ImageFont.load_default()
    for i in wanted:
        ymin, xmin, ymax, xmax = boxes[i] + _ROUNDING
        line = _IGNORED if ignored[i] else colour(int(labels[i]))
        # A half-open box: its last pixel is the one before the edge.
        left, top = int(np.floor(xmin)), int(np.floor(ymin))
        right, bottom = max(int(np.ceil(xmax)) - 1, left), max(int(np.ceil(ymax)) - 1, top)
        pen.rectangle((left, top, right, bottom), outline=line)
        if not ignored[i]:
            name = classes[int(labels[i])]
            box = pen.textbbox((left + 1, top), name, font=font)
            if box[2] <= canvas.width and box[3] <= canvas.height:
                pen.text((left + 1, top), name, fill=line, font=font)
    return np.asarray(canvas)
