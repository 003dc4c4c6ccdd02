"""Images that are files below a folder: alone, or with label files of the same names."""

import abc
import array
import functools
import pathlib
import posixpath
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from must_keras.data.io import folders
from must_keras.data.io.images import read_image, upright_size
from must_keras.data.io.notices import NO_AREA, Notes, Notices
from must_keras.data.io.pixel_bits import check_bits
from must_keras.data.names import ImageFinder, by_stem, check_inside
from must_keras.data.sources.source import LabelSpace, Source, Stored, objects, spaces
from must_keras.errors import Path, UserError

# 2: the bits that a TIFF states are read.
_TIFF_VERSION = 2


class ImageFiles(Source):
    """Images by their relative paths, which are their ids; a subclass returns the labels.

    Args:
        name: of the source.
        root: the images' folder.
        files: relative paths, in the order of the indices.
        label_spaces: see Source.
        bits: see images.read_image.

    Attributes:
        notices: of its files, each reported once.

    Raises:
        UserError: a path leads out of the folder, or `bits` is no number of bits.

    Example:
        class Portraits(ImageFiles):
            def labels(self, index):
                return {"person": class_label(int(self.image_id(index)[0]), 10)}

        Portraits(name="portraits", root="photos", files=["0_a.jpg", "1_b.jpg"],
                  label_spaces={"person": LabelSpace("classes", tuple("0123456789"))})
    """

    searches_root: ClassVar[bool] = False
    """Whether all of the folder is searched for images."""

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        files: Sequence[str],
        label_spaces: Mapping[str, LabelSpace],
        bits: int | None = None,
    ):
        check_inside(files, f"source {name!r}")
        check_bits(f"source {name!r}", bits)
        self.name, self.label_spaces = name, label_spaces
        self.notices, self._bits = Notices(f"source {name!r}"), bits
        self._root, self._files = pathlib.Path(root), files
        self._has_stated_size: set[int] = set()

    def __len__(self) -> int:
        return len(self._files)

    def image_id(self, index: int) -> str:
        return self._files[index]

    def file(self, index: int) -> pathlib.Path:
        return self._root / self._files[index]

    def folders(self) -> frozenset[pathlib.Path]:
        below = {posixpath.dirname(file) for file in self._files}
        below |= {""} if self.searches_root else set()
        return frozenset(self._root / folder for folder in below)

    def image(self, index: int) -> np.ndarray:
        self.check_size(index)
        return read_image(self.file(index), bits=self._bits, notices=self.notices)

    def describe(self) -> dict[str, Any]:
        named = {"name": self.name, "label_spaces": self.label_spaces}
        return named | self._content | self.describe_reading()

    @functools.cached_property
    def _content(self) -> dict[str, Any]:
        # Cached: a run describes its sources many times, and a million files take many seconds.
        return self.describe_content()

    def describe_content(self) -> dict[str, Any]:
        """Return digests of the images and the label files; computed once."""
        return {"files": folders.content_digest(self._root, self._files)}

    def describe_reading(self, ids: Sequence[str] | None = None) -> dict[str, Any]:
        found = {} if self._bits is None else {"bits": self._bits}
        names = self._files if ids is None else ids
        is_tiff = any(name.lower().endswith((".tif", ".tiff")) for name in names)
        return found | ({"tiff": _TIFF_VERSION} if is_tiff else {})

    def stated_size(self, index: int) -> tuple[tuple[int, int], pathlib.Path] | None:
        """Return the (height, width) of an image in its annotation file, and that file, or None."""
        return None

    def check_size(self, index: int) -> None:
        """Check once that an image is as large as stated: boxes are fractions of that size.

        Raises:
            UserError: it is not; or it cannot be read.
        """
        stated = None if index in self._has_stated_size else self.stated_size(index)
        if stated is None:
            return
        file, (size, where) = self.file(index), stated
        found = upright_size(file)
        if found != tuple(size):
            raise UserError(
                f"{file} is {found[1]}x{found[0]} pixels upright, "
                f"{where} has {size[1]}x{size[0]} (width x height){_frame_hint(found, size)}"
            )
        self._has_stated_size.add(index)

    def check_label_size(self, index: int, label: np.ndarray, path: pathlib.Path) -> None:
        """Raise UserError where a map of labels, [h, w, ...], differs in size from its image."""
        expected, (height, width) = upright_size(self.file(index)), label.shape[:2]
        if (height, width) != expected:
            raise UserError(
                f"{path} is {width}x{height} pixels, its image {self.file(index)} is "
                f"{expected[1]}x{expected[0]} (width x height, upright)"
                f"{_frame_hint(expected, (height, width))}"
            )


