"""What the labels of a set leave for a network to learn, counted before anything is trained."""

import collections
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.data.examples import LabeledExamples
from must_keras.data.sources import Source, original_size, preflight_indices
from must_keras.errors import DataError, UserError, listed
from must_keras.tasks.base import Task
from must_keras.tasks.summaries import Framing, Lost

# Labels that are read, without their images, in search of classes that no image has shown so far.
_MAX_LABELS, _MAX_SECONDS = 4096, 3.0
# Longer while nothing at all was found: one image of a thousand may have an object.
_MAX_SECONDS_EMPTY = 30.0
# As many images whose content is all lost stand for the others.
_ENOUGH_LOST = 100
_MAX_NAMES = 5
# A smaller share of labeled images without content is usual.
_LOST_SHARE = 0.1


class LabelContents:
    """The content of the labels of one head in a source, over the images that were read.

    Args:
        task: the head.
        size: sides of the network's input in pixels.
        scale: see Framing.
        num_images: of the source.

    Example:
        contents = LabelContents(task, size=512, scale=1.0, num_images=len(source))
        contents.add(stored, (480, 640), is_labeled=True)
        contents.shortcomings()  # sentences
    """

    def __init__(self, task: Task, *, size: int, scale: float, num_images: int):
        self.task = task
        self._size, self._scale, self._num_images = size, scale, num_images
        self.classes = task.labels.classes
        num_classes = max(len(self.classes), 1)
        self._found, self._usable = np.zeros(num_classes), np.zeros(num_classes)
        self._lost: collections.Counter[Lost] = collections.Counter()
        self._total = self._filled = 0
        self._boxes: list[np.ndarray] = []
        self.unreadable = 0
        self.read = self.labeled = self._empty = 0

    def add(
        self, stored: Mapping[str, Any], original: tuple[int, int], *, is_labeled: bool
    ) -> None:
        """Count the stored label of an image of (height, width) pixels."""
        self.read += 1
        if not is_labeled:
            return
        content = self.task.labels.content(stored, Framing(original, self._size, self._scale))
        self.labeled += 1
        self._total += content.total
        self._filled += bool(content.total)
        self._empty += bool(content.total) and not content.usable.any()
        self._found += content.found
        self._usable += content.usable
        self._lost.update(content.lost)
        self._boxes.append(content.boxes)

    @property
    def missing_classes(self) -> list[int]:
        """Indices of the classes of which nothing can be learned."""
        return [int(index) for index in np.flatnonzero(self._usable < 1.0)]

    @property
    def is_empty(self) -> bool:
        """Whether nothing can be learned."""
        return len(self.missing_classes) == len(self._usable)

    @property
    def is_lost(self) -> bool:
        """Whether there was something, and all of it is lost."""
        return self.is_empty and bool(self._total)

    @property
    def is_certain(self) -> bool:
        """Whether images that were not read cannot be expected to differ."""
        is_whole = self.read + self.unreadable >= self._num_images
        return is_whole or (self.is_lost and self._filled >= _ENOUGH_LOST)

    def why_empty(self) -> str:
        """Why nothing can be learned, for the end of an error."""
        unit = self.task.labels.content_unit
        if not self.labeled:
            return self._none_has("label for the head")
        if not self._total:
            return (
                f"{self._none_has(f'{unit} with an area')}: the file of annotations may be another "
                "one than was meant"
            )
        if not self._lost:
            return f"fewer than one {unit} remains at {self._size} px"
        counts = [
            f"{self._units(n)} {'is' if n == 1 else 'are'} {lost.why}"
            for lost, n in self._lost.most_common()
        ]
        advice = [lost.advice for lost, _ in self._lost.most_common() if lost.advice]
        if len(self._lost) == 1 and self._lost.total() == self._total:
            text = f"all {counts[0]}" if self._total > 1 else counts[0]
        else:
            text = f"of {self._units(self._total)}, {' and '.join(counts)}"
        return "; ".join((f"{text} ({self._images('in')})", *advice))

    def shortcomings(self) -> list[str]:
        """What of the head cannot be learned although other things can, a sentence each."""
        found = []
        if not self.labeled:
            return [self.why_empty()]
        if self.is_empty:
            return [f"nothing to learn: {self.why_empty()}"]
        if len(self.classes) == 1 and self.task.labels.content_unit != "object":
            found.append(
                f"its only class is {self.classes[0]!r}, so there is nothing to tell apart: "
                + (
                    "check the folders or the table of the classes"
                    if self.task.labels.content_unit == "image"
                    else "the background needs a class of its own"
                )
            )
        missing = self.missing_classes
        if missing and self.classes:
            found.append(self._about_classes(missing))
        if self._total and not (self._has_one_class and self._lost):
            found += self._about_losses()
        return found

    def misfits(self) -> list[str]:
        """What of the task's values does not fit the boxes, a sentence each."""
        boxes = np.concatenate([np.zeros((0, 4)), *self._boxes])
        return self.task.labels.misfits(boxes, self._size)

    @property
    def _has_one_class(self) -> bool:
        """Whether the pixels of one class alone can be learned, of several."""
        is_map = self.task.labels.content_unit == "pixel" and len(self.classes) > 1
        return is_map and len(self.classes) - len(self.missing_classes) == 1

    def _about_classes(self, missing: Sequence[int]) -> str:
        unit = self.task.labels.content_unit
        names = listed([self.classes[index] for index in missing], limit=_MAX_NAMES)
        of = f"{len(missing)} of {len(self.classes)} classes have no usable {unit} ({names})"
        text = f"{of} {self._images('in')}"
        if self.read < self._num_images:
            text += "; the others may have some"
        gone = [self.classes[i] for i in missing if self._found[i] > 0]
        if gone:
            text += f"; all {unit}s of {listed(gone, limit=_MAX_NAMES)} are lost at {self._size} px"
        if unit == "image" and len(self.classes) - len(missing) == 1:
            only = next(c for i, c in enumerate(self.classes) if i not in missing)
            text += f"; every image is of {only!r}, so there is nothing to tell apart"
        # Of several classes, what is lost is hardly another one.
        for lost, number in self._lost.most_common() if self._has_one_class else ():
            text += f"; {number / self._total:.2g} of the pixels are {lost.why}"
            text += f": {lost.advice}" if lost.advice else ""
        return text

    def _about_losses(self) -> list[str]:
        if self.task.labels.content_unit != "object":
            if self._empty < _LOST_SHARE * self.labeled:
                return []
            why = " or ".join(lost.why for lost, _ in self._lost.most_common())
            return [
                f"{self._empty} of {self.labeled} labeled images have nothing to learn: every "
                f"pixel is {why or 'too small'}"
            ]
        return [
            f"{number} of {self._units(self._total)} are {lost.why} ({self._images('in')})"
            + (f": {lost.advice}" if lost.advice else "")
            for lost, number in self._lost.most_common()
            if number >= lost.usual * self._total
        ]

    def _units(self, number: int) -> str:
        return f"{number} {self.task.labels.content_unit}{'' if number == 1 else 's'}"

    def _images(self, before: str) -> str:
        """Return which images were read: "in all 12 images", for example."""
        if self.read < self._num_images:
            return f"{before} the {self.read} of {self._num_images} images that were read"
        if self.read == 1:
            return f"{before} the one image"
        return f"{before} {'all' if before == 'in' else 'the'} {self.read} images"

    def _none_has(self, what: str) -> str:
        if self.read == self._num_images == 1:
            return f"the one image has no {what}"
        return f"{self._images('none of')} has {'an' if what[0] in 'aeiou' else 'a'} {what}"


