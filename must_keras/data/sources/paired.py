"""What all images with a label file beside them have in common."""

from __future__ import annotations

import abc
import functools
import pathlib
from typing import Any, ClassVar

import numpy as np

from must_keras.data.io.folders import (
    SUFFIXES,
    Images,
    Path,
    by_stem,
    existing_folder,
    label_digest,
    picture_files,
)
from must_keras.data.io.images import upright_size
from must_keras.data.sources.image_files import ImageFiles, frame_hint
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.errors import UserError


class PairedFolders(ImageFiles):
    """A folder of images and a folder of label files of the same names.

    Frame: a label has the size of the upright image. An EXIF orientation of a label file itself is
    applied, or refused where its values would not turn with it.

    A label belongs to the image with the same relative path but for the suffix: images/a/1.jpg
    and labels/a/1.png, or labels/a/1.jpg.png. Names are compared as people read them: see
    `names.Names`. An image without a label is not labeled.

    Args:
        name: of the source.
        images: the images' folder.
        labels: the labels' folder.
        head: the head that they label; None: images alone.
        space: what they mean.
        bits: see images.read_image.

    Raises:
        UserError: a folder is empty or absent, a label has no image, or a name is there twice.
    """

    label_key: ClassVar[str]
    """The part of a stored label that a file holds."""
    label_suffixes: ClassVar[tuple[str, ...]] = SUFFIXES
    """Of the label files."""

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        labels: Path,
        head: str | None,
        space: LabelSpace,
        bits: int | None = None,
    ):
        root, self._label_folder = existing_folder(images), existing_folder(labels)
        files = picture_files(root)
        super().__init__(
            name=name, root=root, files=files, label_spaces=spaces(head, space), bits=bits
        )
        label_names = by_stem(self._label_folder, picture_files(labels, self.label_suffixes))
        images_by_name = Images(root, files)
        found: dict[str, str] = {}
        for key, label in label_names.items():
            image = images_by_name.of_stem(key)
            if image is None:
                raise UserError(f"{self._label_folder / label} has no image {key}.* in {root}")
            other = found.setdefault(image, label)
            if other != label:
                raise UserError(
                    f"{self._label_folder} holds both {other!a} and {label!a} for the "
                    f"image {image}: which one is meant?"
                )
        self._label_names = [found.get(name) for name in files]

    @abc.abstractmethod
    def read_label(self, path: pathlib.Path) -> np.ndarray:
        """The label in a file: [h, w, ...].

        Raises:
            UserError: it cannot be read, or says what it should not.
        """

    def labels(self, index: int) -> dict[str, Stored]:
        name = self._label_names[index]
        if name is None or not self.label_spaces:
            return {}
        path, image = self._label_folder / name, self.file(index)
        label, expected = self.read_label(path), upright_size(image)
        if label.shape[:2] != expected:
            height, width = label.shape[:2]
            raise UserError(
                f"{path} is {width}x{height} pixels, its image {image} is "
                f"{expected[1]}x{expected[0]} (width x height, upright)"
                f"{frame_hint(expected, (height, width))}"
            )
        return {head: {self.label_key: label} for head in self.label_spaces}

    def folders(self) -> frozenset[pathlib.Path]:
        return super().folders() | {self._root, self._label_folder}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "images": self._image_digest,
            "labels": self._label_digest,
        } | self.describe_reading()

    @functools.cached_property
    def _label_digest(self) -> str:
        # Once: a run describes its sources many times, and a folder of labels may be large.
        labels = [name for name in self._label_names if name is not None]
        return label_digest(self._label_folder, labels)
