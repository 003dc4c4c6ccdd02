"""Images with annotations that Label Studio exports as JSON."""

import math
import pathlib
import re
import urllib.parse
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from must_keras.data.io.annotation_fields import NUMBERS, Entry, are_finite, entries, listed, shown
from must_keras.data.io.brush_codes import decode_brush
from must_keras.data.io.coco_segmentations import Segmentation, masks_of
from must_keras.data.io.folders import Path, existing_folder
from must_keras.data.io.images import upright_size
from must_keras.data.io.notices import NO_AREA, Notes
from must_keras.data.io.text_files import read_json
from must_keras.data.names import FileFinder
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, class_label, objects, spaces
from must_keras.errors import UserError, check_classes, not_allowed
from must_keras.files import file_sha256
from must_keras.ops.masks import decode_rle, encode_rle
from must_keras.tasks.segmentation import IGNORE

# Label Studio puts eight hexadecimal digits before the names of uploaded files.
_UPLOADED = re.compile(r"\A[0-9a-f]{8}-")
_EXPECTED = "expected Label Studio's export as JSON: a list of tasks with 'data' and 'annotations'"
_NOT_ANNOTATED = "tasks have no annotation, and their images are not labeled"
_SEVERAL = "tasks have several annotations: the ground truth, else the last one, is used"
_UNREAD = "results of other kinds (keypoints, relations, ...) are not read"
_MIN_POINTS = 3


class _Region(NamedTuple):
    """A shape: its class, its corners (ymin, xmin, ymax, xmax) in pixels, and its mask, if any."""

    class_name: str
    corners: Sequence[float]
    segmentation: Segmentation | None


class _Annotated(NamedTuple):
    """The annotation of an image; None where it has none."""

    where: str
    size: tuple[int, int] | None
    regions: list[_Region] | None
    choice: str | None


class LabelStudioJson(ImageFiles):
    """The images of Label Studio's export ("JSON"), in its order, as people annotated them.

    Rectangles, also turned ones, and polygons and brush masks are objects, all but upright
    rectangles with a mask; with kind="map" they are the classes of pixels, the last one on top,
    and pixels of no region are not labeled. Choices are the class of an image.

    A task without an annotation, or whose annotations were all cancelled, is an image without a
    label; such tasks are counted in a warning. An annotation without a region is an image without
    an object. Of several annotations the one marked as ground truth is used, else the last.

    A task's image is found in the folder by "file" of its data, which `must-keras labels export`
    writes, else by its URL: the end of the path, also without the digits that Label Studio adds to
    uploaded files.

    Frame: regions are of the upright image, whose size the file has.

    Args:
        name: of the source.
        images: the images' folder.
        annotations: the JSON file; its short form "JSON-MIN" is not read.
        kind: "boxes", "map" or "classes".
        head: the head that they label; default: the source's name; None: images alone.
        classes: names in the order of the indices; None: those in the file, sorted.
        image_key: of the image in a task's data.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Attributes:
        num_unlabeled: images without an annotation.

    Raises:
        UserError: the file is not readable, or a task does not fit: which one, and why.

    Example:
        mk.LabelStudioJson(name="fruit", images="fruit/images", annotations="fruit/export.json")
    """

    def __init__(
        self,
        *,
        name: str,
        images: Path,
        annotations: Path,
        kind: str = "boxes",
        head: str | None = "",
        classes: Sequence[str] | None = None,
        image_key: str = "image",
        bits: int | None = None,
    ):
        if kind not in _LABELS:
            raise not_allowed(f"source {name!r}: kind={kind!r}", kind, _LABELS, key="kind")
        root, self._path, self._kind = existing_folder(images), pathlib.Path(annotations), kind
        content = read_json(self._path)
        if type(content) is not list:
            raise UserError.at(self._path, f"is {shown(content)}, {_EXPECTED}")
        notes, finder = Notes(), FileFinder(root)
        found: dict[str, _Annotated] = {}
        for task in entries(self._path, "task", content):
            file = _file(task, finder, root, image_key)
            if file in found:
                raise task.error(f"is of the image {file}, as another task is")
            found[file] = _annotated(task, kind, notes)
        if not found:
            raise UserError.at(self._path, f"has no task, {_EXPECTED}")
        self._annotated = list(found.values())
        names = [name for one in self._annotated for name in _names(one)]
        if classes is not None:
            check_classes(f"source {name!r}", classes)
        classes = tuple(sorted(set(names)) if classes is None else classes)
        if not classes:
            raise UserError.at(self._path, f"has no labels of kind {kind!r}: nothing is annotated")
        self._indices = {class_name: index for index, class_name in enumerate(classes)}
        for one in self._annotated:
            for class_name in _names(one):
                if class_name not in self._indices:
                    what = f"{one.where} has the label {class_name!r}"
                    raise not_allowed(what, class_name, classes)
        notes.warn(self._path)
        self.num_unlabeled = notes.counts[_NOT_ANNOTATED]
        label_spaces = spaces(head, LabelSpace(kind, classes), name=name)
        super().__init__(
            name=name, root=root, files=list(found), bits=bits, label_spaces=label_spaces
        )

    def stated_size(self, index: int) -> tuple[tuple[int, int], pathlib.Path] | None:
        size = self._annotated[index].size
        return None if size is None else (size, self._path)

    def labels(self, index: int) -> dict[str, Stored]:
        if not self.labeled_heads(index):
            return {}
        self.check_size(index)
        one = self._annotated[index]
        label = _LABELS[self._kind](one, self._indices, one.size or upright_size(self.file(index)))
        return dict.fromkeys(self.label_spaces, label)

    def labeled_heads(self, index: int) -> Collection[str]:
        one = self._annotated[index]
        is_labeled = one.regions is not None if self._kind != "classes" else one.choice is not None
        return self.label_spaces.keys() if is_labeled else ()

    def describe_content(self) -> dict[str, Any]:
        return {"annotations": file_sha256(self._path), "kind": self._kind} | (
            super().describe_content()
        )