def _frame_hint(upright: tuple[int, int], labeled: tuple[int, int]) -> str:
    """Return what to do where labels are of an image on its side; "" for other sizes.

    All labels are read in the frame of the upright image, with its EXIF orientation applied.

    Args:
        upright: (height, width) of the upright image.
        labeled: (height, width) according to its labels.
    """
    if upright != (labeled[1], labeled[0]):
        return ""
    return (
        "; labels are read in the frame of the upright image (EXIF orientation applied): if these "
        "are in the frame of the pixels as stored, remove the orientation from the image "
        "(exiftool -Orientation= FILE) or turn the labels"
    )


class BoxTable:
    """The boxes of a source's images in arrays: added in any order, kept by image.

    Args:
        typecode: of `array.array`, in which corners are stored: "f" or "d".
        sizes: (height, width) of each image in pixels, to which boxes are cut.

    Attributes:
        notes: count the boxes that are left out, and other facts of the annotations.
        boxes: [N, 4] (ymin, xmin, ymax, xmax) in pixels, once they are sorted.

    Example:
        table = BoxTable("d", [(4, 8)])
        table.add(0, (1, 1, 5, 9), "box 1", index=0, ignore=False)  # True: cut to (1, 1, 4, 8)
        table.sort()
        objects(**table.columns(0))
    """

    def __init__(self, typecode: str, sizes: Sequence[Sequence[int] | None]):
        self._sizes, self.notes = sizes, Notes()
        self._places, self._classes = array.array("q"), array.array("i")
        self._corners, self._ignore = array.array(typecode), bytearray()

    def add(
        self, place: int, corners: Sequence[float], where: str, *, index: int, ignore: bool
    ) -> bool:
        """Add a box cut to its image; return whether it has an area, without which it is left out.

        Args:
            place: of the image.
            corners: (ymin, xmin, ymax, xmax) in pixels.
            where: names the box, or its file, for the notes.
            index: of the class.
            ignore: whether the box is an ignored region.
        """
        (ymin, xmin, ymax, xmax), (height, width) = corners, self._sizes[place]
        cut = (max(ymin, 0.0), max(xmin, 0.0), min(ymax, height), min(xmax, width))
        # Two numbers that differ may be equal as stored.
        cut = array.array(self._corners.typecode, cut)
        if cut[2] <= cut[0] or cut[3] <= cut[1]:
            self.notes.add(NO_AREA, where)
            return False
        self._places.append(place)
        self._corners.extend(cut)
        self._classes.append(index)
        self._ignore.append(ignore)
        return True

    def sort(self) -> np.ndarray:
        """Order the rows by image, once all are added.

        Returns:
            [N] the former place of each row, for what belongs to the rows elsewhere.
        """
        places = np.array(self._places, np.int64)
        order = np.argsort(places, kind="stable")
        counts = np.bincount(places, minlength=len(self._sizes))
        self._firsts = np.concatenate([[0], np.cumsum(counts)])
        self.boxes = np.array(self._corners).reshape(-1, 4)[order]
        self._sorted_classes = np.array(self._classes, np.int32)[order]
        self._sorted_ignore = np.array(self._ignore, bool)[order]
        del self._places, self._corners, self._classes, self._ignore
        return order

    def rows(self, place: int) -> slice:
        """Return the rows of an image, in the order in which they were added."""
        return slice(self._firsts[place], self._firsts[place + 1])

    def columns(self, place: int) -> Stored:
        """Return the arguments of `objects` for an image."""
        rows, (height, width) = self.rows(place), self._sizes[place]
        return {
            "boxes": self.boxes[rows] / (height, width, height, width),
            "classes": self._sorted_classes[rows],
            "ignore": self._sorted_ignore[rows],
        }


