"""Images with boxes, annotated in Pascal VOC's XML."""

import codecs
import dataclasses
import pathlib
import re
from collections.abc import Sequence
from xml.etree import ElementTree

from must_keras.data import names
from must_keras.data.io.annotation_fields import flag_of, number_of_text, shown, size_of
from must_keras.data.io.folders import Path, existing_folder, label_digest, picture_files
from must_keras.data.io.images import upright_size
from must_keras.data.io.text_files import read_bytes, read_lines
from must_keras.data.sources.image_files import BoxFiles, BoxTable
from must_keras.data.sources.source import LabelSpace, spaces
from must_keras.errors import UserError, check_classes

_OTHER_IMAGE = (
    "annotation files name another image than that of their own name, which is the one used"
)
_ENCODINGS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"<\0": "utf-16-le",
    b"\0<": "utf-16-be",
}
_DECLARED = re.compile(rb"<\?xml[^>]*?\sencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")


@dataclasses.dataclass(frozen=True)
class _Annotation:
    """The content of an XML file."""

    size: tuple[int, int] | None  # (height, width), or None
    # Name of the class, (ymin, xmin, ymax, xmax) in continuous pixels, and whether it is difficult.
    objects: list[tuple[str, tuple[float, float, float, float], bool]]
    file_name: str  # Of the image, as the tool wrote it; "" where it did not.


class VocXml(BoxFiles):
    """A folder like Pascal VOC's: JPEGImages/, Annotations/*.xml and ImageSets/Main/*.txt.

    VOC's pixels are counted from 1 and inclusive: xmin to xmax is [xmin - 1, xmax]. Boxes are cut
    to the image; those without an area are dropped and counted. "Difficult" objects are ignored.
    There are no masks. Flags that are absent are not set; numbers may have decimals; a size that is
    absent or zero is that of the image. Encodings are those that the files declare, or UTF-8.

    Frame: boxes are of the upright image, whose size a file gives, or none.

    Args:
        name: of the source.
        root: the folder.
        split: the file in ImageSets/Main without its suffix: "train"; images are in its order.
            None: every annotated image, sorted.
        head: the head that the boxes label; default: the source's name; None: images alone.
        classes: names in the order of the indices; None: all that the annotations of any split
            name, sorted.
        bits: bits that are used of pixels with more than 8; see images.read_image.

    Attributes:
        num_dropped: boxes without an area.

    Raises:
        UserError: a file is missing, unreadable, or names something that is not there.

    Example:
        mk.VocXml(name="voc", root="VOC2012", split="train", head="objects")
    """

    def __init__(
        self,
        *,
        name: str,
        root: Path,
        split: str | None,
        head: str | None = "",
        classes: Sequence[str] | None = None,
        bits: int | None = None,
    ):
        images = existing_folder(pathlib.Path(root) / "JPEGImages")
        self._folder = existing_folder(pathlib.Path(root) / "Annotations")
        xmls: dict[str, pathlib.Path] = {}
        for path in sorted(self._folder.iterdir()):
            if path.suffix.lower() != ".xml":
                continue
            other = xmls.setdefault(path.stem, path)
            if other != path:
                raise UserError(f"{self._folder} holds both {other.name} and {path.name}: keep one")
        stems = annotated = sorted(xmls)
        if split is not None:
            stems = _read_split(pathlib.Path(root), split, names.Names(annotated))
        if not stems:
            raise UserError.at(self._folder, "holds no annotation (*.xml)")
        self._xmls = [xmls.get(stem, self._folder / f"{stem}.xml") for stem in stems]
        finder = names.ImageFinder(images, picture_files(images))
        files = []
        for stem, xml in zip(stems, self._xmls, strict=True):
            file = finder.of_stem(stem)
            if file is None:
                named_by = xml if split is None else f"{split}.txt"
                raise UserError(f"there is no image {stem}.* in {images}, which {named_by} names")
            files.append(file)
        needed = {*self._xmls, *(xmls.values() if classes is None else ())}
        known = {xml: _read_annotation(xml) for xml in needed}
        if classes is not None:
            check_classes(f"source {name!r}", classes)
        else:
            classes = sorted({found[0] for one in known.values() for found in one.objects})
        indices = {name: index for index, name in enumerate(classes)}
        self._sizes = []
        self._table = BoxTable("d", self._sizes)
        notes = self._table.notes
        for place, (stem, xml, file) in enumerate(zip(stems, self._xmls, files, strict=True)):
            annotation = known[xml]
            self._sizes.append(annotation.size or upright_size(images / file))
            for number, (name_there, corners, is_difficult) in enumerate(annotation.objects, 1):
                index = indices.get(name_there)
                if index is None:
                    raise UserError(
                        f"{xml}: object {number} names the class {name_there!r}, which is not one "
                        f"of {', '.join(classes)}"
                    )
                self._table.add(place, corners, str(xml), index=index, ignore=is_difficult)
            written = re.split(r"[/\\]", annotation.file_name)[-1]
            if written and names.as_read(written) not in (pathlib.Path(file).name, stem, xml.stem):
                notes.add(_OTHER_IMAGE, f"{xml}: <filename> is {written!r}")
        self._table.sort()
        notes.warn(self._folder)
        label_spaces = spaces(head, LabelSpace("boxes", tuple(classes)), name=name)
        super().__init__(name=name, root=images, files=files, label_spaces=label_spaces, bits=bits)

    def stated_size(self, index: int) -> tuple[tuple[int, int], pathlib.Path]:
        return self._sizes[index], self._xmls[index]

    def describe_content(self) -> dict[str, str]:
        files = [xml.name for xml in self._xmls]
        return super().describe_content() | {"annotations": label_digest(self._folder, files)}


