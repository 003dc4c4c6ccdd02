"""Images with boxes, annotated in Pascal VOC's XML."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
import re
import sys
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

import numpy as np

from must_keras.data import names
from must_keras.data.folders import (
    Images,
    Path,
    content_digest,
    existing_folder,
    label_digest,
    picture_files,
)
from must_keras.data.images import upright_size
from must_keras.data.lists import read_lines
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import LabelSpace, Stored, spaces
from must_keras.data.stored import objects
from must_keras.errors import UserError


@dataclasses.dataclass(frozen=True)
class _Annotation:
    """What an XML file says."""

    size: tuple[int, int] | None  # (height, width); None: the tool did not say
    names: list[str]
    boxes: list[tuple[float, float, float, float]]  # (ymin, xmin, ymax, xmax), continuous pixels
    is_difficult: list[bool]


class VocXml(ImageFiles):
    """A folder like Pascal VOC's: JPEGImages/, Annotations/*.xml and ImageSets/Main/*.txt.

    VOC's pixels are counted from 1 and inclusive: xmin to xmax is [xmin - 1, xmax]. Boxes are cut
    to the image; those without an area are dropped and counted. "Difficult" objects are ignored.
    There are no masks.

    Frame: boxes are of the upright image, whose size a file gives, or none.

    Args:
        name: of the source.
        root: the folder.
        split: the file in ImageSets/Main without its suffix: "train"; images are in its order.
            None: every annotated image, sorted.
        head: the head that the boxes label; None: images alone.
        classes: names in the order of the indices; None: all that the annotations of any split
            name, sorted.
        bits: that pixels of more than 8 bits use; see images.read_image.

    Attributes:
        num_dropped: boxes without an area.

    Raises:
        UserError: a file is missing, unreadable, or names something that is not there.
    """

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        split: str | None,
        head: str | None,
        classes: Sequence[str] | None = None,
        bits: int | None = None,
    ):
        images = existing_folder(pathlib.Path(root) / "JPEGImages")
        self._folder = existing_folder(pathlib.Path(root) / "Annotations")
        xmls = [path for path in self._folder.iterdir() if path.suffix.lower() == ".xml"]
        self._xmls = {path.stem: path for path in xmls}
        annotated = sorted(self._xmls)
        self._stems = annotated
        if split is not None:
            self._stems = _read_split(pathlib.Path(root), split, names.Names(annotated))
        if not self._stems:
            raise UserError(f"{self._folder} holds no annotation (*.xml)")
        files = Images(images, picture_files(images))
        chosen = []
        for stem in self._stems:
            file = files.of_stem(stem)
            if file is None:
                raise UserError(f"there is no image {stem}.* in {images}")
            chosen.append(file)
        needed = annotated if classes is None else []
        known = {stem: _read_annotation(self._xml(stem)) for stem in {*needed, *self._stems}}
        if classes is None:
            classes = sorted({name for annotation in known.values() for name in annotation.names})
        self._sizes = [
            known[stem].size or upright_size(images / file)
            for stem, file in zip(self._stems, chosen, strict=True)
        ]
        self._labels = [
            _label(known[stem], size, classes, self._xml(stem))
            for stem, size in zip(self._stems, self._sizes, strict=True)
        ]
        self.num_dropped = sum(
            len(known[stem].boxes) - len(label["boxes"])
            for stem, label in zip(self._stems, self._labels, strict=True)
        )
        if self.num_dropped:
            print(
                f"warning: {self._folder}: {self.num_dropped} boxes have no area within their "
                "image and are left out",
                file=sys.stderr,
            )
        label_spaces = spaces(head, LabelSpace("boxes", tuple(classes)))
        super().__init__(name=name, root=images, files=chosen, label_spaces=label_spaces, bits=bits)

    def image(self, index: int) -> np.ndarray:
        self.check_size(index, self._sizes[index], self._xml(self._stems[index]))
        return super().image(index)

    def labels(self, index: int) -> dict[str, Stored]:
        self.check_size(index, self._sizes[index], self._xml(self._stems[index]))
        return {head: dict(self._labels[index]) for head in self.label_spaces}

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label_spaces": self.label_spaces,
            "files": content_digest(self._root, self._files),
            "annotations": self._annotation_digest,
        } | self.describe_reading()

    @functools.cached_property
    def _annotation_digest(self) -> str:
        return label_digest(self._folder, [self._xml(stem).name for stem in self._stems])

    def _xml(self, stem: str) -> pathlib.Path:
        return self._xmls.get(stem, self._folder / f"{stem}.xml")


def _label(
    annotation: _Annotation, size: tuple[int, int], names: Sequence[str], path: pathlib.Path
) -> Stored:
    indices = {name: index for index, name in enumerate(names)}
    for name in annotation.names:
        if name not in indices:
            raise UserError(
                f"{path} names the class {name!r}, which is not one of {', '.join(names)}"
            )
    limits = (*size, *size)
    boxes = np.clip(np.array(annotation.boxes, np.float64).reshape(-1, 4), 0.0, limits)
    kept = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return objects(
        boxes=boxes[kept] / limits,
        classes=np.array([indices[name] for name in annotation.names], np.int32)[kept],
        ignore=np.array(annotation.is_difficult, bool)[kept],
    )


def _read_split(root: pathlib.Path, split: str, annotated: names.Names) -> list[str]:
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    stems = []
    for number, line in read_lines(path):
        # A line of a class's own list says 1 or -1 behind the name, which may hold spaces.
        readings = (line, re.sub(r"[ \t]+(-1|0|1)$", "", line), re.split(r"[ \t]", line)[0])
        try:
            found = next(filter(None, map(annotated.find, readings)), None)
        except UserError as error:
            raise UserError(f"{path}, line {number}: {error}") from None
        stems.append(readings[2] if found is None else found)
    if len(set(stems)) != len(stems):
        raise UserError(f"{path} names an image twice")
    return stems


class _PlainTree(ElementTree.TreeBuilder):
    """A tree without entities: a few lines of them expand to gigabytes, or name other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse what declares entities; Pascal VOC's files have none."""
        del name, pubid, system
        raise ElementTree.ParseError("it has a DOCTYPE, which is not read: delete that line")


