"""Images with annotation files like COCO's that are too large to be read as a whole.

COCO's panoptic annotation, and Objects365: their files are read element by element.
"""

import array
import collections
import dataclasses
import functools
import os
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from must_keras.data.io.annotation_fields import Categories, Entry, entries, streamed_entries
from must_keras.data.io.folders import Path, existing_folder, label_digest
from must_keras.data.io.images import read_triples, upright_size
from must_keras.data.io.map_codes import looked_up
from must_keras.data.names import FileFinder, check_inside
from must_keras.data.sources.image_files import BoxFiles, BoxTable, ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.errors import UserError, warn
from must_keras.files import file_sha256
from must_keras.tasks.segmentation import IGNORE

# Of a number in three bytes.
_MAX_SEGMENT = 2**24 - 1


@dataclasses.dataclass(slots=True)
class _Picture:
    file: str
    size: tuple[int, int] | None  # (height, width), where the file has it
    map_file: str | None = None
    # The numbers of its segments, and their classes.
    segments: array.array = dataclasses.field(default_factory=lambda: array.array("i"))
    classes: array.array = dataclasses.field(default_factory=lambda: array.array("B"))


class CocoPanoptic(ImageFiles):
    """The images of a panoptic annotation file of COCO, in its order.

    A PNG has the number of a segment for every pixel, R + 256 G + 256^2 B, and the JSON file the
    category of each segment ("segments_info"); see panopticapi, and Kirillov et al., arXiv
    1801.00868. Segment 0 is void: ignored. Crowds keep their class, because objects are not told
    apart here. Classes are the categories in the order of their ids, things and stuff:
    133 in COCO 2017.

    Frame: maps are of the upright image, whose size they have to give; so is the file's size, if it
    has one. A map with an EXIF orientation of its own is refused.

    Args:
        name: of the source.
        images: the folder of the images' "file_name": train2017.
        maps: the folder of the annotations' "file_name": panoptic_train2017, unpacked.
        annotations: the JSON file: panoptic_train2017.json.
        head: the head that the maps label; default: the source's name; None: images alone.

    Raises:
        UserError: a file is not readable, does not fit the others, or has more than 255 classes.

    Example:
        mk.CocoPanoptic(name="coco", images="train2017", maps="panoptic_train2017",
                        annotations="panoptic_train2017.json", head="segments")
    """

    def __init__(
        self, *, name: str, images: Path, maps: Path, annotations: Path, head: str | None = ""
    ):
        root, self._maps = existing_folder(images), existing_folder(maps)
        self._path = pathlib.Path(annotations)
        pictures = _pictures(self._path, root)
        categories = _categories(self._path)
        number = len(categories.names)
        if not 1 <= number <= IGNORE:
            raise UserError.at(self._path, f"has {number} 'categories', expected 1 to {IGNORE}")
        finder, indices = FileFinder(self._maps), categories.indices
        for entry in streamed_entries(self._path, "annotations", "map"):
            picture = entry.one_of(pictures, "image")
            if picture.map_file is not None:
                own = entry.key("image_id")
                raise entry.error(f"is of image {own!r}, which has the map {picture.map_file}")
            picture.map_file = entry.file(finder, self._maps)
            _take_segments(picture, entry, indices)
        self._pictures = list(pictures.values())
        files = [picture.file for picture in self._pictures]
        label_spaces = spaces(head, LabelSpace("map", categories.classes), name=name)
        super().__init__(name=name, root=root, files=files, label_spaces=label_spaces)

    def stated_size(self, index: int) -> tuple[tuple[int, int], pathlib.Path] | None:
        size = self._pictures[index].size
        return None if size is None else (size, self._path)

    def labels(self, index: int) -> dict[str, Stored]:
        picture = self._pictures[index]
        if picture.map_file is None or not self.label_spaces:
            return {}
        self.check_size(index)
        path = self._maps / picture.map_file
        pixels = read_triples(path)
        self.check_label_size(index, pixels, path)
        label = {"map": self._classes(pixels, picture, path)}
        return dict.fromkeys(self.label_spaces, label)

    def _classes(self, pixels: np.ndarray, picture: _Picture, path: pathlib.Path) -> np.ndarray:
        """Return the classes, [h, w] uint8, of segments' colors, [h, w, 3]."""
        numbers = pixels @ np.array([1, 2**8, 2**16])
        segments, classes = [0, *picture.segments], [IGNORE, *picture.classes]
        found, unknown = looked_up(numbers, segments, classes)
        if unknown.any():
            number = numbers[unknown].flat[0]
            raise UserError(
                f"{path} has segment {number} ({np.sum(numbers == number)} pixels), which is not "
                f"in its 'segments_info' in {self._path}"
            )
        return found

    def describe_content(self) -> dict[str, str]:
        maps = [p.map_file for p in self._pictures if p.map_file is not None]
        annotations = {"annotations": file_sha256(self._path)}
        return annotations | super().describe_content() | {"maps": label_digest(self._maps, maps)}


def _categories(path: pathlib.Path) -> Categories:
    return Categories(streamed_entries(path, "categories", "category"), Entry.integer)


def _listed_images(path: pathlib.Path) -> Iterator[Entry]:
    """Yield the entries of the images, of which there is at least one."""
    entry = None
    for entry in streamed_entries(path, "images", "image"):
        yield entry
    if entry is None:
        raise UserError.at(path, "lists no image: a list 'images' is expected")


