"""Images with tags: a folder for every tag, and an image in each of those that it has."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.data import names
from must_keras.data.io.folders import Path, existing_folder, picture_files
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.errors import UserError, check_classes, nearest
from must_keras.files import list_sha256

# Bytes by which two files of one name and size are compared.
_COMPARED_BYTES = 65536


class FolderPerTag(ImageFiles):
    """Images with tags: <root>/<tag>/.../x.jpg, the same file below each tag that the image has.

    As photo managers export them: a copy, or a link, in the folder of every tag. Files below
    several folders with the same path there ("beach/2019/1.jpg" and "people/2019/1.jpg") are one
    image, whose id is the path of the first. It has the tags of its folders, and none of the
    others. Where folders name combinations of tags, as "beach+people", make a table for CsvTags.

    Args:
        name: of the source.
        root: the folder of the tags' folders.
        head: the head that the tags label; default: the source's name; None: images alone.
        classes: names of the tags in the order of the indices; None: the folders, sorted.
        no_tag: name of the folder of images that have none of the tags; "": there is none.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Raises:
        UserError: a picture is in no tag's folder; a folder is no tag; or two files of one name
            differ, so that they are two images.

    Example:
        mk.FolderPerTag(name="scene", root="photos")
    """

    searches_root = True

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        head: str | None = "",
        classes: Sequence[str] | None = None,
        no_tag: str = "",
        bits: int | None = None,
    ):
        if classes is not None:
            check_classes(f"source {name!r}", classes)
        root = existing_folder(root)
        folders_of: dict[str, list[str]] = {}
        for file in picture_files(root):
            folder, slash, rest = file.partition("/")
            if not slash:
                raise UserError(f"{root / file} is in no tag's folder")
            folders_of.setdefault(rest, []).append(folder)
        found = sorted({folder for folders in folders_of.values() for folder in folders})
        same = names.ambiguous(found)
        if same is not None:
            raise UserError(
                f"{root} has the folders {same[0]!a} and {same[1]!a}, which read the same: rename "
                "one of them, or put their images together"
            )
        tags = [folder for folder in found if folder != no_tag]
        classes = tuple(tags if classes is None else classes)
        if not classes:
            raise UserError(f"{root} has no folder of a tag beside {no_tag!r}")
        indices = _indices(root, tags, classes)
        files, self._has = [], {}
        for rest, folders in folders_of.items():
            _check_equal(root, rest, folders)
            if no_tag in folders and len(folders) > 1:
                other = next(folder for folder in folders if folder != no_tag)
                raise UserError(
                    f"{root / no_tag / rest} is in {root / other}, too: no_tag={no_tag!r} is for "
                    "images without a tag; delete one of the two"
                )
            file = f"{folders[0]}/{rest}"
            files.append(file)
            self._has[file] = [indices[folder] for folder in folders if folder != no_tag]
        label_spaces = spaces(head, LabelSpace("tags", classes), name=name)
        self._number = len(classes)
        super().__init__(
            name=name, root=root, files=sorted(files), label_spaces=label_spaces, bits=bits
        )

    def labels(self, index: int) -> dict[str, Stored]:
        has = np.zeros(self._number, np.float32)
        has[self._has[self._files[index]]] = 1.0
        return {head: {"tags": has} for head in self.label_spaces}

    def describe_content(self) -> dict[str, Any]:
        tags = list_sha256([file, self._has[file]] for file in self._files)
        return super().describe_content() | {"labels": tags[:16]}


def _indices(root: pathlib.Path, tags: Sequence[str], classes: Sequence[str]) -> Mapping[str, int]:
    """Return {folder: index of its tag}.

    Raises:
        UserError: a folder is no tag.
    """
    known, found = names.Names(classes), {}
    for folder in tags:
        index = known.index_in(folder, classes)
        if index is None:
            raise UserError(f"{root / folder} is the folder of no tag; {nearest(folder, classes)}")
        found[folder] = index
    return found


def _check_equal(root: pathlib.Path, rest: str, folders: Sequence[str]) -> None:
    """Raise UserError where files of one path below several folders are not one image."""
    first, *others = (root / folder / rest for folder in folders)
    for other in others:
        if os.path.samefile(first, other):
            continue
        if first.stat().st_size != other.stat().st_size or _head(first) != _head(other):
            raise UserError(
                f"{first} and {other} differ: files of one name are one image with several tags. "
                "Rename one of them; where each image has one class, take FolderPerClass"
            )


def _head(path: pathlib.Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(_COMPARED_BYTES)
