"""What all images with a label file beside them have in common."""

from __future__ import annotations

import abc
import functools
import pathlib
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from must_keras.data.folders import (
    SUFFIXES,
    Path,
    by_stem,
    content_digest,
    existing_folder,
    label_digest,
    picture_files,
    stem,
)
from must_keras.data.images import read_image, upright_size
from must_keras.data.sources.source import LabelSpace, Source, Stored, spaces
from must_keras.errors import UserError


class PairedFolders(Source):
    """A folder of images and a folder of label files of the same names.

    A label belongs to the image with the same relative path but for the suffix: images/a/1.jpg
    and labels/a/1.png. An image without one is not labelled.

    Args:
        name: of the source.
        images: the images' folder.
        labels: the labels' folder.
        head: the head that they label; None: images alone.
        space: what they mean.

    Raises:
        UserError: a folder is empty or absent, a label has no image, or a name is there twice.
    """

    label_key: ClassVar[str]
    """The part of a stored label that a file holds."""
    label_suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    """Of the label files."""

    def __init__(
        self, *, name: str, images: Path, labels: Path, head: str | None, space: LabelSpace
    ):
        self.name = name
        self.label_spaces = spaces(head, space)
        self._images, self._label_folder = existing_folder(images), existing_folder(labels)
        self._names: Sequence[str] = picture_files(images)
        label_names = by_stem(self._label_folder, picture_files(labels, self.label_suffixes))
        image_names = by_stem(self._images, self._names)
        for key, label in label_names.items():
            if key not in image_names:
                raise UserError(
                    f"{self._label_folder / label} has no image {key}.* in {self._images}"
                )
        self._label_names = [label_names.get(stem(name)) for name in self._names]

    @abc.abstractmethod
    def read_label(self, path: pathlib.Path) -> np.ndarray:
        """The label in a file: [h, w, ...].

        Raises:
            UserError: it cannot be read, or says what it should not.
        """

    def __len__(self) -> int:
        return len(self._names)

    def image_id(self, index: int) -> str:
        return self._names[index]

    def file(self, index: int) -> pathlib.Path:
        return self._images / self._names[index]

    def image(self, index: int) -> np.ndarray:
        return read_image(self.file(index))

    def labels(self, index: int) -> dict[str, Stored]:
        name = self._label_names[index]
        if name is None or not self.label_spaces:
            return {}
        path, image = self._label_folder / name, self._images / self._names[index]
        label, expected = self.read_label(path), upright_size(image)
        if label.shape[:2] != expected:
            height, width = label.shape[:2]
            raise UserError(
                f"{path} is {width}x{height} pixels, its image {image} is "
                f"{expected[1]}x{expected[0]} (width x height, upright)"
            )
        return {head: {self.label_key: label} for head in self.label_spaces}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "images": content_digest(self._images, self._names),
            "labels": self._label_digest,
        }

    @functools.cached_property
    def _label_digest(self) -> str:
        # Once: a run describes its sources many times, and a folder of labels may be large.
        labels = [name for name in self._label_names if name is not None]
        return label_digest(self._label_folder, labels)
