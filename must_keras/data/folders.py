"""Folders of pictures: which files there are, and which label file belongs to which image."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from must_keras.data.images import read_image, upright_size
from must_keras.errors import UserError
from must_keras.files import file_sha256

Path = str | os.PathLike[str]

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


def existing_folder(path: Path) -> pathlib.Path:
    """The folder as a path.

    Raises:
        UserError: it is not there, or not a folder.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        raise UserError(f"there is no folder {path}" if not path.exists() else f"{path}: no folder")
    return path


def picture_files(folder: Path) -> list[str]:
    """The pictures in a folder and below, as sorted relative paths ("a/b.jpg").

    Hidden files and folders (".x") are passed over; links are followed.

    Raises:
        UserError: there is no such folder, or no picture in it.
    """
    root = existing_folder(folder)
    found = []
    for base, folders, files in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = pathlib.PurePath(os.path.relpath(base, root))
        found += [
            (below / name).as_posix()
            for name in files
            if name.lower().endswith(SUFFIXES) and not name.startswith(".")
        ]
    if not found:
        raise UserError(f"{root} holds no picture ({', '.join(SUFFIXES)})")
    return sorted(found)


def content_digest(folder: Path, files: Iterable[str]) -> str:
    """16 hexadecimal digits of the files' names and sizes, in order; not of where they lie.

    For images, which are many and large, and which nobody corrects; see `label_digest`.
    """
    root = pathlib.Path(folder)
    return _digest([[name, (root / name).stat().st_size] for name in files])


def label_digest(folder: Path, files: Iterable[str]) -> str:
    """16 hexadecimal digits of the files' names and bytes, in order; not of where they lie.

    A corrected label is often as large as the old one: a class's value in a map, a digit in XML.

    Raises:
        UserError: a file cannot be read.
    """
    root = pathlib.Path(folder)
    try:
        return _digest([[name, file_sha256(root / name)] for name in files])
    except OSError as error:
        raise UserError(f"{error.filename} cannot be read: {error.strerror}") from error


def _digest(described: list[Any]) -> str:
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]


class PairedFolders:
    """A folder of images and a folder of label pictures of the same names.

    A label belongs to the image with the same relative path but for the suffix: images/a/1.jpg
    and labels/a/1.png. An image may have none.

    Args:
        images: the images' folder.
        labels: the labels' folder.

    Raises:
        UserError: a folder is empty or absent, a label has no image, a name is there twice, or no
            image has a label.
    """

    def __init__(self, images: Path, labels: Path):
        self._images, self._labels = existing_folder(images), existing_folder(labels)
        self.names: Sequence[str] = picture_files(images)
        label_names = by_stem(self._labels, picture_files(labels))
        image_names = by_stem(self._images, self.names)
        for stem, name in label_names.items():
            if stem not in image_names:
                raise UserError(f"{self._labels / name} has no image {stem}.* in {self._images}")
        self._label_names = [label_names.get(_stem(name)) for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> np.ndarray:
        """[h, w, 3] uint8."""
        return read_image(self._images / self.names[index])

    def label_path(self, index: int) -> pathlib.Path | None:
        """The label's file; None where the image has none."""
        name = self._label_names[index]
        return None if name is None else self._labels / name

    def read_label(
        self, index: int, read: Callable[[pathlib.Path], np.ndarray]
    ) -> np.ndarray | None:
        """The label picture [h, w, ...]; None where the image has none.

        Raises:
            UserError: it cannot be read, or is of another size than its image.
        """
        path = self.label_path(index)
        if path is None:
            return None
        label = read(path)
        image = self._images / self.names[index]
        expected = upright_size(image)
        if label.shape[:2] != expected:
            height, width = label.shape[:2]
            raise UserError(
                f"{path} is {width}x{height} pixels, its image {image} is "
                f"{expected[1]}x{expected[0]} (width x height, upright)"
            )
        return label

    def describe(self) -> dict[str, Any]:
        """What the files are, as plain data."""
        return {
            "images": content_digest(self._images, self.names),
            "labels": self._label_digest,
        }

    @functools.cached_property
    def _label_digest(self) -> str:
        # Once: a run describes its sources many times, and a folder of labels may be large.
        labels = [name for name in self._label_names if name is not None]
        return label_digest(self._labels, labels)


def _stem(name: str) -> str:
    return pathlib.PurePosixPath(name).with_suffix("").as_posix()


def by_stem(root: pathlib.Path, names: Iterable[str]) -> dict[str, str]:
    """{relative path without its suffix: relative path}.

    Raises:
        UserError: two names differ in their suffix alone.
    """
    found: dict[str, str] = {}
    for name in names:
        other = found.setdefault(_stem(name), name)
        if other != name:
            raise UserError(f"{root} holds both {other} and {name}: which one is meant?")
    return found
