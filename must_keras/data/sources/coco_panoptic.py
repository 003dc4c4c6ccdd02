"""COCO's panoptic annotation read as a label map: a class for every pixel, of things and stuff."""

import array
import collections
import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from must_keras.data.io.annotation_fields import Categories, Entry, streamed_entries, unknown_key
from must_keras.data.io.folders import Path, existing_folder, label_digest
from must_keras.data.io.images import read_triples
from must_keras.data.names import FileFinder
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.tasks.segmentation import IGNORE

# Of a number in three bytes.
_MAX_SEGMENT = 2**24 - 1


@dataclasses.dataclass(slots=True)
class _Picture:
    file: str
    size: tuple[int, int] | None  # (height, width), where the file has it
    map_file: str | None = None
    segments: array.array | None = None
    categories: array.array | None = None


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
        head: the head that the maps label; None for images alone.

    Raises:
        UserError: a file is not readable, does not fit the others, or has more than 255 classes.

    Example:
        CocoPanoptic(name="coco", images="train2017", maps="panoptic_train2017",
                     annotations="panoptic_train2017.json", head="segments")
    """

    def __init__(self, *, name: str, images: Path, maps: Path, annotations: Path, head: str | None):
        root, self._maps = existing_folder(images), existing_folder(maps)
        self._path = pathlib.Path(annotations)
        pictures, categories = _read(self._path, root, self._maps)
        self._pictures, self._categories = pictures, np.array(categories.ids, np.int64)
        image_files = [picture.file for picture in pictures]
        label_spaces = spaces(head, LabelSpace("map", categories.classes))
        super().__init__(name=name, root=root, files=image_files, label_spaces=label_spaces)

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
        segments = np.array([0, *picture.segments], np.int64)
        found = np.searchsorted(self._categories, picture.categories)
        classes = np.array([IGNORE, *found], np.uint8)
        order = np.argsort(segments)
        places = np.minimum(np.searchsorted(segments, numbers, sorter=order), len(segments) - 1)
        places = order[places]
        unknown = segments[places] != numbers
        if unknown.any():
            number = numbers[unknown].flat[0]
            raise UserError(
                f"{path} has segment {number} ({np.sum(numbers == number)} pixels), which is not "
                f"in its 'segments_info' in {self._path}"
            )
        return classes[places]

    def describe_content(self) -> dict[str, str]:
        maps = [p.map_file for p in self._pictures if p.map_file is not None]
        annotations = {"annotations": file_sha256(self._path)}
        maps = {"maps": label_digest(self._maps, maps)}
        return annotations | super().describe_content() | maps


def _read(
    path: pathlib.Path, root: pathlib.Path, maps: pathlib.Path
) -> tuple[list[_Picture], Categories]:
    """Return the pictures and the categories."""
    pictures: dict[int | str, _Picture] = {}
    categories = Categories()
    finders = {folder: FileFinder(folder) for folder in (root, maps)}
    kinds = {"images": "image", "categories": "category", "annotations": "map"}
    for key, entry in streamed_entries(path, kinds):
        if key == "images":
            own = entry.key("id")
            if own in pictures:
                raise entry.error("is listed twice: another image has its id")
            pictures[own] = _Picture(entry.file(finders[root], root), entry.size())
        elif key == "categories":
            categories.add(entry.integer("id"), entry)
        else:
            own = entry.key("image_id")
            if own not in pictures:
                raise entry.error(f"is of image {own!r}, {unknown_key(own, pictures)}")
            if pictures[own].map_file is not None:
                raise entry.error(
                    f"is of image {own!r}, which has the map {pictures[own].map_file}"
                )
            pictures[own].map_file = entry.file(finders[maps], maps)
            _take_segments(pictures[own], entry, categories.names)
    if not pictures:
        raise UserError.at(path, "lists no image: a list 'images' is expected")
    number = len(categories.names)
    if not 1 <= number <= IGNORE:
        raise UserError.at(path, f"has {number} 'categories', expected 1 to {IGNORE}")
    return list(pictures.values()), categories


def _take_segments(picture: _Picture, entry: Entry, names: Mapping[int, str]) -> None:
    """Add the segments of an annotation to its picture."""
    infos = entry.items("segments_info", 'a list of {"id", "category_id"}')
    where = f"segment of {picture.map_file}"
    picture.segments, picture.categories = array.array("q"), array.array("q")
    for info in (Entry(entry.where, where, i, info) for i, info in enumerate(infos)):
        picture.segments.append(info.integer("id", 1, _MAX_SEGMENT))
        category = info.integer("category_id")
        if category not in names:
            raise info.error(f"is of category {category!r}, {unknown_key(category, names)}")
        picture.categories.append(category)
    if len(set(picture.segments)) < len(infos):
        twice = next(n for n, count in collections.Counter(picture.segments).items() if count > 1)
        raise entry.error(f"has two segments {twice}: different numbers are expected")
