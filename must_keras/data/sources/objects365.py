"""Objects365: two million photos with boxes, in folders that are called patches."""

import array
import os
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.data.io.annotation_fields import NO_AREA, Categories, Entry, Notes, streamed_entries
from must_keras.data.io.folders import Path, existing_folder
from must_keras.data.io.images import upright_size
from must_keras.data.names import check_inside
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.data.stored import objects, rows_by_image
from must_keras.errors import UserError
from must_keras.files import file_sha256

_KINDS = {"images": "image", "categories": "category", "annotations": "annotation"}


class Objects365(ImageFiles):
    """The images of an annotation file of Objects365's second release (2020), in its order.

    The file is like COCO's, without masks, and too large for COCO's way of reading it (25 million
    boxes): it is read element by element, which takes some minutes at every start, and 19 bytes a
    box are kept. An image "images/v1/patch8/x.jpg" of the file lies in <images>/patch8/x.jpg, as
    the archives unpack, or in <images>/images/v1/patch8/x.jpg. Absent images, of patches that
    nobody downloaded or those that the archives lack, are left out and counted.

    Classes are the categories in the order of their ids. Crowds are ignored regions; "isfake" and
    "isreflected" are not read. Boxes are cut to the image; those without an area are dropped
    and counted.

    Frame: boxes are of the upright image, whose size the file has to give.

    Args:
        name: of the source.
        images: the folder of the patches.
        annotations: the JSON file.
        head: the head that the boxes label; None for images alone.

    Attributes:
        num_absent: images of the file that are not in the folder.
        num_dropped: boxes without an area.

    Raises:
        UserError: the file is not readable or does not fit the images.

    Example:
        Objects365(name="objects365", images="train", annotations="zhiyuan_objv2_train.json",
                   head="objects")
    """

    def __init__(self, *, name: str, images: Path, annotations: Path, head: str | None):
        root, self._path = existing_folder(images), pathlib.Path(annotations)
        found = _Found(self._path)
        for key, entry in streamed_entries(self._path, _KINDS):
            found.take(key, entry)
        classes = found.class_names()
        check_inside(found.files, self._path)
        files = _Patches(root).find(found.files)
        there = np.array([file is not None for file in files], bool)
        self.num_absent = int((~there).sum())
        if self.num_absent == len(files):
            raise UserError(
                f"none of the {len(files)} images of {self._path} is in {root}: expected "
                f"{root}/{_patch_and_name(found.files[0]) if files else 'patch0/*.jpg'}"
            )
        if self.num_absent:
            print(
                f"warning: {self.num_absent} of {len(files)} images of {self._path} are not in "
                f"{root} and are left out; the first is {found.files[int(there.argmin())]}",
                file=sys.stderr,
            )
        self._keep(found, there, root, files)
        image_files = [file for file in files if file is not None]
        label_spaces = spaces(head, LabelSpace("boxes", classes))
        super().__init__(name=name, root=root, files=image_files, label_spaces=label_spaces)

    def _keep(
        self, found: "_Found", there: np.ndarray, root: pathlib.Path, files: Sequence[str | None]
    ) -> None:
        """Keep the boxes of the images that are there, by image."""
        places, boxes, classes, crowds = found.boxes()
        sizes = np.array(found.sizes, np.int32).reshape(-1, 2)
        for place in np.flatnonzero((sizes[:, 0] == 0) & there):
            sizes[place] = upright_size(root / files[place])
        self._sizes = sizes[there]
        new_place = np.where(there, np.cumsum(there) - 1, -1)
        limits = sizes[places][:, [0, 1, 0, 1]].astype(np.float32)
        boxes = np.clip(boxes, 0.0, limits)
        has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        dropped = np.flatnonzero(~has_area & there[places])
        self.num_dropped = len(dropped)
        if self.num_dropped:
            notes = Notes()
            notes.add(NO_AREA, found.files[places[dropped[0]]], count=self.num_dropped)
            notes.warn(self._path)
        kept = np.flatnonzero(has_area & there[places])
        order, self._firsts = rows_by_image(new_place[places[kept]], len(self._sizes))
        order = kept[order]
        self._boxes, self._classes = boxes[order], classes[order]
        self._crowds = crowds[order]

    def stated_size(self, index: int) -> tuple[tuple[int, int], pathlib.Path]:
        return tuple(self._sizes[index].tolist()), self._path

    def labels(self, index: int) -> dict[str, Stored]:
        self.check_size(index)
        part = slice(self._firsts[index], self._firsts[index + 1])
        height, width = self._sizes[index].tolist()
        label = objects(
            boxes=self._boxes[part] / (height, width, height, width),
            classes=self._classes[part],
            ignore=self._crowds[part],
        )
        return dict.fromkeys(self.label_spaces, label)

    def describe_content(self) -> dict[str, str]:
        return {"annotations": file_sha256(self._path)} | super().describe_content()