def _pictures(path: pathlib.Path, root: pathlib.Path) -> dict[int | str, _Picture]:
    """Return {image id: picture without a map}."""
    pictures: dict[int | str, _Picture] = {}
    finder = FileFinder(root)
    for entry in _listed_images(path):
        own = entry.key("id")
        if own in pictures:
            raise entry.error("is listed twice: another image has its id")
        pictures[own] = _Picture(entry.file(finder, root), entry.size())
    return pictures


def _take_segments(picture: _Picture, entry: Entry, indices: Mapping[int | str, int]) -> None:
    """Add the segments of an annotation to its picture."""
    infos = entry.items("segments_info", 'a list of {"id", "category_id"}')
    where = f"segment of {picture.map_file}"
    for info in entries(entry.where, where, infos):
        picture.segments.append(info.integer("id", 1, _MAX_SEGMENT))
        picture.classes.append(info.one_of(indices, "category"))
    if len(set(picture.segments)) < len(infos):
        twice = next(n for n, count in collections.Counter(picture.segments).items() if count > 1)
        raise entry.error(f"has two segments {twice}: different numbers are expected")


class Objects365(BoxFiles):
    """The images of an annotation file of Objects365's second release (2020), in its order.

    The file is like COCO's, without masks, and too large for COCO's way of reading it (25 million
    boxes): it is read element by element, which takes some minutes at every start, and 21 bytes a
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
        head: the head that the boxes label; default: the source's name; None: images alone.

    Attributes:
        num_absent: images of the file that are not in the folder.
        num_dropped: boxes without an area.

    Raises:
        UserError: the file is not readable or does not fit the images.

    Example:
        Objects365(name="objects365", images="train", annotations="zhiyuan_objv2_train.json",
                   head="objects")
    """

    def __init__(self, *, name: str, images: Path, annotations: Path, head: str | None = ""):
        root, self._path = existing_folder(images), pathlib.Path(annotations)
        ids, written, sizes = array.array("q"), [], []
        # Millions of images have a few thousand sizes: each is kept once.
        kept_size: dict[tuple[int, int] | None, tuple[int, int] | None] = {}
        for entry in _listed_images(self._path):
            ids.append(entry.integer("id"))
            written.append(entry.text("file_name"))
            size = entry.size()
            sizes.append(kept_size.setdefault(size, size))
        categories = _categories(self._path)
        if not categories.names:
            raise UserError.at(self._path, "has no 'categories': at least one is expected")
        twice, count = collections.Counter(ids).most_common(1)[0]
        if count > 1:
            raise UserError(
                f"{self._path}: {count} images have the id {twice}, different ids are expected"
            )
        check_inside(written, self._path)
        files = _in_patches(root, written)
        kept = [i for i, file in enumerate(files) if file is not None]
        self.num_absent = len(files) - len(kept)
        if not kept:
            raise UserError(
                f"none of the {len(files)} images of {self._path} is in {root}: expected "
                f"{root}/{_patch_and_name(written[0])}"
            )
        if self.num_absent:
            warn(
                f"{self.num_absent} of {len(files)} images of {self._path} are not in {root} and "
                f"are left out; the first is {written[files.index(None)]}"
            )
        image_files = [files[i] for i in kept]
        self._sizes = [sizes[i] or upright_size(root / files[i]) for i in kept]
        places = dict.fromkeys(ids, -1) | {ids[i]: place for place, i in enumerate(kept)}
        self._read_boxes(places, categories.indices, [written[i] for i in kept])
        label_spaces = spaces(head, LabelSpace("boxes", categories.classes), name=name)
        super().__init__(name=name, root=root, files=image_files, label_spaces=label_spaces)

    def _read_boxes(
        self, places: Mapping[int, int], indices: Mapping[int | str, int], files: Sequence[str]
    ) -> None:
        """Read the boxes of the images that are there; a place of -1 is that of another."""
        self._table = BoxTable("f", self._sizes)
        for entry in streamed_entries(self._path, "annotations", "annotation"):
            place, index = entry.one_of(places, "image"), entry.one_of(indices, "category")
            box, is_crowd = entry.box(), entry.flag("iscrowd")
            if box is None:
                raise entry.wrong("bbox", "[x, y, width, height]")
            if place < 0:
                continue
            x, y, width, height = box
            corners = (y, x, y + height, x + width)
            self._table.add(place, corners, files[place], index=index, ignore=is_crowd)
        self._table.sort()
        self._table.notes.warn(self._path)

    def stated_size(self, index: int) -> tuple[tuple[int, int], pathlib.Path]:
        return self._sizes[index], self._path

    def describe_content(self) -> dict[str, str]:
        return {"annotations": file_sha256(self._path)} | super().describe_content()


def _in_patches(root: pathlib.Path, files: Sequence[str]) -> list[str | None]:
    """Return the path of each image below the folder; None for absent ones."""

    # Each folder of a patch is listed once.
    @functools.cache
    def listed(folder: str) -> frozenset[str]:
        try:
            return frozenset(os.listdir(root / folder))
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()

    def find(file: str) -> str | None:
        for place in (_patch_and_name(file), file):
            folder, _, name = place.rpartition("/")
            if name in listed(folder):
                return place
        return None

    return [find(file) for file in files]


def _patch_and_name(file: str) -> str:
    return "/".join(file.split("/")[-2:])