def _read_split(root: pathlib.Path, split: str, annotated: names.Names) -> list[str]:
    path = root / "ImageSets" / "Main" / f"{split}.txt"
    line_of: dict[str, int] = {}
    for number, line in read_lines(path):
        # A line of a class's own list has 1 or -1 after the name, which may contain spaces.
        readings = (line, re.sub(r"[ \t]+(-1|0|1)$", "", line), re.split(r"[ \t]", line)[0])
        try:
            found = next(filter(None, map(annotated.find, readings)), None)
        except UserError as error:
            raise UserError.at(path, f", line {number}: {error}") from None
        stem = readings[2] if found is None else found
        if stem in line_of:
            raise UserError.at(
                path, f"names an image twice: {stem!r} on lines {line_of[stem]} and {number}"
            )
        line_of[stem] = number
    return list(line_of)


class _PlainTree(ElementTree.TreeBuilder):
    """A tree without entities: a few lines of them expand to gigabytes, or name other files."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse what declares entities; Pascal VOC's files have none."""
        raise ElementTree.ParseError("it has a DOCTYPE, which is not read: delete that line")


def _read_annotation(path: pathlib.Path) -> _Annotation:
    root = _parsed(path)
    found = _Annotation(_size(root, path), [], (root.findtext("filename") or "").strip())
    for number, element in enumerate(root.iter("object"), 1):
        where = f"{path}: object {number}"
        name = _text(element, "name", where)
        where = f"{where} ({name!r})"
        xmin, ymin, xmax, ymax = _corners(element, where)
        is_difficult = flag_of(element.findtext("difficult"))
        if is_difficult is None:
            raise UserError(
                f"{where} has <difficult> {shown(element.findtext('difficult'))}, expected 0 or 1"
            )
        found.objects.append((name, (ymin - 1.0, xmin - 1.0, ymax, xmax), is_difficult))
    return found


def _parsed(path: pathlib.Path) -> ElementTree.Element:
    """Return the root of an XML file, with tags without namespaces."""
    data = read_bytes(path)
    if not data.strip():
        raise UserError.at(path, "cannot be read as XML: it is empty")
    encoding = _encoding(data)
    try:
        # Expat has no encodings of several bytes a letter, such as GB 2312, but Python has.
        text = data.decode(encoding)
    except LookupError:
        raise UserError.at(path, f"cannot be read as XML: unknown encoding {encoding!r}") from None
    except (UnicodeError, ValueError) as error:
        raise UserError.at(
            path, f"cannot be read as XML: it is not {encoding} text ({error}); save it as UTF-8"
        ) from None
    parser = ElementTree.XMLParser(target=_PlainTree())
    try:
        parser.feed(text)
        root = parser.close()
    except (ElementTree.ParseError, ValueError) as error:
        raise UserError.at(path, f"cannot be read as XML: {error}") from None
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
    return root


def _encoding(data: bytes) -> str:
    """Return the encoding of an XML file: by its first bytes, or as it declares."""
    for start, encoding in _ENCODINGS.items():
        if data.startswith(start):
            return encoding
    declared = _DECLARED.match(data)
    return declared[1].decode("ascii") if declared else "utf-8"


def _size(root: ElementTree.Element, path: pathlib.Path) -> tuple[int, int] | None:
    """Return (height, width); None where the file has none, or zero, as some tools write."""
    size = root.find("size")
    texts = ["0" if size is None else size.findtext(key) or "0" for key in ("height", "width")]
    numbers = [number_of_text(text.strip()) for text in texts]
    if None in numbers:
        raise UserError.at(
            path, f"has a <size> of height {texts[0]!r} and width {texts[1]!r}, expected numbers"
        )
    return size_of(*numbers)


def _corners(element: ElementTree.Element, where: str) -> list[float]:
    """Return xmin, ymin, xmax, ymax of an object's box."""
    boxes = element.findall("bndbox")
    if len(boxes) != 1:
        others = [tag for tag in ("robndbox", "polygon") if element.find(tag) is not None]
        found = f"{len(boxes)} <bndbox>" if boxes else "no <bndbox>"
        if others and not boxes:
            found += f" but <{others[0]}>"
        raise UserError(f"{where} has {found}, expected one <bndbox> that is not rotated")
    corners = []
    for key in ("xmin", "ymin", "xmax", "ymax"):
        text = _text(boxes[0], key, where)
        number = number_of_text(text)
        if number is None:
            raise UserError(f"{where} has <{key}> {text!r}, expected a number of pixels")
        corners.append(number)
    for low, high, axis in ((corners[0], corners[2], "x"), (corners[1], corners[3], "y")):
        if low > high:
            raise UserError(
                f"{where} has <{axis}min> {low:g} above <{axis}max> {high:g}: exchange them"
            )
    return corners


def _text(element: ElementTree.Element, key: str, where: str) -> str:
    text = (element.findtext(key) or "").strip()
    if not text:
        raise UserError(f"{where} has no <{key}>, or an empty one")
    return text