class _Found:
    """The content of an annotation file in arrays."""

    def __init__(self, path: pathlib.Path) -> None:
        self.files: list[str] = []
        self.sizes = array.array("i")
        self._path = path
        self._ids = array.array("q")
        self._categories = Categories()
        self._of_image, self._of_category = array.array("q"), array.array("q")
        self._corners, self._crowds = array.array("f"), array.array("b")

    def take(self, key: str, entry: Entry) -> None:
        """Add an entry of one of the file's lists.

        Raises:
            UserError: a field of it is absent or of another kind.
        """
        if key == "images":
            self._ids.append(entry.integer("id"))
            self.files.append(entry.text("file_name"))
            # (0, 0) until the image's own size is known.
            self.sizes.extend(entry.size() or (0, 0))
        elif key == "categories":
            self._categories.add(entry.integer("id"), entry)
        else:
            box = entry.box()
            if box is None:
                raise entry.wrong("bbox", "[x, y, width, height]")
            x, y, width, height = box
            self._of_image.append(entry.integer("image_id"))
            self._of_category.append(entry.integer("category_id"))
            self._corners.extend((y, x, y + height, x + width))
            self._crowds.append(entry.flag("iscrowd"))

    def class_names(self) -> tuple[str, ...]:
        """Return the classes' names in the order of the categories' ids."""
        if not self.files:
            raise UserError.at(self._path, "lists no image: a list 'images' is expected")
        if not self._categories.names:
            raise UserError.at(self._path, "has no 'categories': at least one is expected")
        ids, counts = np.unique(np.array(self._ids, np.int64), return_counts=True)
        if counts.max() > 1:
            raise UserError(
                f"{self._path}: {counts.max()} images have the id {ids[counts.argmax()]}, "
                "different ids are expected"
            )
        return self._categories.classes

    def boxes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return [N] positions of the images, [N, 4] corners in pixels, [N] classes, [N] is crowd.

        Raises:
            UserError: an object is of an image or a category that is not listed.
        """
        places = self._places(self._ids, self._of_image, "image")
        classes = self._places(self._categories.ids, self._of_category, "category")
        corners = np.array(self._corners, np.float32).reshape(-1, 4)
        return places, corners, classes.astype(np.uint16), np.array(self._crowds, bool)

    def _places(self, known: Any, asked: Any, what: str) -> np.ndarray:
        """Return the position of each of `asked` in `known`."""
        known, asked = np.array(known, np.int64), np.array(asked, np.int64)
        order = np.argsort(known)
        found = order[np.minimum(np.searchsorted(known, asked, sorter=order), len(known) - 1)]
        wrong = np.flatnonzero(known[found] != asked)
        if wrong.size:
            raise UserError(
                f"{self._path}: annotation at position {wrong[0]} is of {what} {asked[wrong[0]]}, "
                "which is not listed"
            )
        return found


class _Patches:
    """The files of the patches' folders; each folder is listed once."""

    def __init__(self, root: pathlib.Path):
        self._root = root
        self._names: dict[str, frozenset[str]] = {}

    def find(self, files: list[str]) -> list[str | None]:
        """Return the path of each image below the folder; None for absent ones."""
        return [self._find(file) for file in files]

    def _find(self, file: str) -> str | None:
        for place in (_patch_and_name(file), file):
            folder, _, name = place.rpartition("/")
            if name in self._listed(folder):
                return place
        return None

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            try:
                names = frozenset(os.listdir(self._root / folder))
            except (FileNotFoundError, NotADirectoryError):
                names = frozenset()
            self._names[folder] = names
        return self._names[folder]


def _patch_and_name(file: str) -> str:
    return "/".join(file.split("/")[-2:])
