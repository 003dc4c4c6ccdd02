"""Images with boxes and instance masks, annotated in COCO's JSON."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from must_keras.data import mask_crops
from must_keras.data.folders import (
    FileFinder,
    Path,
    check_inside,
    content_digest,
    existing_folder,
)
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.data.stored import objects
from must_keras.errors import UserError
from must_keras.files import file_sha256
from must_keras.ops.masks import run_lengths

# Cells a side of a stored mask: twice what Mask R-CNN's mask head gives.
_MASK_SIZE = 56


@dataclasses.dataclass(frozen=True, slots=True)
class _Object:
    """An annotation; `shape` is a list of polygons, compressed run lengths or (None) unknown.

    `score` is None where a person said it.
    """

    box: tuple[float, float, float, float]  # (ymin, xmin, ymax, xmax), pixels
    category: int
    is_crowd: bool
    shape: list[np.ndarray] | bytes | None
    score: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Picture:
    file: str
    size: tuple[int, int]  # (height, width)
    objects: list[_Object]


class CocoJson(ImageFiles):
    """The images of a COCO annotation file, in its order; those without an object too.

    What a detector says comes in COCO's format of results, a list without images and categories:
    `results` is that list, and `annotations` the file that it is for. Or annotations have a
    "score" themselves. Such boxes are for `recipe.ForeignLabels`, whose column keeps the scores.

    Classes are the categories in the order of their ids, made contiguous. Crowds are ignored
    regions. Boxes are cut to the image; those without an area are dropped and counted. Masks are
    rasterised, at the image's resolution, when an image's labels are asked for.

    Frame: boxes, polygons and run lengths are of the upright image, whose size the file has to
    give.

    Args:
        name: of the source.
        images: the folder of the images' "file_name".
        annotations: the JSON file; polygons and run lengths of both kinds.
        head: the head that the boxes label; None: images alone.
        results: a JSON list of {"image_id", "category_id", "bbox", "score"}, with "segmentation"
            as run lengths beside "bbox" or instead of it; it takes the place of the annotations
            of that file. An image of which it says nothing has no object.
        bits: that pixels of more than 8 bits use; see images.read_image.

    Attributes:
        num_dropped: annotations without an area.

    Raises:
        UserError: the file is not readable or does not fit the images.
    """

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        annotations: Path,
        head: str | None,
        results: Path | None = None,
        bits: int | None = None,
    ):
        root = existing_folder(images)
        self._path = pathlib.Path(annotations)
        self._of_boxes = self._path if results is None else pathlib.Path(results)
        found = _load(self._path)
        with _format_errors(self._path):
            classes, indices = _categories(found["categories"])
            pictures = _pictures(found["images"], root)
        with _format_errors(self._of_boxes):
            entries = found["annotations"] if results is None else _load_results(self._of_boxes)
            self.num_dropped, first = _add_objects(entries, pictures, indices)
        if self.num_dropped:
            print(
                f"warning: {self._of_boxes}: {self.num_dropped} boxes have no area within their "
                f"image and are left out; the first is that of {first}",
                file=sys.stderr,
            )
        self._pictures = list(pictures.values())
        scores = {o.score for picture in self._pictures for o in picture.objects}
        self.has_scores = head is not None and not scores <= {None, 1.0}
        super().__init__(
            name=name,
            root=root,
            files=[picture.file for picture in self._pictures],
            label_spaces=spaces(head, LabelSpace("boxes", classes)),
            bits=bits,
        )

    def image(self, index: int) -> np.ndarray:
        self.check_size(index, self._pictures[index].size, self._path)
        return super().image(index)

    def labels(self, index: int) -> dict[str, Stored]:
        self.check_size(index, self._pictures[index].size, self._path)
        label = _label(self._pictures[index], with_scores=self.has_scores)
        return dict.fromkeys(self.label_spaces, label)

    def describe(self) -> dict[str, Any]:
        found = {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "annotations": file_sha256(self._path),
            "files": content_digest(self._root, self._files),
        } | self.describe_reading()
        return found | (
            {} if self._of_boxes == self._path else {"results": file_sha256(self._of_boxes)}
        )


class _FormatError(Exception):
    """What is wrong in the file, without its name."""


@contextlib.contextmanager
def _format_errors(path: pathlib.Path) -> Iterator[None]:
    """Turns what is wrong with a file's content into errors that name it."""
    try:
        yield
    except _FormatError as error:
        raise UserError(f"{path}: {error}") from None
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        detail = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UserError(f"{path} is not in COCO's format: {detail}") from error


def _load(path: pathlib.Path) -> Mapping[str, Any]:
    found = _load_json(path)
    if not isinstance(found, dict):
        raise UserError(
            f"{path} is not in COCO's format: expected an object, not a list; a detector's results "
            "are given as results=, and annotations= is the file of their images and categories"
        )
    return found


def _load_results(path: pathlib.Path) -> Sequence[Mapping[str, Any]]:
    found = _load_json(path)
    if not isinstance(found, list):
        raise UserError(
            f"{path} is not in COCO's format of results: expected a list of "
            '{"image_id", "category_id", "bbox", "score"}; a whole file is given as annotations='
        )
    return found


def _load_json(path: pathlib.Path) -> Any:
    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.load(file)
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}") from error


def _categories(entries: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, ...], dict[int, int]]:
    """Names in the order of ids, and {id: index}."""
    names = {entry["id"]: str(entry["name"]) for entry in entries}
    if not entries or len(names) != len(entries) or len(set(names.values())) != len(names):
        raise _FormatError(
            "its categories need different ids and names, and at least one is needed"
        )
    ids = sorted(names)
    return tuple(names[i] for i in ids), {category: index for index, category in enumerate(ids)}


