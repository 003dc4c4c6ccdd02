"""What a record says before any threshold, in a few forms that a page can draw and compare.

A task gives the forms that fit its records (see Task.sketch); who reads them need not know the
task. K classes are the task's own, in its order.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from must_keras.ops.masks import paste

# An object's place where nobody gave a mask: all of its box.
_WHOLE = np.ones((1, 1), np.uint8)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ranking:
    """Classes of the whole image, the most likely first.

    Attributes:
        classes: [n] int.
        probabilities: [n] float32, descending.
    """

    classes: np.ndarray
    probabilities: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Regions:
    """Objects that were found.

    Attributes:
        boxes: [N, 4] float32, (ymin, xmin, ymax, xmax) as fractions of the picture.
        scores: [N] float32.
        classes: [N] int.
        masks: N crops of the boxes, [S, S] uint8, 0 or 1; None where an object has none.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: tuple[np.ndarray | None, ...]

    def kept(self, limits: np.ndarray) -> np.ndarray:
        """[N] bool: whose scores reach the limits [K] of their classes."""
        return self.scores >= limits.astype(np.float32)[self.classes]

    def place(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """[h, w] bool: the pixels of one object, by its mask or else its box."""
        mask = self.masks[index]
        box = self.boxes[index].astype(np.float64) * np.tile(size, 2)
        return paste(_WHOLE if mask is None else mask, box, size) > 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pixels:
    """A class for every pixel.

    Attributes:
        classes: [h, w] uint8; what is no class is K or more.
        confidence: [h, w] uint8, 255 where it is 1.
    """

    classes: np.ndarray
    confidence: np.ndarray

    def kept(self, limits: np.ndarray) -> np.ndarray:
        """[h, w] bool: the pixels of a class whose confidence reaches its limit [K]."""
        # k / 255 * 255 may be a rounding error above k.
        lowest = np.ceil(255.0 * limits - 1e-9)
        known = self.classes < len(lowest)
        return known & (self.confidence >= lowest[np.where(known, self.classes, 0)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sketch:
    """The forms of one record; what a task's records do not hold is None.

    Attributes:
        certainty: how sure the record is of itself, in [0, 1].
        answers: of the whole image.
        regions: boxes with scores.
        pixels: a map of classes.
        surface: [h, w] float32, how far each pixel is, so that a difference of 0.1 is a tenth (of
            the distance, or of the picture's span); NaN where nobody knows.
    """

    certainty: float | None = None
    answers: Ranking | None = None
    regions: Regions | None = None
    pixels: Pixels | None = None
    surface: np.ndarray | None = None