# ---- tasks ---------------------------------------------------------------------------------------


def _file(task: Entry, finder: FileFinder, root: pathlib.Path, image_key: str) -> str:
    """Return the path of a task's image below the folder."""
    data = task.fields.get("data")
    if type(data) is not dict:
        raise task.error(f"has the data {shown(data)}, {_EXPECTED}")
    given = Entry(task.where, "data", 0, data)
    own = data.get("file")
    if type(own) is str and (found := finder.find(own)) is not None:
        return found
    text = given.text(image_key) if image_key in data else ""
    if not text:
        keys = ", ".join(map(repr, data))
        raise task.error(f"has no {image_key!r} in its data ({keys}): set image_key=")
    parts = urllib.parse.urlsplit(text)
    local = urllib.parse.parse_qs(parts.query).get("d", [])
    path = (local[0] if local else urllib.parse.unquote(parts.path)).strip("/").split("/")
    # The end of the path that is there, the longest first, within the folder.
    inside = path[len(path) - path[::-1].index("..") :] if ".." in path else path
    for first in range(len(inside)):
        found = finder.find("/".join(inside[first:]))
        if found is not None:
            return found
    found = finder.find(_UPLOADED.sub("", path[-1]))
    if found is None:
        raise task.error(f"is of the image {text!r}, which is not in {root}")
    return found


def _annotated(task: Entry, kind: str, notes: Notes) -> _Annotated:
    if "annotations" not in task.fields:
        raise task.error(f"has no 'annotations', {_EXPECTED}")
    found = listed(task.where, task.fields, "annotations", "annotation", "a list")
    kept = [one for one in found if not one.fields.get("was_cancelled")]
    if not kept:
        notes.add(_NOT_ANNOTATED, task.name)
        return _Annotated(task.where, None, None, None)
    if len(kept) > 1:
        notes.add(_SEVERAL, task.name)
    chosen = next((one for one in kept if one.fields.get("ground_truth")), kept[-1])
    size, regions, choice = None, [], None
    for result in entries(task.where, "result", chosen.items("result", "a list of results")):
        form = _FORMS.get(str(result.fields.get("type")))
        if form is None:
            notes.add(_UNREAD, task.name)
            continue
        value = result.fields.get("value")
        if type(value) is not dict:
            raise result.wrong("value", "an object {...}")
        class_name = _class_name(result, value, form.key)
        if form.shape is None:
            choice = class_name
            continue
        own = _size(result)
        if size not in (None, own):
            raise result.error(f"has the size {own}, another of its image {size}")
        size = own
        region = _cut(form.shape(result, value, own, class_name), own)
        if region is None:
            notes.add(NO_AREA, task.name)
        else:
            regions.append(region)
    return _Annotated(task.where, size, None if kind == "classes" else regions, choice)


def _cut(region: _Region, size: tuple[int, int]) -> _Region | None:
    """Return a region whose box is cut to the image; None where it has no area then."""
    height, width = size
    ymin, xmin, ymax, xmax = region.corners
    cut = (max(ymin, 0.0), max(xmin, 0.0), min(ymax, height), min(xmax, width))
    return region._replace(corners=cut) if cut[2] > cut[0] and cut[3] > cut[1] else None


def _names(one: _Annotated) -> list[str]:
    names = [region.class_name for region in one.regions or ()]
    return names if one.regions is not None else [one.choice] * (one.choice is not None)