def _pictures(entries: Sequence[Mapping[str, Any]], root: pathlib.Path) -> dict[Any, _Picture]:
    """{image id: picture without objects}."""
    found: dict[Any, _Picture] = {}
    files, finder = set(), FileFinder(root)
    for entry in entries:
        file, size = entry["file_name"], (int(entry["height"]), int(entry["width"]))
        if entry["id"] in found:
            raise _FormatError(f"image {entry['id']} ({file}) is listed twice")
        if min(size) < 1:
            raise _FormatError(f"image {file} has no size: height {size[0]}, width {size[1]}")
        check_inside([str(file)], "its image list")
        path = finder.find(file)
        if path is None:
            raise _FormatError(f"image {file} is not in {root}")
        if path in files:
            raise _FormatError(f"image {entry['id']} ({file}) is listed twice")
        files.add(path)
        found[entry["id"]] = _Picture(path, size, [])
    if not found:
        raise _FormatError("it lists no image")
    return found


def _add_objects(
    entries: Sequence[Mapping[str, Any]],
    pictures: Mapping[Any, _Picture],
    indices: Mapping[Any, int],
) -> tuple[int, str]:
    """Sorts the annotations into their pictures; how many have no area, and the first of them."""
    num_dropped, first = 0, ""
    for number, entry in enumerate(entries):
        where = f"annotation {entry.get('id', number)}"
        runs = isinstance(entry.get("segmentation"), dict)
        for key in ("image_id", "category_id", *(() if runs else ("bbox",))):
            if key not in entry:
                raise _FormatError(f"{where} has no {key!r}")
        picture = pictures.get(entry["image_id"])
        if picture is None:
            raise _FormatError(f"{where} is of image {entry['image_id']}, which is not listed")
        if entry["category_id"] not in indices:
            raise _FormatError(
                f"{where} is of category {entry['category_id']}, which is not listed"
            )
        shape = _shape(entry.get("segmentation"), picture.size, where)
        corners = entry["bbox"] if "bbox" in entry else _bounds(shape, picture.size)
        box = _box(corners, picture.size, where)
        if box[2] <= box[0] or box[3] <= box[1]:
            num_dropped, first = num_dropped + 1, first or where
            continue
        category, is_crowd = indices[entry["category_id"]], bool(entry.get("iscrowd", 0))
        score = _score(entry.get("score"), where)
        picture.objects.append(_Object(box, category, is_crowd, shape, score))
    return num_dropped, first


def _box(
    values: Sequence[float], size: tuple[int, int], where: str
) -> tuple[float, float, float, float]:
    """COCO's [x, y, width, height] as (ymin, xmin, ymax, xmax), cut to the image."""
    if len(values) != 4 or not all(math.isfinite(v) for v in values) or min(values[2:]) < 0:
        raise _FormatError(f"{where} has the box {values}, expected [x, y, width, height]")
    x, y, width, height = map(float, values)
    return (max(y, 0.0), max(x, 0.0), min(y + height, size[0]), min(x + width, size[1]))


def _bounds(counts: bytes, size: tuple[int, int]) -> Sequence[float]:
    """COCO's [x, y, width, height] of run lengths."""
    return coco_mask.toBbox({"counts": counts, "size": list(size)}).tolist()


def _score(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise _FormatError(f"{where} has the score {value!r}, expected a number from 0 to 1")
    return float(value)


def _shape(value: Any, size: tuple[int, int], where: str) -> list[np.ndarray] | bytes | None:
    if not value:
        return None
    if isinstance(value, dict):
        if list(value["size"]) != list(size):
            raise _FormatError(
                f"{where} has run lengths of a size of {value['size']}, its image has "
                f"{list(size)} (height, width)"
            )
        counts = value["counts"]
        if isinstance(counts, list):
            _check_runs(counts, size, where)
            return coco_mask.frPyObjects(value, *size)["counts"]
        runs = counts.encode("ascii")
        # pycocotools reads beyond the end of runs that are too short.
        _check_runs(run_lengths(runs), size, where)
        return runs
    polygons = [np.asarray(points, np.float64) for points in value]
    if any(p.ndim != 1 or len(p) % 2 or not np.all(np.isfinite(p)) for p in polygons):
        raise _FormatError(f"{where} has a polygon that is not [x0, y0, x1, y1, ...]")
    # Two points bound nothing.
    return [points for points in polygons if len(points) >= 6] or None


def _check_runs(lengths: Sequence[int], size: tuple[int, int], where: str) -> None:
    if sum(lengths) != size[0] * size[1] or min(lengths, default=-1) < 0:
        raise _FormatError(
            f"{where} has run lengths that are not those of {size[0]} x {size[1]} pixels"
        )


def _label(picture: _Picture, *, with_scores: bool) -> Stored:
    found = picture.objects
    height, width = picture.size
    boxes = np.array([o.box for o in found], np.float64).reshape(-1, 4)
    return objects(
        boxes=boxes / (height, width, height, width),
        classes=[o.category for o in found],
        masks=np.array([_mask(o, picture.size) for o in found]).reshape(-1, _MASK_SIZE, _MASK_SIZE),
        has_mask=[o.shape is not None for o in found],
        ignore=[o.is_crowd for o in found],
        scores=[1.0 if o.score is None else o.score for o in found] if with_scores else None,
    )


def _mask(found: _Object, size: tuple[int, int]) -> np.ndarray:
    if found.shape is None:
        return np.zeros((_MASK_SIZE, _MASK_SIZE), np.uint8)
    if isinstance(found.shape, bytes):
        return mask_crops.rle_crop(found.shape, size, found.box, size=_MASK_SIZE)
    return mask_crops.polygons_crop(found.shape, found.box, size=_MASK_SIZE)
