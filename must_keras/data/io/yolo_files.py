"""YOLO's text files: which images a dataset has, and the objects of an image, a line each."""

import functools
import math
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import yaml

from must_keras.data.io.annotation_fields import few, number_of_text, shown
from must_keras.data.io.folders import Path, existing_folder, picture_files
from must_keras.data.io.text_files import decoded, read_bytes, read_class_names, read_lines
from must_keras.data.names import FileFinder
from must_keras.errors import UserError, not_allowed

# Splits in the order in which they are read, by the names that data files give them.
SPLITS = ("train", "val", "valid", "validation", "test")
# Tools round: coordinates this far outside of the image are cut to it, as Ultralytics does.
_TOLERANCE = 0.01
_NUM_BOX_VALUES, _MIN_POINTS = 4, 3
_IMAGES, _LABELS = "images", "labels"
_EXPECTED = (
    "expected a class and x y width height, or a class and at least three points x y, as fractions "
    "of the image; a score may follow"
)


class YoloDataset(NamedTuple):
    """The content of a dataset's file: data.yaml, or those of older tools.

    Attributes:
        path: of the file.
        root: the folder that the images lie in.
        classes: names in the order of the numbers.
        splits: {name: folders or lists of images, as written}.
        num_keypoint_values: numbers of keypoints that follow a box in a line; 0 without.

    Example:
        dataset = YoloDataset.read("fruit/data.yaml")
        dataset.images("train").files[0]  # "1.jpg", below fruit/images/train
    """

    path: pathlib.Path
    root: pathlib.Path
    classes: tuple[str, ...]
    splits: dict[str, tuple[str, ...]]
    num_keypoint_values: int

    @classmethod
    def read(cls, path: Path, root: Path | None = None) -> "YoloDataset":
        """Read a dataset's file.

        Args:
            path: Ultralytics' data.yaml; Darknet's obj.data, as CVAT writes it; or a text file
                with the name of a class a line, beside a folder images/, as Label Studio writes it.
            root: the folder that the images lie in; None: "path" in data.yaml, else the folder of
                the file.

        Raises:
            UserError: it cannot be read, has no names of classes, or names a folder outside of its
                own without `root`.
        """
        path = pathlib.Path(path)
        suffix = path.suffix.lower()
        fields = _yaml_fields(path) if suffix in (".yaml", ".yml") else {}
        if suffix == ".data":
            fields = _darknet_fields(path)
        elif not fields:
            fields = {"names": list(read_class_names(path)), "train": _IMAGES}
        folder = path.parent if root is None else existing_folder(root)
        if root is None and fields.get("path"):
            folder = _root(path, fields["path"])
        return cls(
            path=path,
            root=folder,
            classes=_class_names(path, fields),
            splits={key: _places(path, key, fields[key]) for key in SPLITS if fields.get(key)},
            num_keypoint_values=_num_keypoint_values(path, fields),
        )

    def images(self, split: str | None) -> "YoloImages":
        """Return the images of a split, or of all splits one after the other, each once.

        Raises:
            UserError: there is no such split, or it names what is not there or lies outside of the
                root.
        """
        if split is not None and split not in self.splits:
            raise not_allowed(
                f"{self.path} has no split {split!r}", split, self.splits, key="split"
            )
        named = self.splits if split is None else {split: self.splits[split]}
        if not named:
            raise UserError.at(self.path, f"names no images: expected {', '.join(SPLITS[:2])}, ...")
        finder = FileFinder(self.root)
        texts = [(key, text) for key, ones in named.items() for text in ones]
        # Small sets often name one folder for two splits.
        places = list(dict.fromkeys(self._place(key, text, finder) for key, text in texts))
        if len(places) == 1 and (self.root / places[0]).is_dir():
            root = self.root / places[0]
            return YoloImages(root, picture_files(root))
        files: dict[str, None] = {}
        for place in places:
            at = self.root / place
            if at.is_dir():
                files |= dict.fromkeys(_joined(place, file) for file in picture_files(at))
            else:
                files |= dict.fromkeys(self._listed(at, finder))
        return YoloImages(self.root, list(files))

    def label_files(self, images: "YoloImages") -> list[str | None]:
        """Return the label file of each image, below the root; None where there is none.

        The last folder called images becomes labels, images/a/1.jpg to labels/a/1.txt; without such
        a folder the label lies beside the image.
        """
        below = os.path.relpath(images.root, self.root).replace(os.sep, "/")
        find = functools.cache(FileFinder)
        found: list[str | None] = []
        for file in images.files:
            *folders, name = _joined(below, file).split("/")
            if _IMAGES in folders:
                folders[len(folders) - 1 - folders[::-1].index(_IMAGES)] = _LABELS
            folder = "/".join(folders)
            label = find(self.root / folder).find(f"{os.path.splitext(name)[0]}.txt")
            found.append(None if label is None else _joined(folder, label))
        return found

    def _place(self, key: str, text: str, finder: FileFinder) -> str:
        """Return the path below the root of a folder or a list of images."""
        for one in _readings(self.root, text):
            if (self.root / one).is_dir():
                return one
            if finder.find(one) is not None:
                return str(finder.find(one))
        outside = os.path.isabs(text) and not _is_below(self.root, text)
        hint = "; set root= to the folder that all images lie in" if outside else ""
        raise UserError.at(self.path, f": {key} is {text!r}, which is not in {self.root}{hint}")

    def _listed(self, path: pathlib.Path, finder: FileFinder) -> Iterator[str]:
        """Yield the images of a list, below the root."""
        if path.suffix.lower() != ".txt":
            problem = f"names {path}, expected folders, or text files with an image a line"
            raise UserError.at(self.path, problem)
        below = os.path.relpath(path.parent, self.root).replace(os.sep, "/")
        for number, text in read_lines(path):
            texts = [text, *(() if os.path.isabs(text) else (_joined(below, text),))]
            readings = [one for t in texts for one in _readings(self.root, t)]
            file = next((f for one in readings if (f := finder.find(one)) is not None), None)
            if file is None:
                outside = os.path.isabs(text) and not _is_below(self.root, text)
                hint = "; set root= to the folder that all images lie in" if outside else ""
                raise UserError.at(
                    path, f", line {number}: there is no image {text!r} in {self.root}{hint}"
                )
            yield file


