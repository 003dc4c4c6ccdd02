"""The interface of a source: images by number, and the ground truth of some heads.

Sources that people write themselves subclass `Source`; its methods and attributes are stable.
"""

import abc
import dataclasses
import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from must_keras import naming
from must_keras.data import names
from must_keras.data.io.images import upright_size
from must_keras.errors import UserError, listed, nearest
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Labels

Stored = dict[str, np.ndarray]

# Images of each split that are read before a run: of a user's files, and of rendered ones.
_MAX_PREFLIGHT_FILES, _MAX_PREFLIGHT_IMAGES = 512, 8


@dataclasses.dataclass(frozen=True)
class LabelSpace:
    """The meaning of a head's labels.

    Attributes:
        kind: as `Task.kind`, for example "classes", "boxes", "map" or "metric".
        classes: names in the order of the indices; empty for kinds without classes.

    Example:
        LabelSpace("boxes", ("cat", "dog"))
    """

    kind: str
    classes: tuple[str, ...] = ()

    @classmethod
    def of(cls, task: Task) -> Self:
        """Return the label space that a task is bound to."""
        return cls(task.kind, task.labels.classes)

    def labels(self, head: str) -> Labels | None:
        """Return the labels of a task for this label space; None where no task is of the kind."""
        task = Task.of_kind(head, self.kind, self.classes)
        return task and task.labels

    def difference(self, other: Self) -> str | None:
        """Return the difference, for the end of a sentence about "this" and "the other", or None.

        Names of classes are compared as people read them.
        """
        if self.kind != other.kind:
            return f"its labels are {self.kind!r}, the other's {other.kind!r}"
        if tuple(map(names.as_read, self.classes)) == tuple(map(names.as_read, other.classes)):
            return None
        counts = f"it has {len(self.classes)} classes, the other {len(other.classes)}"
        odd = sorted(set(self.classes) ^ set(other.classes))
        if not odd:
            return f"{counts}; their order differs"
        return f"{counts}; not in both: {listed(odd, limit=5)}"


class LabelSpaces(dict[str, LabelSpace]):
    """{head: label space} of one source; looking up an unknown head raises UserError.

    Args:
        name: of the source.
        found: the label spaces.

    Example:
        LabelSpaces("photos", {"animal": LabelSpace("classes", ("cat", "dog"))})["animal"].classes
    """

    def __init__(self, name: str, found: Mapping[str, LabelSpace]):
        super().__init__(found)
        self._name = name

    def __missing__(self, head: str) -> LabelSpace:
        raise UserError(unknown_head(self._name, self, head))


def unknown_head(name: str, heads: Collection[str], head: str) -> str:
    """Return the error text for a head that a source, which labels `heads`, does not label."""
    text = f"source {name!r} labels {', '.join(heads) or 'no head'}, not {head!r}"
    return f"{text}; {nearest(head, tuple(heads))}" if heads else text


def spaces(head: str | None, space: LabelSpace, *, name: str) -> dict[str, LabelSpace]:
    """Return the label spaces of a source whose labels are for one head.

    Args:
        head: its name, "" for the source's own; None for no head.
        space: of the labels.
        name: of the source.

    Raises:
        UserError: the source's name cannot be that of a head.
    """
    if head is not None and not isinstance(head, str):
        raise UserError.of("", "head", head, "expected the name of a head, or None")
    if head == "":
        naming.check_head(name, f"source {name!r}: without head=...", "its head")
    return {} if head is None else {head or name: space}


def common_spaces(sources: Sequence["Source"]) -> dict[str, LabelSpace]:
    """Return the label spaces of all sources.

    Raises:
        UserError: two sources have different label spaces for one head.
    """
    found: dict[str, tuple[str, LabelSpace]] = {}
    for source in sources:
        for head, space in source.label_spaces.items():
            first, expected = found.setdefault(head, (source.name, space))
            difference = space.difference(expected)
            if difference:
                raise UserError(
                    f"source {source.name!r} does not fit source {first!r} (the other) "
                    f"for head {head!r}: {difference}"
                )
    return {head: space for head, (_, space) in found.items()}


