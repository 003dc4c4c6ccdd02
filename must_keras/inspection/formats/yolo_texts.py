"""Boxes and polygons in YOLO's text files."""

import pathlib
import re

from must_keras.data.io.yolo_files import YoloDataset
from must_keras.data.sources import YoloTxt
from must_keras.errors import UserError
from must_keras.inspection.answers import Answers, Question
from must_keras.inspection.found import TRAIN, WHOLE, Findings, FoundSet, part
from must_keras.inspection.kinds import Boxes
from must_keras.inspection.tree import Tree, split_of

# A class and four numbers or more, fractions of the image.
_LINE = re.compile(r"\d+([ \t]+-?\d*\.?\d+(e-?\d+)?){4,}", re.IGNORECASE)
_MAX_FILES = 5
# What a dataset's file has, and files of other programs have not.
_KEYS = tuple(re.compile(rf"^({keys})\s*[:=]", re.MULTILINE) for keys in ("names", "train|val"))
_CLASS_FILES = ("classes.txt", "obj.names")
_KEYPOINTS = "keypoints are not read, boxes are"


class YoloTexts:
    """Datasets with data.yaml, obj.data, or classes.txt beside images/ and labels/.

    Example:
        YoloTexts().find(Tree.of(pathlib.Path("fruit")), Answers({})).sets
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found = Findings()
        for folder in tree:
            for path in folder.files(".yaml", ".yml", ".data"):
                if _is_dataset(path) and answers.of(path, "kind") != "skip":
                    _add(path, found)
        for folder in tree:
            named = [path for path in folder.files(*_CLASS_FILES) if _is_beside_labels(tree, path)]
            if named and not found.explained & {folder.path / "images", folder.path}:
                _add(named[0], found)
        for folder in tree:
            texts = folder.files(".txt")
            if any(map(_has_boxes, texts[:_MAX_FILES])) and folder.path not in found.explained:
                found.unused[folder.path] = (
                    f"{len(texts)} text files with boxes as YOLO has them, but no file names their "
                    "classes: write data.yaml with names, train and val in the folder above"
                )
        return found


def _add(path: pathlib.Path, found: Findings) -> None:
    """Add the set that a data file describes, or a question where it cannot be read."""
    try:
        dataset = YoloDataset.read(path)
        places = _places(dataset)
    except UserError as error:
        text = f"it cannot be used as it is ({error}): mend it, or leave it out"
        found.questions.append(Question(path, text, "kind", ("skip",)))
        return
    parts = {split_of(key).split: part(YoloTxt, data=path, split=key) for key in places}
    if TRAIN not in parts or len(parts) < 2:
        parts = {WHOLE: part(YoloTxt, data=path, split=next(iter(places)))}
    found.explained |= {folder for folders in places.values() for folder in folders}
    found.sets.append(
        FoundSet(
            kind=Boxes(),
            form="YOLO text",
            place=path.parent,
            parts=parts,
            remarks=(_KEYPOINTS,) if dataset.num_keypoint_values else (),
        )
    )


def _places(dataset: YoloDataset) -> dict[str, set[pathlib.Path]]:
    """Return {split: folders of its images and labels} of the splits that are there.

    Raises:
        UserError: none is; why the first one is not.
    """
    found: dict[str, set[pathlib.Path]] = {}
    problems = []
    for key in dataset.splits:
        try:
            images = dataset.images(key)
        except UserError as error:
            problems.append(error)
            continue
        labels = [file for file in dataset.label_files(images) if file is not None]
        files = [images.root / file for file in images.files]
        files += [dataset.root / file for file in labels]
        found[key] = {file.parent for file in files} | {images.root} - {dataset.root}
    if not found and problems:
        raise problems[0]
    return found


def _is_dataset(path: pathlib.Path) -> bool:
    text = path.read_text(encoding="utf-8", errors="replace")
    return all(key.search(text) for key in _KEYS)


def _is_beside_labels(tree: Tree, path: pathlib.Path) -> bool:
    labels = path.parent / "labels"
    is_there = labels in tree and any(map(_has_boxes, tree[labels].files(".txt")[:_MAX_FILES]))
    return is_there and path.parent / "images" in tree


def _has_boxes(path: pathlib.Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return bool(_LINE.fullmatch(file.readline(400).strip()))
