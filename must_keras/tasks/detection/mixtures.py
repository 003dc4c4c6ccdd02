"""Objects of one image pasted into another: what is in front hides what is behind it."""

from typing import Any

import numpy as np

from must_keras.ops import masks as mask_ops
from must_keras.tasks import base
from must_keras.tasks.detection.labels import MIN_SHARE, MIN_SIDE
from must_keras.tasks.parts import Arrays, Size

# A box without a mask is ignored where more of it than this is hidden.
_MAX_HIDDEN = 0.5
# One row for each object.
_KEYS = ("boxes", "classes", "masks", "has_mask", "ignore", "weight")

Window = tuple[slice, slice]


class Mixtures(base.Mixtures):
    """Boxes of objects that others hide in part, with their masks.

    Example:
        Detection(name="objects", classes=("cat", "dog")).mixtures.max_instances  # 100
    """

    @property
    def max_instances(self) -> int:
        return self.task.max_boxes if self.task.with_masks else 0

    def paste_objects(
        self, label: Arrays, other: Arrays, *, chosen: np.ndarray, area: np.ndarray, size: Size
    ) -> tuple[Arrays, np.ndarray]:
        """Return a label with objects of another in front, and their pixels, [H, W] bool.

        Chosen objects with a mask are pasted, except ignored ones, and cut to the picture. The box
        of an object that is cut or hidden in part becomes that of its visible pixels; below 10 %
        of them, or a pixel a side, it is ignored; without any it is gone. An object without a mask
        keeps its box, and is ignored where more than half of it is hidden. Ignored regions stay.
        Objects beyond the room of a label are ignored, the pasted ones first. Objects keep their
        weights, except for those that are ignored now, which have 0.

        Args:
            label: of the image.
            other: of the other image.
            chosen: [N] bool.
            area: [4], the picture without its padding.
            size: (H, W) of both images.
        """
        pasted, where, outside = [], np.zeros(size, bool), np.ones(size, bool)
        outside[_window(area, size)] &= ~_in_box(area, _window(area, size))
        is_true = (other["classes"] >= 0) & ~other["ignore"]
        for i in np.flatnonzero(is_true & other["has_mask"] & chosen):
            window = _window(other["boxes"][i], size)
            visible = _pixels(other, i, window) & ~outside[window]
            if visible.any():
                pasted.append(_behind(other, i, outside))
                where[window] |= visible
        objects = [_behind(label, i, where) for i in _existing(label)] + pasted
        return _label_of([one for one in objects if one is not None], label), where


def _existing(label: Arrays) -> np.ndarray:
    """Return the places of objects and of ignored regions, which may be of no class."""
    return np.flatnonzero((label["classes"] >= 0) | label["ignore"])


def _window(box: np.ndarray, size: Size) -> Window:
    """Return the rows and columns of an image of (H, W) that a box touches."""
    first, last = np.floor(box[:2]).astype(int), np.ceil(box[2:]).astype(int)
    rows, columns = (slice(max(a, 0), min(b, n)) for a, b, n in zip(first, last, size, strict=True))
    return rows, columns


def _shape(window: Window) -> Size:
    """Return (height, width) of a window; 0 where it is beyond the image."""
    height, width = (max(part.stop - part.start, 0) for part in window)
    return height, width


def _moved(box: np.ndarray, window: Window) -> np.ndarray:
    """Return a box in pixels of a window."""
    return box - np.array([part.start for part in window] * 2, np.float32)


def _in_box(box: np.ndarray, window: Window) -> np.ndarray:
    """Return the pixels of a window whose centers are in a box: [h, w] bool."""
    whole = np.ones((1, 1))
    return mask_ops.paste(whole, _moved(box, window), _shape(window)).astype(bool)


def _pixels(label: Arrays, index: int, window: Window) -> np.ndarray:
    """Return the pixels of an object with a mask in a window: [h, w] bool."""
    box = _moved(label["boxes"][index], window)
    return mask_ops.paste(label["masks"][index], box, _shape(window)).astype(bool)


def _behind(label: Arrays, index: int, where: np.ndarray) -> dict[str, Any] | None:
    """Return what is seen of an object, a row of each key, behind some pixels; None: nothing."""
    row = {key: label[key][index] for key in _keys_of(label)}
    window = _window(row["boxes"], where.shape)
    hiding = where[window]
    if row["ignore"] or not hiding.any():
        return row
    if not row["has_mask"]:
        box = _in_box(row["boxes"], window)
        hidden = np.count_nonzero(hiding & box) / max(np.count_nonzero(box), 1)
        return _ignored(row) if hidden > _MAX_HIDDEN else row
    whole = _pixels(label, index, window)
    visible = whole & ~hiding
    number, before = np.count_nonzero(visible), np.count_nonzero(whole)
    if number == before:
        return row
    if not number:
        return None
    # Edges where nothing is hidden keep their fractions of a pixel.
    own, bounds = _moved(row["boxes"], window), _bounds(visible)
    box = np.where(bounds == _bounds(whole), own, bounds).astype(np.float32)
    # The mask's cells may be finer than the pixels that hide them.
    side = row["masks"].shape[-1]
    cells = (box - np.tile(own[:2], 2)) * side / np.tile(own[2:] - own[:2], 2)
    mask = mask_ops.crop_bitmap(row["masks"], cells, size=side)
    mask &= mask_ops.crop_bitmap(~hiding, box, size=side)
    barely = number < MIN_SHARE * before or (box[2:] - box[:2]).min() < MIN_SIDE
    box = box + np.array([part.start for part in window] * 2, np.float32)
    row = row | {"boxes": box, "masks": mask}
    return _ignored(row) if barely else row


def _keys_of(label: Arrays) -> list[str]:
    """Return the keys with a row for each object: "weight" is that of weighted tasks alone."""
    return [key for key in _KEYS if key in label]


def _ignored(row: dict[str, Any]) -> dict[str, Any]:
    """Return an object that is ignored, as a crowd is: no threshold dropped it."""
    weight = {"weight": np.float32(0)} if "weight" in row else {}
    return row | {"ignore": True} | weight


def _bounds(pixels: np.ndarray) -> np.ndarray:
    """Return the box of some pixels, at least one: [4]."""
    rows, columns = (np.flatnonzero(pixels.any(axis)) for axis in (1, 0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def _label_of(objects: list[dict[str, Any]], label: Arrays) -> Arrays:
    """Return the label of some objects; what is no object is that of `label`.

    See `Labels.spec`: true objects first, then ignored ones, then nothing.
    """
    slots = len(label["classes"])
    objects = sorted(objects, key=lambda row: bool(row["ignore"]))
    found = {key: np.zeros_like(label[key]) for key in _keys_of(label)} | {
        "classes": np.full_like(label["classes"], -1)
    }
    for place, row in enumerate(objects[:slots]):
        for key, value in row.items():
            found[key][place] = value
    more = [row["boxes"] for row in objects[slots:]]
    return dict(label) | found | {"truncated_boxes": _with_more(label["truncated_boxes"], more)}


def _with_more(boxes: np.ndarray, more: list[np.ndarray]) -> np.ndarray:
    """Return truncated boxes, [N, 4], with more of them; the last bounds all without room."""
    if not more:
        return boxes
    present = [*boxes[(boxes[:, 2:] > boxes[:, :2]).all(axis=1)], *more]
    found = np.zeros_like(boxes)
    found[: len(present)] = present[: len(found)]
    last = np.array(present[len(found) - 1 :])
    if len(last):
        found[-1] = [*last[:, :2].min(axis=0), *last[:, 2:].max(axis=0)]
    return found