def without_keys(description: Any, keys: Sequence[str]) -> Any:
    """Return a source's description without some of its entries, at any depth."""
    if isinstance(description, dict):
        return {k: without_keys(v, keys) for k, v in description.items() if k not in keys}
    if isinstance(description, list):
        return [without_keys(value, keys) for value in description]
    return description


def check_not_empty(source: "Source") -> None:
    """Raise UserError where a source has no image."""
    if not len(source):
        raise UserError(f"source {source.name!r} has no image")


def check_sources(where: str, sources: Any) -> None:
    """Raise UserError unless there is at least one source and all are sources."""
    if not isinstance(sources, tuple | list) or not sources:
        raise UserError(f"{where}: received {sources!r}: expected a list of sources")
    for source in sources:
        if not isinstance(source, Source):
            raise UserError(f"{where}: received {source!r}: expected a source")


class _Named:
    """The attribute `label_spaces`, a `LabelSpaces` of the source's name.

    The class itself has no such attribute: a subclass may be a dataclass with this field.
    """

    def __get__(self, source: "Source | None", owner: type) -> LabelSpaces:
        if source is None or "_label_spaces" not in vars(source):
            raise AttributeError(f"{owner.__name__} has no label_spaces, or not yet")
        return vars(source)["_label_spaces"]

    def __set__(self, source: "Source", found: Mapping[str, LabelSpace]) -> None:
        name = getattr(source, "name", type(source).__name__)
        # A frozen dataclass takes no attribute by assignment.
        vars(source)["_label_spaces"] = LabelSpaces(name, found)


