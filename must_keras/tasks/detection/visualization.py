"""Pictures of detections: boxes, masks, and the names that have room."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from must_keras.ops.masks import paste
from must_keras.tasks import base
from must_keras.tasks.parts import Arrays
from must_keras.tasks.visualization import (
    Swatch,
    class_swatches,
    enlarge,
    enlargement,
    font,
    letter_size,
    line_width,
    palette,
    text_color,
)

# Faint detections would hide the others.
_SHOWN_SCORE = 0.3
_OPACITY = 0.4
# Among more boxes than this, names that are wider than their box by more than so many letters
# would hide others.
_MAX_WIDE_NAMES, _OVERHANG = 12, 0.8
# Keeps an edge that is a whole pixel but for rounding where it is.
_ROUNDING = np.array([1e-3, 1e-3, -1e-3, -1e-3], np.float32)
_IGNORED = (160, 160, 160)


class Visualization(base.Visualization):
    """Boxes, masks and class names over the image.

    Example:
        found = {
            "boxes": np.float32([[1, 2, 30, 40]]),
            "scores": np.float32([0.9]),
            "classes": np.int32([1]),
        }
        image = np.zeros((64, 64, 3), np.uint8)
        Detection(name="objects", classes=("cat", "dog")).visualization.visualize(image, found)
    """

    def visualize(self, image: np.ndarray, shown: Arrays) -> np.ndarray:
        """Return masks as veils, boxes, and names; ignored boxes are gray.

        Detections below a score of 0.3 are left out, and names where a more certain one is in the
        way. Lines and letters follow the image's size; a small image is enlarged, for the names'
        sake.
        """
        classes = self.task.classes
        factor = enlargement(*image.shape[:2])
        picture = enlarge(image).astype(np.float32)
        colors = palette(len(classes))
        labels = np.asarray(shown["classes"])
        ignored = _ignored(shown)
        scores = np.asarray(shown.get("scores", np.ones(labels.shape)))
        boxes = np.asarray(shown["boxes"], np.float32) * factor
        has_mask = np.asarray(shown.get("has_mask", np.ones(labels.shape)), bool)
        wanted = _wanted(shown)
        for i in wanted:
            if "masks" in shown and has_mask[i] and not ignored[i]:
                inside = paste(np.asarray(shown["masks"][i]), boxes[i], picture.shape[:2]) > 0
                tint = colors[labels[i]].astype(np.float32)
                picture[inside] = (1.0 - _OPACITY) * picture[inside] + _OPACITY * tint
        canvas = Image.fromarray(picture.astype(np.uint8))
        pen, thick = ImageDraw.Draw(canvas), line_width(*picture.shape[:2])
        names, frames, fills = [], [], []
        for i in wanted[::-1]:  # The most certain box is on top.
            ymin, xmin, ymax, xmax = boxes[i] + _ROUNDING
            line = _IGNORED if ignored[i] else tuple(colors[labels[i]].tolist())
            # A half-open box: its last pixel is the one before the edge.
            left, top = int(np.floor(xmin)), int(np.floor(ymin))
            right, bottom = max(int(np.ceil(xmax)) - 1, left), max(int(np.ceil(ymax)) - 1, top)
            pen.rectangle((left, top, right, bottom), outline=line, width=thick)
            if not ignored[i]:
                score = f" {scores[i]:.2f}" if "scores" in shown else ""
                names.append(f"{classes[int(labels[i])]}{score}")
                frames.append((left, top, right))
                fills.append(line)
        _draw_names(pen, canvas.size, names[::-1], frames[::-1], fills[::-1])
        return np.asarray(canvas)

    def swatches(self, *shown: Arrays) -> list[Swatch]:
        """Return the classes of the boxes that `visualize` shows; ignored boxes have none."""
        if not shown:
            return class_swatches(self.task.classes)
        kept = [(one, _wanted(one)) for one in shown]
        found = [np.asarray(one["classes"])[i][~_ignored(one)[i]] for one, i in kept]
        return class_swatches(self.task.classes, found)


def _ignored(shown: Arrays) -> np.ndarray:
    """[N] bool: the boxes that are neither an object nor background."""
    return np.asarray(shown.get("ignore", np.zeros(np.shape(shown["classes"]))), bool)


def _wanted(shown: Arrays) -> np.ndarray:
    """Return the indices of the boxes that a picture shows."""
    labels = np.asarray(shown["classes"])
    scores = np.asarray(shown.get("scores", np.ones(labels.shape)))
    return np.flatnonzero((_ignored(shown) | (labels >= 0)) & (scores >= _SHOWN_SCORE))


def _draw_names(
    pen: ImageDraw.ImageDraw,
    size: tuple[int, int],
    names: Sequence[str],
    frames: Sequence[tuple[int, int, int]],
    fills: Sequence[tuple[int, ...]],
) -> None:
    """Draw the names of boxes, the most certain first, where none drawn before is in the way.

    Args:
        pen: of the picture.
        size: its (width, height).
        names: one for each box.
        frames: (left, top, right) of the boxes.
        fills: their colors.
    """
    letter = letter_size(*size[::-1])
    letters, taken = font(letter), []
    for name, (left, top, right), fill in zip(names, frames, fills, strict=True):
        # Above the box where there is room, inside the picture always.
        width, height = pen.textbbox((0, 0), name, font=letters)[2:]
        x = min(left, max(size[0] - width - 2, 0))
        y = top - height - 2 if top > height else top
        is_wide = width > right - left + _OVERHANG * letter
        in_the_way = any(
            x < r and other < x + width + 2 and y < b and above < y + height + 2
            for other, above, r, b in taken
        )
        if in_the_way or (is_wide and len(names) > _MAX_WIDE_NAMES):
            continue
        taken.append((x, y, x + width + 2, y + height + 2))
        pen.rectangle((x, y, x + width + 1, y + height + 1), fill=fill)
        pen.text((x + 1, y), name, fill=text_color(fill), font=letters)
