"""Summaries of labels and records for readers that treat all tasks alike.

`LabelContent` is what a network can learn of a stored label, `Sketch` a record before any threshold
in a few forms that a page can show and compare. K classes are the task's own, in its order.
"""

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np

from must_keras.ops.masks import paste

# An object's place without a mask: all of its box.
_WHOLE = np.ones((1, 1), np.uint8)
_NO_BOXES = np.zeros((0, 4))


class Framing(NamedTuple):
    """How large a network receives a whole image.

    Attributes:
        original: (height, width) of the upright image in pixels.
        size: sides of the network's input in pixels.
        scale: largest side of the image relative to the largest one that fits; an augmentation
            may enlarge it beyond 1.

    Example:
        Framing(original=(480, 640), size=64).visible  # (48.0, 64.0)
    """

    original: tuple[int, int]
    size: int
    scale: float = 1.0

    @property
    def visible(self) -> tuple[float, float]:
        """(height, width) of the whole image in pixels of the input, before it is cropped."""
        height, width = self.original
        factor = self.size / max(height, width) * self.scale
        return max(height * factor, 1.0), max(width * factor, 1.0)


class Lost(NamedTuple):
    """Why a part of a stored label teaches nothing.

    Attributes:
        why: the end of "12 objects are ...".
        advice: what a user can do about it, or "".
        usual: a smaller lost share of the objects is usual.

    Example:
        Lost("smaller than one pixel at 64 px", "raise the size of the recipe's network")
    """

    why: str
    advice: str = ""
    usual: float = 0.1


class LabelContent(NamedTuple):
    """What a stored label contains, and what of it a network can learn.

    Attributes:
        total: number of units (see `Labels.content_unit`), with those that teach nothing.
        found: [K] units of each class, [1] where there are no classes; without ignored ones.
        usable: [K] what remains of `found` at the network's input size; below 1: nothing.
        lost: {why: number of units}.
        boxes: [n, 4] usable objects of at least a pixel a side, in pixels of the input that the
            whole image fits: a scale of 1.

    Example:
        content = Depth(name="far").labels.content({"depth": np.ones((4, 4))}, Framing((4, 4), 64))
        content.total, content.usable  # (16, [256.])
    """

    total: int
    found: np.ndarray
    usable: np.ndarray
    lost: Mapping[Lost, int]
    boxes: np.ndarray = _NO_BOXES


class Ranking(NamedTuple):
    """Classes of the whole image, the most likely first.

    Attributes:
        classes: [n] int.
        probabilities: [n] float32, descending.

    Example:
        Ranking(classes=np.array([2, 0]), probabilities=np.float32([0.7, 0.2]))
    """

    classes: np.ndarray
    probabilities: np.ndarray


class Regions(NamedTuple):
    """Objects of an image.

    Attributes:
        boxes: [N, 4] float32, (ymin, xmin, ymax, xmax) as fractions of the picture.
        scores: [N] float32.
        classes: [N] int.
        masks: N crops of the boxes, [S, S] uint8, 0 or 1; None where an object has none.

    Example:
        regions = Regions(
            boxes=np.float32([[0, 0, 0.5, 0.5]]),
            scores=np.float32([0.9]),
            classes=np.array([1]),
            masks=(None,),
        )
        regions.kept(np.array([0.5, 0.95]))  # [False]
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    masks: tuple[np.ndarray | None, ...]

    def kept(self, limits: np.ndarray) -> np.ndarray:
        """Return whose scores reach the limits [K] of their classes, [N] bool."""
        return self.scores >= limits.astype(np.float32)[self.classes]

    def place(self, index: int, size: tuple[int, int]) -> np.ndarray:
        """Return the pixels of one object, [h, w] bool, by its mask or else its box."""
        mask = self.masks[index]
        box = self.boxes[index].astype(np.float64) * np.tile(size, 2)
        return paste(_WHOLE if mask is None else mask, box, size) > 0


class Pixels(NamedTuple):
    """A class for every pixel.

    Attributes:
        classes: [h, w] uint8; K or more where there is no class.
        confidence: [h, w] uint8, 255 where it is 1.

    Example:
        pixels = Pixels(classes=np.uint8([[0, 1]]), confidence=np.uint8([[255, 100]]))
        pixels.kept(np.array([0.5, 0.5]))  # [[True, False]]
    """

    classes: np.ndarray
    confidence: np.ndarray

    def kept(self, limits: np.ndarray) -> np.ndarray:
        """Return the pixels of a class whose confidence reaches its limit [K], [h, w] bool."""
        # k / 255 * 255 may be a rounding error above k.
        lowest = np.ceil(255.0 * limits - 1e-9)
        known = self.classes < len(lowest)
        return known & (self.confidence >= lowest[np.where(known, self.classes, 0)])


class Sketch(NamedTuple):
    """The forms of one record; None for what a task's records do not contain.

    Attributes:
        certainty: of the record as a whole, in [0, 1].
        answers: the ranked classes of the whole image.
        regions: boxes with scores.
        pixels: a map of classes.
        surface: [h, w] float32, how far each pixel is, so that a difference of 0.1 is a tenth (of
            the distance, or of the picture's span); NaN where it is unknown.

    Example:
        Sketch(certainty=0.9, surface=np.ones((4, 4), np.float32))
    """

    certainty: float | None = None
    answers: Ranking | None = None
    regions: Regions | None = None
    pixels: Pixels | None = None
    surface: np.ndarray | None = None


class ScoredPredictions(NamedTuple):
    """A batch's predictions matched to ground truth, where something is labeled.

    Attributes:
        scores: [N] in [0, 1], as a pseudo-label dataset stores them.
        classes: [N] int, the predicted classes.
        correct: [N] bool.
        num_true: [K] int, the number of ground-truth elements of each class.

    Example:
        scored = ScoredPredictions(
            scores=np.float32([0.9, 0.4]),
            classes=np.int64([0, 1]),
            correct=np.array([True, False]),
            num_true=np.int64([1, 1]),
        )
    """

    scores: np.ndarray
    classes: np.ndarray
    correct: np.ndarray
    num_true: np.ndarray

    @classmethod
    def of(
        cls, scores: np.ndarray, predicted: np.ndarray, true: np.ndarray, num_classes: int
    ) -> Self:
        """Return one prediction for each true class, [N] each."""
        num_true = np.bincount(true, minlength=num_classes)
        return cls(scores=scores, classes=predicted, correct=predicted == true, num_true=num_true)
