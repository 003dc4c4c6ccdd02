"""Images with boxes and instance masks, annotated in COCO's JSON."""

import array
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from must_keras.data import names
from must_keras.data.io.annotation_fields import Categories, Entry, entries, few, listed, shown
from must_keras.data.io.coco_segmentations import Segmentation, bounds, masks_of, read_segmentation
from must_keras.data.io.folders import Path, existing_folder
from must_keras.data.io.images import upright_size
from must_keras.data.io.notices import Notes
from must_keras.data.io.text_files import read_json
from must_keras.data.sources.image_files import BoxFiles, BoxTable
from must_keras.data.sources.source import LabelSpace, spaces
from must_keras.errors import UserError, warn
from must_keras.files import file_sha256

_NO_BOUNDS = "segmentations have no polygon of three points: their objects have no mask"
# Empty segmentations, as tools write them.
_NO_SEGMENTATION = (None, [[]], [], {})
_ODD_SIZE = "images have a height or width that is not one: their size is that of the file"


class CocoJson(BoxFiles):
    """The images of a COCO annotation file, in its order; those without an object too.

    Predictions of a detector come in COCO's format of results, a list without images and
    categories: `results` is that list, and `annotations` the file that it is for. Or annotations
    have a "score" themselves. Such boxes are for `recipe.ImportedLabels`, which keeps the scores.

    Classes are the categories in the order of their ids, made contiguous. Crowds are ignored
    regions. Boxes are cut to the image; those without an area are dropped and counted. Masks are
    rasterized, at the image's resolution, when an image's labels are asked for.

    An absent size of an image is that of its file, and an absent box of an annotation is that of
    its polygons or run lengths.

    Frame: boxes, polygons and run lengths are of the upright image, as is the size, if the file has
    one.

    Args:
        name: of the source.
        images: the folder of the images' "file_name".
        annotations: the JSON file; polygons and run lengths of both kinds.
        head: the head that the boxes label; default: the source's name; None: images alone.
        results: a JSON list of {"image_id", "category_id", "bbox", "score"}, with "segmentation"
            as run lengths beside "bbox" or instead of it; it takes the place of the annotations
            of that file. An image without a result has no object.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Attributes:
        num_dropped: annotations without an area.

    Raises:
        UserError: the file is not readable, or an entry does not fit: which one, and why.

    Example:
        mk.CocoJson(name="fruit", images="fruit/images", annotations="fruit/instances.json")
    """

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        annotations: Path,
        head: str | None = "",
        results: Path | None = None,
        bits: int | None = None,
    ):
        root = existing_folder(images)
        self._path = pathlib.Path(annotations)
        self._of_boxes = self._path if results is None else pathlib.Path(results)
        content = read_json(self._path)
        if type(content) is list:
            raise UserError(
                f"{self._path} is not in COCO's format: expected an object, not a list; a "
                "detector's results are given as results=, and annotations= is the file of their "
                "images and categories"
            )
        notes, categories = Notes(), _categories(self._path, content)
        places, files, self._sizes = _images(self._path, content, root, notes)
        notes.warn(self._path)
        if results is None:
            expected = (
                'a list of {"image_id", "category_id", "bbox", ...}, [] where there is no object'
            )
            found = listed(self._path, content, "annotations", "annotation", expected)
        else:
            found = _results(self._of_boxes)
        self._read_objects(found, places, categories)
        self.has_scores = head is not None and bool(np.any(self._scores != 1.0))
        label_spaces = spaces(head, LabelSpace("boxes", categories.classes), name=name)
        super().__init__(name=name, root=root, files=files, bits=bits, label_spaces=label_spaces)

    def _read_objects(
        self, found: Iterator[Entry], places: Mapping[int | str, int], categories: Categories
    ) -> None:
        """Read annotations into arrays: 53 bytes a box, and masks of those that have one.

        The objects of an image without a size are left out: the image cannot be read.

        Args:
            found: annotations, in the file's order.
            places: {image id: place}.
            categories: of the file.
        """
        self._table, indices = BoxTable("d", self._sizes), categories.indices
        notes = self._table.notes
        segmentations: list[Segmentation | None] = []
        scores = array.array("d")
        for entry in found:
            place, index = entry.one_of(places, "image"), entry.one_of(indices, "category")
            size = self._sizes[place]
            if size is None:
                continue
            segmentation = read_segmentation(entry, size)
            if segmentation is None and entry.fields.get("segmentation") not in _NO_SEGMENTATION:
                notes.add(_NO_BOUNDS, entry.name)
            corners = _corners(entry, segmentation, size)
            is_crowd, score = entry.flag("iscrowd"), entry.score()
            if self._table.add(place, corners, entry.name, index=index, ignore=is_crowd):
                segmentations.append(segmentation)
                # An object without a score is certain.
                scores.append(1.0 if score is None else score)
        order = self._table.sort()
        self._segmentations = [segmentations[row] for row in order]
        self._scores = np.array(scores, np.float64)[order]
        notes.warn(self._of_boxes)

    def stated_size(self, index: int) -> tuple[tuple[int, int], pathlib.Path]:
        # Where neither the file nor the image has a size, the error is that of the image.
        return self._sizes[index] or upright_size(self.file(index)), self._path

    def masks_and_scores(self, index: int) -> dict[str, Any]:
        size, rows = self._sizes[index], self._table.rows(index)
        found, boxes = self._segmentations[rows], self._table.boxes[rows]
        scores = {"scores": self._scores[rows] if self.has_scores else None}
        return masks_of(found, size, boxes) | scores

    def describe_content(self) -> dict[str, str]:
        results = {} if self._of_boxes == self._path else {"results": file_sha256(self._of_boxes)}
        annotations = {"annotations": file_sha256(self._path)}
        return annotations | super().describe_content() | results


