"""The images and labels of a set, read in part: sizes, boxes, and what cannot be read."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from must_keras.data.io.images import upright_size
from must_keras.data.sources import Source, preflight_indices
from must_keras.data.sources.source import Stored
from must_keras.errors import DataError, UserError

# Images that are decoded of a set; of the others of the sample the header is read.
_MAX_DECODED = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What a sample of a source's images and labels contains.

    Attributes:
        sizes: [n, 2] (height, width) of the upright images in pixels.
        boxes: [b, 4] (ymin, xmin, ymax, xmax), relative to the longer side of their image.
        most_boxes: largest number of boxes of an image.
        has_masks: whether a box has a mask.
        num_read: images in the sample.
        unlabeled: number of them without a label.
        problems: why images or labels could not be read, one for each.

    Example:
        Contents.of(source, "fruit").most_boxes
    """

    sizes: np.ndarray
    boxes: np.ndarray
    most_boxes: int
    has_masks: bool
    num_read: int
    unlabeled: int
    problems: tuple[str, ...]

    @classmethod
    def of(cls, source: Source, head: str | None) -> "Contents":
        """Read images all over a source, and the labels of a head; None for images alone."""
        sizes: list[tuple[int, int]] = []
        all_boxes, counts = [np.zeros((0, 4))], [0]
        has_masks, unlabeled, problems = False, 0, []
        indices = preflight_indices(source)
        decoded = set(indices[:: max(len(indices) // _MAX_DECODED, 1)])
        for index in indices:
            try:
                size = _size(source, index, decode=index in decoded)
                labels = {} if head is None else source.labels(index)
            except (UserError, DataError) as error:
                problems.append(str(error))
                continue
            sizes.append(size)
            unlabeled += head is not None and head not in labels
            boxes = _boxes(labels.get(head or "", {}))
            all_boxes.append(boxes * (2 * size) / max(size))
            counts.append(len(boxes))
            has_masks |= bool(np.any(labels.get(head or "", {}).get("has_mask", False)))
        return cls(
            sizes=np.array(sizes, np.float64).reshape(-1, 2),
            boxes=np.concatenate(all_boxes),
            most_boxes=max(counts),
            has_masks=has_masks,
            num_read=len(indices),
            unlabeled=unlabeled,
            problems=tuple(problems),
        )

    @property
    def long_side(self) -> int:
        """The median of the longer sides of the images in pixels; 0 where none could be read."""
        return int(np.median(self.sizes.max(axis=1))) if len(self.sizes) else 0

    def boxes_at(self, size: int) -> np.ndarray:
        """Return the boxes in pixels of a network's input of `size` pixels a side: [b, 4]."""
        return self.boxes * size


def _size(source: Source, index: int, *, decode: bool) -> tuple[int, int]:
    file = source.file(index)
    if file is None or decode:
        height, width = source.image(index).shape[:2]
        return height, width
    return upright_size(file)


def _boxes(label: Mapping[str, Stored]) -> np.ndarray:
    """Return the boxes of a stored label that are objects, as fractions of the image: [n, 4]."""
    if "boxes" not in label:
        return np.zeros((0, 4))
    return np.asarray(label["boxes"], np.float64)[~np.asarray(label["ignore"], bool)]
