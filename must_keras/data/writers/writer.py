"""The interface of a writer: the labels of one head as files of another tool."""

import abc
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np

from must_keras.data.io.notices import Notes
from must_keras.data.names import stem
from must_keras.data.sources.source import Stored
from must_keras.errors import UserError
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Size


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabeledImage:
    """An image with its label, as a writer takes it.

    Attributes:
        name: its path below images/, "a/b.jpg": its id.
        size: (height, width) of the upright original in pixels.
        label: stored label of the head; "scores" may come with boxes.
        certainty: of the label as a whole, in [0, 1]; None where it has none.

    Example:
        LabeledImage(name="a.jpg", size=(20, 40), label=objects(boxes=[[0, 0, 1, 1]], classes=[0]))
    """

    name: str
    size: Size
    label: Stored
    certainty: float | None = None


class Writer(abc.ABC):
    """Labels in the form of another tool, written image by image below a folder.

    Coordinates are those of the upright original images.

    Args:
        folder: an existing folder, into which all files are written.
        task: of the head.
        origin: who made the labels, for tools that show it.

    Example:
        writer = CocoWriter(folder, task, origin="boxes")
        writer.add(LabeledImage(name="a.jpg", size=(20, 40), label=label))
        writer.close()
    """

    name: ClassVar[str]
    """As a command line names it."""

    contents: ClassVar[str]
    """The labels that it writes, for a message."""

    def __init__(self, folder: pathlib.Path, task: Task, *, origin: str):
        self.folder, self.task, self.origin = folder, task, origin
        self.notes = Notes()

    @classmethod
    @abc.abstractmethod
    def takes(cls, task: Task) -> bool:
        """Return whether labels of the task can be written."""

    @abc.abstractmethod
    def add(self, image: LabeledImage) -> None:
        """Write the label of an image."""

    def close(self) -> None:
        """Write what belongs to all images, and report what was left out."""
        self.notes.warn(self.folder)


class StemPaths:
    """Paths of label files that have the names of images, but for the suffix.

    Args:
        folder: of the label files.
        suffix: of the label files.

    Example:
        StemPaths(pathlib.Path("labels"), ".txt").take("a/b.jpg")  # labels/a/b.txt
    """

    def __init__(self, folder: pathlib.Path, suffix: str):
        self._folder, self._suffix = folder, suffix
        self._names: dict[str, str] = {}

    def take(self, name: str) -> pathlib.Path:
        """Return the path of an image's label file, in a folder that is there.

        Raises:
            UserError: another image has the same name but for its suffix.
        """
        other = self._names.setdefault(stem(name), name)
        if other != name:
            raise UserError(
                f"the images {other} and {name} would have one label file, {stem(name)}"
                f"{self._suffix}: rename one of them"
            )
        path = self._folder / f"{stem(name)}{self._suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        return path


def certain_objects(image: LabeledImage, notes: Notes) -> Iterator[int]:
    """Yield the places of objects that are not ignored regions, which are counted in the notes."""
    ignore, classes = np.asarray(image.label["ignore"], bool), image.label["classes"]
    for place, (is_ignored, index) in enumerate(zip(ignore, classes, strict=True)):
        if is_ignored or index < 0:
            notes.add("ignored regions have no form here and are left out", image.name)
        else:
            yield place