def _class_name(result: Entry, value: dict[str, Any], key: str) -> str:
    # The tag "Labels" names the classes of every shape.
    names = value.get(key, value.get("labels"))
    if type(names) is not list or len(names) != 1 or type(names[0]) is not str:
        raise result.error(f"has the {key} {shown(names)}, expected one name")
    return names[0]


def _size(result: Entry) -> tuple[int, int]:
    size = [result.integer(f"original_{side}", 1) for side in ("height", "width")]
    if result.fields.get("image_rotation"):
        raise result.error("is of an image that was turned in Label Studio: turn it back")
    return size[0], size[1]


def _numbers(result: Entry, value: dict[str, Any], *keys: str) -> list[float]:
    found = [value.get(key) for key in keys]
    if not all(type(number) in NUMBERS for number in found) or not are_finite(found):
        raise result.error(f"has {', '.join(keys)} of {shown(found)}, expected percents")
    return [float(number) for number in found]


def _rectangle(
    result: Entry, value: dict[str, Any], size: tuple[int, int], class_name: str
) -> _Region:
    x, y, width, height = _numbers(result, value, "x", "y", "width", "height")
    left, top = x / 100 * size[1], y / 100 * size[0]
    width, height = width / 100 * size[1], height / 100 * size[0]
    angle = math.radians(_numbers(result, {"rotation": 0, **value}, "rotation")[0])
    if not angle:
        return _Region(class_name, (top, left, top + height, left + width), None)
    # Turned clockwise around its upper left corner.
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    return _of_polygon(class_name, corners @ turn + (left, top))


def _polygon(
    result: Entry, value: dict[str, Any], size: tuple[int, int], class_name: str
) -> _Region:
    points = value.get("points")
    expected = "expected at least three points [x, y] in percents"
    if type(points) is not list or len(points) < _MIN_POINTS:
        raise result.error(f"has the points {shown(points)}, {expected}")
    for point in points:
        is_point = type(point) is list and len(point) == 2
        if not is_point or not {type(v) for v in point} <= NUMBERS or not are_finite(point):
            raise result.error(f"has the point {shown(point)}, {expected}")
    return _of_polygon(class_name, np.array(points, np.float64) / 100 * (size[1], size[0]))


def _of_polygon(class_name: str, points: np.ndarray) -> _Region:
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return _Region(class_name, (top, left, bottom, right), [points.ravel()])


def _brush(result: Entry, value: dict[str, Any], size: tuple[int, int], class_name: str) -> _Region:
    try:
        mask = decode_brush(value.get("rle"), size)
    except ValueError as error:
        raise result.error(f"has an 'rle' that cannot be read: {error}") from None
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    corners = (0.0, 0.0, 0.0, 0.0)
    if len(rows):
        corners = (rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
    return _Region(class_name, corners, encode_rle(mask))


class _Form(NamedTuple):
    """A kind of result: the key of its class, and how its shape is read; None without one."""

    key: str
    shape: Callable[[Entry, dict[str, Any], tuple[int, int], str], _Region] | None


_FORMS = {
    "rectanglelabels": _Form("rectanglelabels", _rectangle),
    "polygonlabels": _Form("polygonlabels", _polygon),
    "brushlabels": _Form("brushlabels", _brush),
    "choices": _Form("choices", None),
}


# ---- labels --------------------------------------------------------------------------------------


def _object_label(one: _Annotated, indices: Mapping[str, int], size: tuple[int, int]) -> Stored:
    boxes = np.array([region.corners for region in one.regions], np.float64).reshape(-1, 4)
    masks = masks_of([region.segmentation for region in one.regions], size, boxes)
    classes = [indices[region.class_name] for region in one.regions]
    return objects(boxes=boxes / np.tile(size, 2), classes=classes, **masks)


def _map_label(one: _Annotated, indices: Mapping[str, int], size: tuple[int, int]) -> Stored:
    """Paint the regions in their order; pixels of none are not labeled."""
    found = np.full(size, IGNORE, np.uint8)
    for region in one.regions:
        found[_pixels(region, size) > 0] = indices[region.class_name]
    return {"map": found}


def _pixels(region: _Region, size: tuple[int, int]) -> np.ndarray:
    if isinstance(region.segmentation, bytes):
        return decode_rle(region.segmentation, size)
    top, left, bottom, right = region.corners
    polygons = region.segmentation or [(left, top, right, top, right, bottom, left, bottom)]
    runs = coco_mask.frPyObjects([list(polygon) for polygon in polygons], *size)
    return coco_mask.decode(coco_mask.merge(runs))


def _class_label(one: _Annotated, indices: Mapping[str, int], size: tuple[int, int]) -> Stored:
    return class_label(indices[one.choice], len(indices))


_LABELS: dict[str, Callable[[_Annotated, Mapping[str, int], tuple[int, int]], Stored]] = {
    "boxes": _object_label,
    "map": _map_label,
    "classes": _class_label,
}
