"""A folder of images for every class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.data.folders import (
    SUFFIXES,
    Path,
    content_digest,
    existing_folder,
    picture_files,
)
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.data.stored import class_label
from must_keras.errors import UserError


class FolderPerClass(ImageFiles):
    """Images for classification: <root>/<class>/.../x.jpg, sorted by path.

    Args:
        name: of the source.
        root: the folder of the classes' folders.
        head: the head that its classes label; None: images alone.
        classes: names in the order of the indices, folders or not; None: the folders, sorted. Give
            them where a set may lack a class that another split has.

    Raises:
        UserError: a class's folder holds no picture, a picture is in none, or a folder is no
            class.
    """

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        head: str | None,
        classes: Sequence[str] | None = None,
    ):
        root = existing_folder(root)
        files = picture_files(root)
        for file in files:
            if "/" not in file:
                raise UserError(f"{root / file} is in no class's folder")
        folders = [file.split("/")[0] for file in files]
        there = {p.name for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")}
        for folder in sorted(there - set(folders)) if classes is None else ():
            raise UserError(f"{root / folder} holds no picture ({', '.join(SUFFIXES)})")
        names = tuple(sorted(set(folders)) if classes is None else classes)
        indices = {class_name: index for index, class_name in enumerate(names)}
        for folder in folders:
            if folder not in indices:
                raise UserError(
                    f"{root / folder} is not one of the {len(names)} classes: "
                    f"{', '.join(names[:10])}{', ...' if len(names) > 10 else ''}"
                )
        self._classes = np.array([indices[folder] for folder in folders], np.int32)
        label_spaces = spaces(head, LabelSpace("classes", names))
        super().__init__(name=name, root=root, files=files, label_spaces=label_spaces)

    def labels(self, index: int) -> dict[str, Stored]:
        return {
            head: class_label(int(self._classes[index]), len(space.classes))
            for head, space in self.label_spaces.items()
        }

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "files": content_digest(self._root, self._files),
        }