def _read_annotation(path: pathlib.Path) -> _Annotation:
    try:
        parser = ElementTree.XMLParser(target=_PlainTree())
        root = ElementTree.parse(path, parser).getroot()
    except FileNotFoundError:
        raise UserError(f"there is no file {path}") from None
    except (OSError, ElementTree.ParseError) as error:
        raise UserError(f"{path} cannot be read as XML: {error}") from error
    try:
        annotation = _Annotation(_size(root), [], [], [])
        for found in root.iter("object"):
            box = found.find("bndbox")
            if box is None:
                raise ValueError("an object has no <bndbox>")
            xmin, ymin, xmax, ymax = (_number(box, key) for key in ("xmin", "ymin", "xmax", "ymax"))
            annotation.names.append(_text(found, "name"))
            annotation.boxes.append((ymin - 1.0, xmin - 1.0, ymax, xmax))
            annotation.is_difficult.append((found.findtext("difficult") or "0").strip() == "1")
    except ValueError as error:
        raise UserError(f"{path} is not in Pascal VOC's format: {error}") from None
    return annotation


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    size = root.find("size")
    if size is None:
        return None
    height, width = int(_number(size, "height")), int(_number(size, "width"))
    return (height, width) if height > 0 and width > 0 else None


def _number(element: ElementTree.Element, key: str) -> float:
    value = float(_text(element, key))
    if not math.isfinite(value):
        raise ValueError(f"<{key}> is {value}")
    return value


def _text(element: ElementTree.Element, key: str) -> str:
    text = (element.findtext(key) or "").strip()
    if not text:
        raise ValueError(f"<{element.tag}> has no <{key}>")
    return text