class BoxFiles(ImageFiles):
    """Images with boxes in annotation files; a subclass fills `_table`.

    Attributes:
        num_dropped: boxes without an area.

    Example:
        class Plates(BoxFiles):
            def __init__(self, root, boxes):
                super().__init__(name="plates", root=root, files=["a.jpg"],
                                 label_spaces={"plates": LabelSpace("boxes", ("plate",))})
                self._table = BoxTable("f", [upright_size(self.file(0))])
                for corners in boxes:
                    self._table.add(0, corners, "a.jpg", index=0, ignore=False)
                self._table.sort()
    """

    _table: BoxTable

    @property
    def num_dropped(self) -> int:
        return self._table.notes.counts[NO_AREA]

    def labels(self, index: int) -> dict[str, Stored]:
        self.check_size(index)
        if not self.label_spaces:
            return {}
        label = objects(**self._table.columns(index), **self.masks_and_scores(index))
        return dict.fromkeys(self.label_spaces, label)

    def masks_and_scores(self, index: int) -> dict[str, Any]:
        """Return further arguments of `objects` for an image."""
        return {}


class ImagesOnly(ImageFiles):
    """The pictures of a folder and of the folders in it, sorted by path: a pool without labels.

    Args:
        name: of the source.
        root: the folder.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Raises:
        UserError: there is no such folder, or no picture in it.

    Example:
        mk.Pool(source=mk.ImagesOnly(name="photos", root="photos"))
    """

    searches_root = True

    def __init__(self, *, name: str, root: Path, bits: int | None = None):
        files = folders.picture_files(root)
        super().__init__(name=name, root=root, files=files, label_spaces={}, bits=bits)

    def labels(self, index: int) -> dict[str, Stored]:
        return {}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name} | self._content | self.describe_reading()


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
        head: the head that they label; default: the source's name; None: images alone.
        space: the label space.
        bits: see images.read_image.

    Raises:
        UserError: a folder is empty or absent, a label has no image, or a name is there twice.

    Example:
        class Heights(PairedFolders):
            label_key, label_suffixes = "depth", (".npy",)

            def read_label(self, path):
                return np.load(path).astype("float32")

        Heights(name="far", images="rgb", labels="heights", head="far", space=LabelSpace("metric"))
    """

    searches_root = True
    label_key: ClassVar[str]
    """The part of a stored label that a file contains."""
    label_suffixes: ClassVar[tuple[str, ...]] = folders.SUFFIXES
    """Suffixes of the label files."""

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        labels: Path,
        head: str | None = "",
        space: LabelSpace,
        bits: int | None = None,
    ):
        root, self._label_folder = folders.existing_folder(images), folders.existing_folder(labels)
        files = folders.picture_files(root)
        super().__init__(
            name=name,
            root=root,
            files=files,
            label_spaces=spaces(head, space, name=name),
            bits=bits,
        )
        label_files = folders.picture_files(labels, self.label_suffixes)
        label_names = by_stem(self._label_folder, label_files)
        finder = ImageFinder(root, files)
        found: dict[str, str] = {}
        for key, label in label_names.items():
            image = finder.of_stem(key)
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
        """Return the label in a file: [h, w, ...].

        Raises:
            UserError: it cannot be read, or has a value without a meaning.
        """

    def labels(self, index: int) -> dict[str, Stored]:
        name = self._label_names[index]
        if name is None or not self.label_spaces:
            return {}
        label = self.read_label(self._label_folder / name)
        self.check_label_size(index, label, self._label_folder / name)
        return {head: {self.label_key: label} for head in self.label_spaces}

    def labeled_heads(self, index: int) -> Collection[str]:
        return () if self._label_names[index] is None else self.label_spaces.keys()

    def folders(self) -> frozenset[pathlib.Path]:
        return super().folders() | {self._label_folder}

    def describe_content(self) -> dict[str, Any]:
        labels = [name for name in self._label_names if name is not None]
        return {
            "images": folders.content_digest(self._root, self._files),
            "labels": folders.label_digest(self._label_folder, labels),
        }
