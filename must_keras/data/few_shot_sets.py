"""Target domains of few-shot studies: what to download, its layout, and the images to learn from.

The four of the benchmark "A Broader Study of Cross-Domain Few-Shot Learning" (arXiv 1912.07200) are
EuroSAT and PlantVillage, which TFDS prepares, ISIC and ChestX, which are read from folders here.
scikit-learn's digits are a small one that is there without a download.

Example:
    parts = few_shot_sets.unlabeled_fifth(few_shot_sets.digits("target"), seed=0)
    len(parts.unlabeled), len(parts.rest)  # (359, 1438)
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import numpy as np

from must_keras.data.io.folders import Path, existing_folder, label_digest
from must_keras.data.io.tables import Table
from must_keras.data.names import stem
from must_keras.data.sources import LabelSpace, Source, Subset
from must_keras.data.sources.image_files import ImageFiles
from must_keras.data.sources.source import Stored, class_label
from must_keras.data.splits import permutation
from must_keras.errors import UserError

# Lesions of ISIC 2018, task 3, in the order of the table's columns.
ISIC_CLASSES = ("MEL", "NV", "BCC", "AKIEC", "BKL", "DF", "VASC")
# Findings of ChestX that the benchmark uses; images with another one, or with several, are not.
CHEST_CLASSES = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumothorax",
)  # fmt: skip
_ISIC = "ISIC2018_Task3_Training"
# One image in this many is without a label.
_ONE_IN = 5
# A digit of 8 x 8 pixels is enlarged to so many times its side.
_ENLARGED = 4
# Values of a digit's pixels are 0 to 16.
_WHITE = 16.0


class Parts(NamedTuple):
    """The images of a target domain: those to learn from, without labels, and those to score.

    Example:
        parts = unlabeled_fifth(digits("target"), seed=0)
    """

    unlabeled: Source
    rest: Source


def unlabeled_fifth(source: Source, *, seed: int) -> Parts:
    """Return a fifth of the images, chosen at random, and the rest, in the source's order.

    Example:
        unlabeled_fifth(digits("target"), seed=0).unlabeled.name  # "digits_unlabeled"
    """
    order = permutation(source, seed=seed)
    count = len(order) // _ONE_IN
    return _parts(source, order[:count], order[count:])


def published_fifth(source: Source, unlabeled: Path, rest: Path) -> Parts:
    """Return the parts that two tables list, as those of the code of STARTUP.

    Args:
        source: the images.
        unlabeled: a CSV file whose column img_path names images, with or without folders and
            suffix: <domain>_unlabeled_20.csv.
        rest: the same of the images to score: <domain>_labeled_80.csv.

    Raises:
        UserError: a table cannot be read; or names an image that the source does not have, or has
            twice in different folders; or an image is in both.

    Example:
        published_fifth(isic("isic", head="target"), "ISIC_unlabeled_20.csv", "ISIC_labeled_80.csv")
    """
    places: dict[str, int] = {}
    for index in range(len(source)):
        place = places.setdefault(_bare(source.image_id(index)), index)
        if place != index:
            ids = " and ".join(source.image_id(i) for i in (place, index))
            problem = f"source {source.name!r} has {ids}: lists name images without their folders"
            raise UserError(problem, path=unlabeled)
    found: list[list[int]] = []
    for path in (pathlib.Path(unlabeled), pathlib.Path(rest)):
        rows = Table(path, ("img_path",)).rows(("img_path",))
        for line, (name,) in rows:
            if _bare(name) not in places:
                problem = f"{path}, line {line}: source {source.name!r} has no image {name!r}"
                raise UserError(problem, path=path, value=name)
        found.append([places[_bare(name)] for _, (name,) in rows])
    both = set(found[0]) & set(found[1])
    if both:
        raise UserError.at(rest, f"and {unlabeled} both list {source.image_id(min(both))}")
    return _parts(source, *found)


def _parts(source: Source, unlabeled: Sequence[int], rest: Sequence[int]) -> Parts:
    return Parts(
        Subset(source, sorted(unlabeled), name=f"{source.name}_unlabeled"),
        Subset(source, sorted(rest), name=source.name),
    )


def _bare(name: str) -> str:
    return stem(pathlib.PurePosixPath(name).name)


# ---- digits --------------------------------------------------------------------------------------


def digits(head: str) -> Source:
    """Return scikit-learn's handwritten digits: 1,797 gray images of 8 x 8 pixels, enlarged to 32.

    Args:
        head: the head that the ten classes are for.

    Raises:
        UserError: scikit-learn is not installed.
    """
    return _Digits(head)


class _Digits(Source):
    name = "digits"

    def __init__(self, head: str):
        self.label_spaces = {head: LabelSpace("classes", tuple("0123456789"))}
        self._head = head
        self._images, self._classes = _loaded_digits()

    def __len__(self) -> int:
        return len(self._classes)

    def image_id(self, index: int) -> str:
        return f"{index:04}"

    def image(self, index: int) -> np.ndarray:
        side = self._images.shape[1] * _ENLARGED
        gray = np.rint(self._images[index] * (255.0 / _WHITE)).astype(np.uint8)
        large = cv2.resize(gray, (side, side), interpolation=cv2.INTER_CUBIC)
        return np.repeat(large[..., None], 3, axis=2)

    def labels(self, index: int) -> dict[str, Stored]:
        return {self._head: class_label(int(self._classes[index]), 10)}

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "label_spaces": self.label_spaces, "side": 8 * _ENLARGED}


@functools.cache
def _loaded_digits() -> tuple[np.ndarray, np.ndarray]:
    """Return [1797, 8, 8] values and [1797] classes."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        problem = "scikit-learn, whose digits these are, is not installed: pip install scikit-learn"
        raise UserError(problem) from None
    found = load_digits()
    return found.images, found.target


