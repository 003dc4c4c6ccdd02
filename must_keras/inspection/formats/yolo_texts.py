"""Boxes in text files as YOLO has them, which no source reads."""

import pathlib
import re

from must_keras.inspection.answers import Answers
from must_keras.inspection.found import Findings
from must_keras.inspection.tree import Tree

# A class and four numbers or more, fractions of the image.
_LINE = re.compile(r"\d+([ \t]+-?\d*\.?\d+(e-?\d+)?){4,}", re.IGNORECASE)
_MAX_FILES = 5


class YoloTexts:
    """Folders of text files, one for each image, with a box a line: noted, and not read.

    Example:
        YoloTexts().find(Tree.of(pathlib.Path("fruit")), Answers({})).unused
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found = Findings()
        for folder in tree:
            texts = folder.files(".txt")
            if any(map(_has_boxes, texts[:_MAX_FILES])):
                found.unused[folder.path] = (
                    f"{len(texts)} text files with boxes as YOLO has them, which are not read: "
                    "convert them to COCO JSON"
                )
        return found


def _has_boxes(path: pathlib.Path) -> bool:
    with path.open(encoding="utf-8", errors="replace") as file:
        return bool(_LINE.fullmatch(file.readline(400).strip()))