class Source(abc.ABC):
    """Images with ground truth in a fixed order: the base class of sources of your own.

    Files below a folder have a base class that reads the images: `image_files.ImageFiles`,
    `image_files.BoxFiles` where an annotation file has boxes, or `image_files.PairedFolders` where
    each image has a map of its size in a second folder.

    A subclass sets `name` and `label_spaces` and implements `__len__`, `image_id`, `image`,
    `labels` and `describe`; `class_label` and `objects` make stored labels. Methods may be called
    by several threads at a time. `image` and `labels` raise UserError where a file cannot
    be read, with the file and the reason.

    Attributes:
        name: names the pseudo-label datasets of this source; distinct from all others of a run.
        label_spaces: {head: meaning of its labels}; other heads have no ground truth here.
        has_scores: whether objects come with scores of a model that found them.

    Example:
        class Halves(mk.Source):
            def __init__(self, count):
                self.name, self._count = "halves", count
                self.label_spaces = {"light": LabelSpace("classes", ("dark", "bright"))}

            def __len__(self):
                return self._count

            def image_id(self, index):
                return f"{index:04}"

            def image(self, index):
                return np.full((32, 32, 3), 255 * index // self._count, np.uint8)

            def labels(self, index):
                return {"light": class_label(int(index >= self._count / 2), 2)}

            def describe(self):
                return {"name": self.name, "count": self._count}
    """

    name: str
    label_spaces = _Named()
    has_scores: bool = False

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def image_id(self, index: int) -> str:
        """Return a name of the image that stays the same: of files the relative path."""

    def file(self, index: int) -> pathlib.Path | None:
        """Return the image's file; None where it has none of its own."""
        return None

    def folders(self) -> frozenset[pathlib.Path]:
        """Return the folders that contain the images, and those that are searched for images."""
        files = (self.file(index) for index in range(len(self)))
        return frozenset(file.parent for file in files if file is not None)

    def is_gone(self, index: int) -> bool:
        """Return whether the image has changed or is absent, so that no label belongs to it."""
        return False

    @abc.abstractmethod
    def image(self, index: int) -> np.ndarray:
        """Return an upright image: [h, w, 3] uint8 RGB."""

    @abc.abstractmethod
    def labels(self, index: int) -> dict[str, Stored]:
        """Return {head: stored label} of the heads that are labeled on this image."""

    def labeled_heads(self, index: int) -> Collection[str]:
        """Return the heads of which an image may have ground truth, without reading its labels.

        Those of `label_spaces`, except where it is known of an image that a label is absent.
        """
        return self.label_spaces.keys()

    @abc.abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what the images and labels depend on, as plain data and dataclasses.

        A changed description makes the artifacts of a run outdated. Where the files lie is no part
        of it.
        """

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        """Return how pixels are made of the files' bytes; {} for the usual way.

        Args:
            ids: of the images that are meant, some of which may be gone; None for all.
        """
        return {}

    def describe_images(self) -> dict[str, Any]:
        """Return `describe` of the images alone, where a source can separate them from labels."""
        return self.describe()


def preflight_indices(source: Source) -> list[int]:
    """Return the indices of images, evenly spread over a source, that are read before a run.

    Of a user's files more are read than of images that a program renders.
    """
    count, is_of_files = len(source), len(source) > 0 and source.file(0) is not None
    number = min(_MAX_PREFLIGHT_FILES if is_of_files else _MAX_PREFLIGHT_IMAGES, count)
    return sorted({round(place) for place in np.linspace(0, count - 1, number)})


def original_size(source: Source, index: int) -> tuple[int, int]:
    """Return (height, width) of an upright image, from a file's header where it has one.

    Raises:
        UserError, DataError: it cannot be read.
    """
    file = source.file(index)
    height, width = source.image(index).shape[:2] if file is None else upright_size(file)
    return height, width


# ---- stored labels from plain values, for sources of all formats --------------------------------


def class_label(index: int, num_classes: int) -> Stored:
    """Return the label of an image of one class: "probabilities" [K], one-hot.

    Raises:
        UserError: the index is not in [0, num_classes), as -1 for "not labeled" in some sets;
            such an image has no label.
    """
    if not 0 <= index < num_classes:
        raise UserError(
            f"class {index} of {num_classes}: expected 0 to {num_classes - 1}, and no label at all "
            "for an image without a class"
        )
    probabilities = np.zeros(num_classes, np.float32)
    probabilities[index] = 1.0
    return {"probabilities": probabilities, "labelled": np.ones((), np.float32)}


def objects(
    *,
    boxes: ArrayLike,
    classes: ArrayLike,
    masks: ArrayLike | None = None,
    has_mask: ArrayLike | None = None,
    ignore: ArrayLike | None = None,
    scores: ArrayLike | None = None,
) -> Stored:
    """Return the label of an image whose objects are all labeled; n may be 0.

    Args:
        boxes: [n, 4] (ymin, xmin, ymax, xmax), fractions of the upright image.
        classes: [n].
        masks: [n, S, S], 0 or 1, crops of the boxes; None: there are none.
        has_mask: [n] bool; None: all where there are masks.
        ignore: [n] bool, neither positive nor negative; None: no box.
        scores: [n], 0 to 1, where a model found the objects; None: they are certain.
    """
    classes = np.asarray(classes, np.int32).reshape(-1)
    n = len(classes)
    if has_mask is None:
        has_mask = np.full(n, masks is not None)
    with_scores = {} if scores is None else {"scores": np.asarray(scores, np.float32).reshape(n)}
    return with_scores | {
        "boxes": np.asarray(boxes, np.float32).reshape(n, 4),
        "classes": classes,
        "masks": np.zeros((n, 1, 1), np.uint8) if masks is None else np.asarray(masks, np.uint8),
        "has_mask": np.asarray(has_mask, bool).reshape(n),
        "ignore": np.zeros(n, bool) if ignore is None else np.asarray(ignore, bool).reshape(n),
        "labelled": np.ones((), np.float32),
    }
