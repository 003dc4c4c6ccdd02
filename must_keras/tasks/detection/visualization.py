"""Pictures of boxes, masks and class names."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from must_keras.ops.masks import paste
from must_keras.tasks import base
from must_keras.tasks.parts import Arrays
from must_keras.tasks.visualization import enlarge, enlargement, font, palette

# Faint detections would hide the others.
_SHOWN_SCORE = 0.3
_OPACITY = 0.4
# Pixels by which a name may be wider than its box; many small boxes would hide under their names.
_OVERHANG = 8
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

        Detections below a score of 0.3 are left out, and names that are wider than their box. A
        small image is enlarged, for the names' sake.
        """
        classes = self.task.classes
        factor = enlargement(*image.shape[:2])
        picture = enlarge(image).astype(np.float32)
        colors = palette(len(classes))
        labels = np.asarray(shown["classes"])
        ignored = np.asarray(shown.get("ignore", np.zeros(labels.shape)), bool)
        scores = np.asarray(shown.get("scores", np.ones(labels.shape)))
        boxes = np.asarray(shown["boxes"], np.float32) * factor
        has_mask = np.asarray(shown.get("has_mask", np.ones(labels.shape)), bool)
        wanted = np.flatnonzero((ignored | (labels >= 0)) & (scores >= _SHOWN_SCORE))
        for i in wanted:
            if "masks" in shown and has_mask[i] and not ignored[i]:
                inside = paste(np.asarray(shown["masks"][i]), boxes[i], picture.shape[:2]) > 0
                tint = colors[labels[i]].astype(np.float32)
                picture[inside] = (1.0 - _OPACITY) * picture[inside] + _OPACITY * tint
        canvas = Image.fromarray(picture.astype(np.uint8))
        pen = ImageDraw.Draw(canvas)
        letters = font()
        for i in wanted:
            ymin, xmin, ymax, xmax = boxes[i] + _ROUNDING
            line = _IGNORED if ignored[i] else tuple(colors[labels[i]].tolist())
            # A half-open box: its last pixel is the one before the edge.
            left, top = int(np.floor(xmin)), int(np.floor(ymin))
            right, bottom = max(int(np.ceil(xmax)) - 1, left), max(int(np.ceil(ymax)) - 1, top)
            pen.rectangle((left, top, right, bottom), outline=line)
            if not ignored[i]:
                name = classes[int(labels[i])]
                if "scores" in shown:
                    name = f"{name} {scores[i]:.2f}"
                # Above the box where there is room, inside the picture always.
                width, height = pen.textbbox((0, 0), name, font=letters)[2:]
                x = min(left, max(canvas.width - width - 2, 0))
                y = top - height - 2 if top > height else top
                if width <= right - left + _OVERHANG:
                    pen.rectangle((x, y, x + width + 1, y + height + 1), fill=line)
                    pen.text((x + 1, y), name, fill=(0, 0, 0), font=letters)
        return np.asarray(canvas)