def count(
    source: Source, tasks: Sequence[Task], *, size: int, scale: float
) -> dict[str, LabelContents]:
    """Return {head: what its labels leave to learn}.

    Images all over the source are decoded as well; one that cannot be read is not counted. Then
    further labels are read.
    """
    examples, read = LabeledExamples(source, tasks), preflight_indices(source)
    contents = {
        task.name: LabelContents(task, size=size, scale=scale, num_images=len(source))
        for task in tasks
    }
    for index in read:
        original = source.image(index).shape[:2]
        _add(contents, examples, index, None if source.is_gone(index) else original)
    for found in contents.values():
        search(found, examples, source, read)
    return contents


def search(
    contents: LabelContents, examples: LabeledExamples, source: Source, read: Iterable[int]
) -> None:
    """Read further labels while a class is without an example, up to some number and time.

    Args:
        contents: what was counted so far; is added to.
        examples: the source's labels.
        source: the images.
        read: indices that were counted.
    """
    start, known = time.monotonic(), set(read)
    # In no order of the source: the time may not be enough for all.
    order = np.random.default_rng(0).permutation(len(source)) if len(source) > len(known) else ()
    for index in map(int, order):
        seconds, is_empty = time.monotonic() - start, contents.is_empty
        if not contents.missing_classes or seconds > _MAX_SECONDS_EMPTY:
            return
        if not is_empty and (contents.read >= _MAX_LABELS or seconds > _MAX_SECONDS):
            return
        if index not in known:
            _add({contents.task.name: contents}, examples, index, _original(source, index))


def _add(
    contents: Mapping[str, LabelContents],
    examples: LabeledExamples,
    index: int,
    original: tuple[int, int] | None,
) -> None:
    """Count the labels of an image of (height, width) pixels; None: it is unreadable."""
    if original is None:
        for found in contents.values():
            found.unreadable += 1
        return
    labels, origins = examples.labels_and_origins(index)
    for head, found in contents.items():
        found.add(labels[head], original, is_labeled=origins[head] != "missing")


def _original(source: Source, index: int) -> tuple[int, int] | None:
    """(height, width) of an image; None: unreadable."""
    try:
        return original_size(source, index)
    except (UserError, DataError):
        return None