def _results(path: pathlib.Path) -> Iterator[Entry]:
    found = read_json(path)
    if type(found) is not list:
        raise UserError(
            f"{path} is not in COCO's format of results: expected a list of "
            '{"image_id", "category_id", "bbox", "score"}; a whole file is given as annotations='
        )
    return entries(path, "result", found)


def _categories(path: pathlib.Path, content: Any) -> Categories:
    expected = 'a list of {"id", "name"}'
    categories = Categories(listed(path, content, "categories", "category", expected))
    if not categories.names:
        raise UserError.at(path, ": 'categories' is empty, at least one is expected")
    kinds = {type(key): key for key in categories.names}
    if len(kinds) > 1:
        raise UserError(
            f"{path}: the ids of its categories are of two kinds, {shown(kinds[int])} (a number) "
            f"and {shown(kinds[str])}: write all as numbers"
        )
    for same in names.alike(categories.names.values()):
        warn(
            f"{path}: the categories {few(same)} differ in case or spaces alone and are "
            "different classes; Relabeled joins classes"
        )
    return categories


def _images(
    path: pathlib.Path, content: Any, root: pathlib.Path, notes: Notes
) -> tuple[dict[Any, int], list[str], list[tuple[int, int] | None]]:
    """Return {image id: place}, files, and sizes (height, width), None for unreadable files."""
    places: dict[int | str, int] = {}
    id_of: dict[str, int | str] = {}
    sizes: list[tuple[int, int] | None] = []
    finder = names.FileFinder(root)
    expected = 'a list of {"id", "file_name", "height", "width"}'
    for entry in listed(path, content, "images", "image", expected):
        key, file = entry.key("id"), entry.file(finder, root)
        if key in places:
            raise entry.error(f"({file}) is listed twice: {list(id_of)[places[key]]} has its id")
        if file in id_of:
            raise entry.error(f"({file}) is listed twice: image {id_of[file]!r} is the same file")
        places[key], id_of[file] = len(places), key
        size = entry.size()
        if size is None and (entry.fields.get("height") or entry.fields.get("width")):
            notes.add(_ODD_SIZE, f"{entry.name} ({file})")
        sizes.append(size or _size_of_file(root / file))
    if not places:
        raise UserError.at(path, "lists no image: 'images' is empty")
    return places, list(id_of), sizes


def _size_of_file(path: pathlib.Path) -> tuple[int, int] | None:
    try:
        return upright_size(path)
    except UserError:
        return None


def _corners(
    entry: Entry, segmentation: Segmentation | None, size: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return (ymin, xmin, ymax, xmax) of a box; that of the segmentation where there is none."""
    box = entry.box()
    if box is None:
        if segmentation is None:
            raise entry.wrong("bbox", "[x, y, width, height], or a segmentation to compute it from")
        box = bounds(segmentation, size)
    x, y, width, height = box
    return y, x, y + height, x + width
