"""Boxes in Pascal VOC's XML."""

import pathlib

from must_keras.data.sources import VocXml
from must_keras.inspection.answers import Answers
from must_keras.inspection.found import TEST, TRAIN, VALIDATION, WHOLE, Findings, FoundSet, part
from must_keras.inspection.kinds import Boxes
from must_keras.inspection.tree import Tree

_IMAGES, _BOXES = "JPEGImages", "Annotations"
_LISTS = {TRAIN: ("train", "trainval"), VALIDATION: ("val", "valid"), TEST: ("test",)}


class VocFolders:
    """Folders with JPEGImages/ and Annotations/*.xml.

    Example:
        VocFolders().find(Tree.of(pathlib.Path("VOC2012")), Answers({})).sets
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found = Findings()
        for folder in tree:
            xmls = len(folder.files(".xml"))
            boxes = folder.path / _BOXES
            if boxes in tree and tree[boxes].files(".xml") and _IMAGES in folder.children:
                found.sets.append(_set(folder.path))
                found.explained.add(folder.path)
            elif xmls and folder.path.name != _BOXES and folder.pictures:
                found.unused[folder.path] = (
                    f"{xmls} XML files: Pascal VOC's are read from {_BOXES}/ beside {_IMAGES}/; "
                    "move XML and images there"
                )
        return found


def _set(root: pathlib.Path) -> FoundSet:
    lists = {}
    for split, names in _LISTS.items():
        name = next((n for n in names if _names_images(root, n)), None)
        lists |= {} if name is None else {split: name}
    if TRAIN not in lists or len(lists) < 2:
        lists = {WHOLE: None}
    parts = {split: part(VocXml, root=root, split=name) for split, name in lists.items()}
    remarks = ["its label maps (SegmentationClass/) are not used"] if _has_maps(root) else []
    return FoundSet(
        kind=Boxes(),
        form="Pascal VOC XML",
        place=root,
        parts=parts,
        takes_classes=True,
        remarks=tuple(remarks),
    )


def _has_maps(root: pathlib.Path) -> bool:
    return (root / "SegmentationClass").is_dir()


def _names_images(root: pathlib.Path, name: str) -> bool:
    """Return whether a list is there, and the annotation of its first line."""
    path = root / "ImageSets" / "Main" / f"{name}.txt"
    if not path.is_file():
        return False
    first = path.read_text(encoding="utf-8", errors="replace").split(maxsplit=1)[:1]
    return bool(first) and (root / _BOXES / f"{first[0]}.xml").is_file()
