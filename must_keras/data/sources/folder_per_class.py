"""A folder of images for every class."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.data import names
from must_keras.data.io.folders import Path, existing_folder, picture_files
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.data.stored import class_label
from must_keras.errors import UserError, check_classes


class FolderPerClass(ImageFiles):
    """Images for classification: <root>/<class>/.../x.jpg, sorted by path.

    Names are compared as people read them: see `names.as_read`.

    Args:
        name: of the source.
        root: the folder of the classes' folders.
        head: the head that its classes label; None: images alone.
        classes: names in the order of the indices, folders or not; None: the folders, sorted. Give
            them where a set may lack a class that another split has.
        bits: that pixels of more than 8 bits use; see images.read_image.

    Raises:
        UserError: a class's folder holds no picture, a picture is in none, or a folder is no
            class, or reads like another.
    """

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        head: str | None,
        classes: Sequence[str] | None = None,
        bits: int | None = None,
    ):
        if classes is not None:
            check_classes(f"source {name!r}", classes)
        root = existing_folder(root)
        files = picture_files(root)
        for file in files:
            if "/" not in file:
                raise UserError(f"{root / file} is in no class's folder")
        folders = [file.split("/")[0] for file in files]
        there = {
            p.name
            for p in root.iterdir()
            if not p.name.startswith(".") and p.is_dir() and names.is_text(p.name)
        }
        for folder in sorted(there - set(folders)) if classes is None else ():
            raise UserError(f"{root / folder} holds no picture")
        same = names.ambiguous(sorted(set(folders)))
        if same is not None:
            raise UserError(
                f"{root} holds the folders {names.shown(same[0])} and {names.shown(same[1])}, "
                "which read the same: rename one of them, or put their images together"
            )
        class_names = tuple(sorted(set(folders)) if classes is None else classes)
        known = names.Names(class_names)
        indices: dict[str, int] = {}
        for folder in dict.fromkeys(folders):
            found = known.index_in(folder, class_names)
            if found is None:
                raise UserError(
                    f"{root / folder} is not one of the {len(class_names)} classes: "
                    f"{', '.join(class_names[:10])}{', ...' if len(class_names) > 10 else ''}"
                )
            indices[folder] = found
        self._classes = np.array([indices[folder] for folder in folders], np.int32)
        label_spaces = spaces(head, LabelSpace("classes", class_names))
        super().__init__(name=name, root=root, files=files, label_spaces=label_spaces, bits=bits)

    def labels(self, index: int) -> dict[str, Stored]:
        return {
            head: class_label(int(self._classes[index]), len(space.classes))
            for head, space in self.label_spaces.items()
        }

    def folders(self) -> frozenset[pathlib.Path]:
        return super().folders() | {self._root}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "files": self._image_digest,
        } | self.describe_reading()
