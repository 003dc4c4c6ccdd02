"""COCO's panoptic annotation read as a label map: a class for every pixel, of things and stuff."""

from __future__ import annotations

import array
import dataclasses
import functools
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from must_keras.data.folders import (
    FileFinder,
    Path,
    check_inside,
    content_digest,
    existing_folder,
    label_digest,
)
from must_keras.data.images import read_triples
from must_keras.data.json_stream import array_items
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.tasks.segmentation import IGNORE


@dataclasses.dataclass(slots=True)
class _Picture:
    file: str
    size: tuple[int, int]  # (height, width)
    map_file: str | None = None
    segments: array.array | None = None
    categories: array.array | None = None


class CocoPanoptic(ImageFiles):
    """The images of a panoptic annotation file of COCO, in its order.

    A PNG gives every pixel the number of its segment, R + 256 G + 256^2 B, and the JSON file says
    each segment's category ("segments_info"); see panopticapi, and Kirillov et al., arXiv
    1801.00868. Segment 0 is void: ignored. Crowds keep their class: which object a pixel belongs
    to is not asked here. Classes are the categories in the order of their ids, things and stuff:
    133 in COCO 2017.

    Frame: maps are of the upright image, whose size they and the file have to give; a map with an
    EXIF orientation of its own is refused.

    Args:
        name: of the source.
        images: the folder of the images' "file_name": train2017.
        maps: the folder of the annotations' "file_name": panoptic_train2017, unpacked.
        annotations: the JSON file: panoptic_train2017.json.
        head: the head that the maps label; None: images alone.

    Raises:
        UserError: a file is not readable, does not fit the others, or has more than 255 classes.
    """

    def __init__(self, *, name: str, images: Path, maps: Path, annotations: Path, head: str | None):
        root, self._maps = existing_folder(images), existing_folder(maps)
        self._path = pathlib.Path(annotations)
        try:
            pictures, names = _read(self._path)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            detail = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UserError(f"{self._path} is not in COCO's panoptic format: {detail}") from error
        self._pictures, self._categories = pictures, np.array(sorted(names), np.int64)
        check_inside([p.file for p in pictures], self._path)
        check_inside([p.map_file for p in pictures if p.map_file is not None], self._path)
        finder, map_finder = FileFinder(root), FileFinder(self._maps)
        for picture in pictures:
            picture.file = self._find(finder, picture.file, root)
            if picture.map_file is not None:
                picture.map_file = self._find(map_finder, picture.map_file, self._maps)
        classes = tuple(names[category] for category in sorted(names))
        super().__init__(
            name=name,
            root=root,
            files=[picture.file for picture in pictures],
            label_spaces=spaces(head, LabelSpace("map", classes)),
        )

    def _find(self, finder: FileFinder, file: str, folder: pathlib.Path) -> str:
        found = finder.find(file)
        if found is None:
            raise UserError(f"{self._path} lists {file}, which is not in {folder}")
        return found

    def labels(self, index: int) -> dict[str, Stored]:
        picture = self._pictures[index]
        if picture.map_file is None or not self.label_spaces:
            return {}
        self.check_size(index, picture.size, self._path)
        path = self._maps / picture.map_file
        pixels = read_triples(path)
        if pixels.shape[:2] != picture.size:
            raise UserError(
                f"{path} is {pixels.shape[1]}x{pixels.shape[0]} pixels, {self._path} says "
                f"{picture.size[1]}x{picture.size[0]} (width x height)"
            )
        label = {"map": self._classes(pixels, picture, path)}
        return dict.fromkeys(self.label_spaces, label)

    def _classes(self, pixels: np.ndarray, picture: _Picture, path: pathlib.Path) -> np.ndarray:
        """[h, w] uint8 of [h, w, 3]."""
        numbers = pixels @ np.array([1, 2**8, 2**16])
        segments = np.array([0, *picture.segments], np.int64)
        found = np.searchsorted(self._categories, picture.categories)
        classes = np.array([IGNORE, *found], np.uint8)
        order = np.argsort(segments)
        places = np.minimum(np.searchsorted(segments, numbers, sorter=order), len(segments) - 1)
        places = order[places]
        unknown = segments[places] != numbers
        if unknown.any():
            raise UserError(
                f"{path} has segment {numbers[unknown].flat[0]}, of which {self._path} says nothing"
            )
        return classes[places]

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "label_spaces": self.label_spaces} | self._digests

    @functools.cached_property
    def _digests(self) -> dict[str, str]:
        # Once: a run describes its sources many times, and there is a map for every image.
        maps = [p.map_file for p in self._pictures if p.map_file is not None]
        return {
            "annotations": file_sha256(self._path),
            "files": content_digest(self._root, self._files),
            "maps": label_digest(self._maps, maps),
        }


def _read(path: pathlib.Path) -> tuple[list[_Picture], dict[int, str]]:
    """The pictures, and {category: name}."""
    pictures: dict[Any, _Picture] = {}
    names: dict[int, str] = {}
    for key, item in array_items(path, "images", "categories", "annotations"):
        if key == "images":
            size = (int(item["height"]), int(item["width"]))
            pictures[item["id"]] = _Picture(str(item["file_name"]), size)
        elif key == "categories":
            names[int(item["id"])] = str(item["name"])
        else:
            if item["image_id"] not in pictures:
                raise ValueError(f"a map is of image {item['image_id']}, which is not listed")
            _take_map(pictures[item["image_id"]], item, names)
    if not pictures:
        raise ValueError("it lists no image")
    if not 1 <= len(names) <= IGNORE or len(set(names.values())) < len(names):
        raise ValueError(f"1 to {IGNORE} categories of different names expected")
    return list(pictures.values()), names


def _take_map(picture: _Picture, item: Mapping[str, Any], names: Mapping[int, str]) -> None:
    """Adds an annotation to its picture."""
    infos, file = item["segments_info"], str(item["file_name"])
    picture.map_file = file
    picture.segments = array.array("q", [info["id"] for info in infos])
    picture.categories = array.array("i", [info["category_id"] for info in infos])
    if len(set(picture.segments)) < len(infos) or 0 in picture.segments:
        raise ValueError(f"the segments of {file} need different numbers from 1 on")
    odd = next((category for category in picture.categories if category not in names), None)
    if odd is not None:
        raise ValueError(f"a segment of {file} is of category {odd}, which is not listed")