# ---- folders -------------------------------------------------------------------------------------


class _Tabled(ImageFiles):
    """Images below a folder, each with the class that a table gives."""

    def __init__(self, *, csv: pathlib.Path, class_of: Mapping[str, int], **arguments: Any):
        self._csv, self._class_of = csv, class_of
        super().__init__(files=sorted(class_of), **arguments)

    def labels(self, index: int) -> dict[str, Stored]:
        return {
            head: class_label(self._class_of[self.image_id(index)], len(space.classes))
            for head, space in self.label_spaces.items()
        }

    def describe_content(self) -> dict[str, Any]:
        table = {"csv": label_digest(self._csv.parent, [self._csv.name])}
        return super().describe_content() | table


def isic(root: Path, *, head: str) -> Source:
    """Return the 10,015 images of skin lesions of ISIC 2018, task 3, seven classes.

    Args:
        root: folder of the unpacked archives ISIC2018_Task3_Training_Input and
            ISIC2018_Task3_Training_GroundTruth.
        head: the head that the classes are for.

    Raises:
        UserError: a folder, the table or a column is absent, or an image has no class or several.
    """
    root = existing_folder(root)
    csv = root / f"{_ISIC}_GroundTruth" / f"{_ISIC}_GroundTruth.csv"
    class_of = {}
    for line, (name, *values) in Table(csv, ("image", *ISIC_CLASSES)).rows(
        ("image", *ISIC_CLASSES)
    ):
        found = [place for place, value in enumerate(values) if value not in ("0", "0.0")]
        if len(found) != 1:
            raise UserError(
                f"{csv}, line {line}: {len(found)} of its classes are not 0, expected 1"
            )
        class_of[f"{name}.jpg"] = found[0]
    images = existing_folder(root / f"{_ISIC}_Input")
    space = {head: LabelSpace("classes", ISIC_CLASSES)}
    return _Tabled(name="isic", root=images, csv=csv, class_of=class_of, label_spaces=space)


def chest_xray(root: Path, *, head: str) -> Source:
    """Return the X-rays of ChestX with exactly one finding, of the seven that the benchmark uses.

    Args:
        root: folder with images/ and Data_Entry_2017.csv, as the NIH publishes them.
        head: the head that the classes are for.

    Raises:
        UserError: the folder, the table or a column is absent, or no image has one such finding.
    """
    root = existing_folder(root)
    csv, columns = root / "Data_Entry_2017.csv", ("Image Index", "Finding Labels")
    class_of = {
        name: CHEST_CLASSES.index(finding)
        for _, (name, finding) in Table(csv, columns).rows(columns)
        if finding in CHEST_CLASSES
    }
    if not class_of:
        raise UserError.at(csv, f"has no image with one of {', '.join(CHEST_CLASSES)} alone")
    space = {head: LabelSpace("classes", CHEST_CLASSES)}
    images = existing_folder(root / "images")
    return _Tabled(name="chest_xray", root=images, csv=csv, class_of=class_of, label_spaces=space)
