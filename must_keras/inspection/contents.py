"""The images and labels of a set, read in part: sizes, boxes, and what cannot be read."""

import dataclasses

import numpy as np

from must_keras.data.io.images import upright_size
from must_keras.data.sources import Source, preflight_indices
from must_keras.errors import DataError, UserError

# Images that are decoded of a set; of the others of the sample the header is read.
_MAX_DECODED = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """What a sample of a source's images and labels contains.

    Attributes:
        sizes: [n, 2] (height, width) of the upright images in pixels.
        most_boxes: largest number of boxes of an image.
        has_masks: whether a box has a mask.
        num_read: images in the sample.
        unlabeled: number of them without a label.
        problems: why images or labels could not be read, one for each.

    Example:
        Contents.of(source, "fruit").most_boxes
    """

    sizes: np.ndarray
    most_boxes: int
    has_masks: bool
    num_read: int
    unlabeled: int
    problems: tuple[str, ...]

    @classmethod
    def of(cls, source: Source, head: str | None) -> "Contents":
        """Read images all over a source, and the labels of a head; None for images alone."""
        sizes: list[tuple[int, int]] = []
        most_boxes, has_masks, unlabeled, problems = 0, False, 0, []
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
            label = labels.get(head or "", {})
            most_boxes = max(most_boxes, int(np.sum(~np.asarray(label.get("ignore", True), bool))))
            has_masks |= bool(np.any(label.get("has_mask", False)))
        return cls(
            sizes=np.array(sizes, np.float64).reshape(-1, 2),
            most_boxes=most_boxes,
            has_masks=has_masks,
            num_read=len(indices),
            unlabeled=unlabeled,
            problems=tuple(problems),
        )

    @property
    def long_side(self) -> int:
        """The median of the longer sides of the images in pixels; 0 where none could be read."""
        return int(np.median(self.sizes.max(axis=1))) if len(self.sizes) else 0


def _size(source: Source, index: int, *, decode: bool) -> tuple[int, int]:
    file = source.file(index)
    if file is None or decode:
        height, width = source.image(index).shape[:2]
        return height, width
    return upright_size(file)