class YoloImages(NamedTuple):
    """Images of a dataset.

    Attributes:
        root: the folder of the images; the dataset's where lists or several folders name them.
        files: paths below it.

    Example:
        YoloImages(pathlib.Path("fruit/images/train"), ["1.jpg"])
    """

    root: pathlib.Path
    files: list[str]


# ---- the file of a dataset -----------------------------------------------------------------------


def _yaml_fields(path: pathlib.Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(decoded(path, read_bytes(path), "utf-8-sig"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError.at(
            path, f"{line or ':'}{':' if line else ''} not YAML: {problem}"
        ) from None
    except RecursionError:
        raise UserError.at(path, "cannot be read as YAML: it is nested too deeply") from None
    if type(found) is not dict:
        raise UserError.at(path, f"is {shown(found)}, expected 'names', 'train' and 'val'")
    return found


def _darknet_fields(path: pathlib.Path) -> dict[str, Any]:
    """Return the fields of "key = value" lines, with the names of the file that "names" names."""
    fields: dict[str, Any] = {}
    for number, text in read_lines(path):
        key, is_field, value = (part.strip() for part in text.partition("="))
        if not is_field:
            raise UserError.at(path, f", line {number}: {text!r}, expected 'key = value'")
        fields[key] = value
    if "names" not in fields:
        raise UserError.at(path, "has no 'names': expected the path of a file with a class a line")
    texts = _readings(path.parent, fields["names"])
    names = next((path.parent / one for one in texts if (path.parent / one).is_file()), None)
    if names is None:
        problem = f": names is {fields['names']!r}, which is not in {path.parent}"
        raise UserError.at(path, problem)
    return fields | {"names": list(read_class_names(names))}


def _root(path: pathlib.Path, text: Any) -> pathlib.Path:
    """Return the folder that "path" names: below that of the file, or that itself where absent."""
    if type(text) is not str:
        raise UserError.at(path, f": path is {shown(text)}, expected a folder")
    if not _is_below(path.parent, os.path.join(path.parent, text)):
        problem = f": path is {text!r}, outside of {path.parent}; set root= to the images' folder"
        raise UserError.at(path, problem, key="root")
    folder = path.parent / text
    # Ultralytics reads it as relative to a folder of all datasets as well.
    return folder if folder.is_dir() else path.parent


def _class_names(path: pathlib.Path, fields: dict[str, Any]) -> tuple[str, ...]:
    """Return the names in the order of their numbers, from a list or a mapping."""
    names, expected = fields.get("names"), "expected a list of names, or {0: name, 1: name, ...}"
    if type(names) is dict:
        numbers = [int(k) if type(k) is str and k.isdecimal() else k for k in names]
        if sorted(numbers, key=str) != sorted(range(len(names)), key=str):
            problem = (
                f": the keys of 'names' are {few(list(names))}, expected 0 to {len(names) - 1}"
            )
            raise UserError.at(path, problem)
        by_number = dict(zip(numbers, names.values(), strict=True))
        names = [by_number[number] for number in range(len(names))]
    if type(names) is not list or not names:
        problem = f"has the 'names' {shown(names)}" if "names" in fields else "has no 'names'"
        raise UserError.at(path, f"{problem}, {expected}")
    for number, name in enumerate(names):
        if type(name) not in (str, int) or not str(name).strip():
            problem = f": name {number} is {shown(name)}, expected text; put it in quotes"
            raise UserError.at(path, problem)
    classes = tuple(str(name).strip() for name in names)
    twice = next((name for name in classes if classes.count(name) > 1), None)
    if twice is not None:
        raise UserError.at(path, f": two of its 'names' are {twice!r}, expected different names")
    count = fields.get("nc", len(classes))
    if count != len(classes):
        problem = f": nc is {shown(count)}, but there are {len(classes)} 'names' ({few(classes)})"
        raise UserError.at(path, problem)
    return classes


def _places(path: pathlib.Path, key: str, value: Any) -> tuple[str, ...]:
    texts = value if type(value) is list else [value]
    if not all(type(text) is str and text for text in texts):
        problem = f": {key} is {shown(value)}, expected a folder, a list of images, or several"
        raise UserError.at(path, problem)
    return tuple(texts)


def _num_keypoint_values(path: pathlib.Path, fields: dict[str, Any]) -> int:
    shape = fields.get("kpt_shape")
    if shape is None:
        return 0
    if type(shape) is not list or len(shape) != 2 or not all(type(n) is int for n in shape):
        raise UserError.at(path, f": kpt_shape is {shown(shape)}, expected [points, 2 or 3]")
    return shape[0] * shape[1]


def _readings(root: pathlib.Path, text: str) -> list[str]:
    """Return the paths below a root that a text may mean, the plainest first.

    Roboflow writes ../train for train, and CVAT data/train for train.
    """
    if os.path.isabs(text):
        return [os.path.relpath(text, root)] if _is_below(root, text) else []
    plain = text.replace("\\", "/").strip()
    found = [plain, re.sub(r"\A(\.\./)+", "", plain), plain.partition("/")[2]]
    below = [one for one in found if one and _is_below(root, os.path.join(root, one))]
    return [_joined("", one) for one in below]


def _is_below(root: Path, path: Path) -> bool:
    below = os.path.relpath(os.path.abspath(path), os.path.abspath(root))
    return below != ".." and not below.startswith(f"..{os.sep}")


def _joined(folder: str, file: str) -> str:
    return os.path.normpath(os.path.join(folder, file)).replace(os.sep, "/")


# ---- the objects of an image ---------------------------------------------------------------------


class YoloObject(NamedTuple):
    """A line of a label file.

    Attributes:
        index: of the class.
        corners: (ymin, xmin, ymax, xmax), fractions of the image, which a box may exceed.
        polygon: [n, 2] (x, y), fractions of the image; None of a box.
        score: from 0 to 1; None without.
        where: file and line.

    Example:
        read_objects("labels/1.txt", dataset)[0].corners
    """

    index: int
    corners: tuple[float, float, float, float]
    polygon: np.ndarray | None
    score: float | None
    where: str


def read_objects(path: Path, dataset: YoloDataset) -> list[YoloObject]:
    """Return the objects in a label file; [] for an empty one.

    Raises:
        UserError: the file cannot be read, or a line is no object: its number, and why.
    """
    lines = decoded(path, read_bytes(path), "utf-8-sig").splitlines()
    return [
        _object(line.split(), f"{path}, line {number}", dataset)
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _object(texts: Sequence[str], where: str, dataset: YoloDataset) -> YoloObject:
    values = _numbers(texts[1:], where)
    index = _class_index(texts[0], where, dataset)
    if dataset.num_keypoint_values and len(values) > _NUM_BOX_VALUES:
        if len(values) != _NUM_BOX_VALUES + dataset.num_keypoint_values:
            raise UserError(
                f"{where} has {len(texts)} numbers, expected a class, a box and "
                f"{dataset.num_keypoint_values} of keypoints as {dataset.path} has in kpt_shape"
            )
        values = values[:_NUM_BOX_VALUES]
    score = None
    if len(values) % 2 and len(values) > _NUM_BOX_VALUES:
        score = values.pop()
        if not 0 <= score <= 1:
            raise UserError(f"{where} has the score {score:g}, expected a number from 0 to 1")
    if len(values) < _NUM_BOX_VALUES or len(values) % 2:
        raise UserError(f"{where} has {len(texts)} numbers, {_EXPECTED}")
    if not (min(values) >= -_TOLERANCE and max(values) <= 1 + _TOLERANCE):
        odd = next(v for v in values if not -_TOLERANCE <= v <= 1 + _TOLERANCE)
        hint = "; are they pixels? divide x by the width, y by the height" if odd > 2 else ""
        raise UserError(f"{where}: {odd:g} lies outside of 0 to 1, {_EXPECTED}{hint}")
    if len(values) == _NUM_BOX_VALUES:
        x, y, width, height = values
        corners = (y - height / 2, x - width / 2, y + height / 2, x + width / 2)
        return YoloObject(index, corners, None, score, where)
    if len({*zip(values[::2], values[1::2], strict=True)}) < _MIN_POINTS:
        raise UserError(f"{where} has a polygon of fewer than three different points, {_EXPECTED}")
    points = np.clip(np.reshape(values, (-1, 2)), 0.0, 1.0)
    (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
    return YoloObject(index, (top, left, bottom, right), points, score, where)


def _numbers(texts: Sequence[str], where: str) -> list[float]:
    try:
        values = list(map(float, texts))
        if all(map(math.isfinite, values)):
            return values
    except ValueError:
        pass
    odd = next((text for text in texts if number_of_text(text) is None), texts[0])
    raise UserError(f"{where} has {odd!r}, which is no finite number, {_EXPECTED}")


def _class_index(text: str, where: str, dataset: YoloDataset) -> int:
    """Return a class's number, which may be written as a decimal: 1.0."""
    number, count = number_of_text(text), len(dataset.classes)
    if number is None or not number.is_integer():
        raise UserError(
            f"{where} begins with {text!r}, expected the number of a class from 0 to {count - 1}"
        )
    if not 0 <= number < count:
        raise UserError(
            f"{where} has class {text}, {dataset.path} has {count} names: expected 0 to {count - 1}"
        )
    return math.floor(number)
