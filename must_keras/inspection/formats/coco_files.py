"""Boxes and masks in COCO's JSON."""

import json
import pathlib
import posixpath
import re
from collections import defaultdict
from typing import NamedTuple

from must_keras.data.sources import CocoJson
from must_keras.inspection.answers import Answers, Question
from must_keras.inspection.found import Findings, FoundSet, part
from must_keras.inspection.kinds import Boxes
from must_keras.inspection.tree import Tree, split_of

_FILE_NAME = re.compile(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")')
# Of its images so many are searched for.
_MAX_SOUGHT = 20
# {key of other annotation files: what of them}; the second kind lack a part of COCO's.
_PANOPTIC = {
    "segments_info": "panoptic annotations are read by CocoPanoptic, which is not written here"
}
_WITHOUT_PARTS = {
    "caption": "captions are not read",
    "original_width": "exports of Label Studio are for LabelStudioJson, which is not written here",
}


class _File(NamedTuple):
    """An annotation file, and the folder of its images."""

    path: pathlib.Path
    images: pathlib.Path
    folders: frozenset[pathlib.Path]
    has_keypoints: bool


class CocoFiles:
    """Annotation files in COCO's format anywhere below a root, beside their images or not.

    Example:
        CocoFiles().find(Tree.of(pathlib.Path("fruit")), Answers({})).sets
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found, groups = Findings(), defaultdict[str, dict[str, _File]](dict)
        files = [path for folder in tree for path in folder.files(".json")]
        for path in files:
            file = self._file(tree, path, answers, found)
            if file is not None:
                named = split_of(tree.relative(path))
                groups[named.key][named.split] = file
        for key, parts in _without_keypoints(groups, found).items():
            first = next(iter(parts.values()))
            remarks = ["keypoints are not read, boxes are"] if first.has_keypoints else []
            found.sets.append(
                FoundSet(
                    kind=Boxes(),
                    form="COCO JSON",
                    place=_place(tree, key, first),
                    parts={
                        split: part(CocoJson, images=file.images, annotations=file.path)
                        for split, file in parts.items()
                    },
                    remarks=tuple(remarks),
                )
            )
            found.explained |= {one for file in parts.values() for one in file.folders}
        return found

    def _file(
        self, tree: Tree, path: pathlib.Path, answers: Answers, found: Findings
    ) -> _File | None:
        """Return an annotation file with images; None for other files, of which some are noted."""
        if answers.of(path, "kind") == "skip":
            return None
        data = path.read_bytes()
        has_parts = all(f'"{k}"'.encode() in data for k in ("images", "categories", "annotations"))
        # Tools add keys of their own to the images of COCO files.
        others = _PANOPTIC if has_parts else _PANOPTIC | _WITHOUT_PARTS
        for key, why in others.items():
            if f'"{key}"'.encode() in data and b'"annotations"' in data:
                found.unused[path] = why
                return None
        if not has_parts:
            if b'"bbox"' in data or b'"shapes"' in data:
                found.unused[path] = "boxes, but not in COCO's format"
            return None
        names = [json.loads(text) for text in _FILE_NAME.findall(data)]
        images = _images(tree, path, names)
        if images is None:
            example = f" (for example {names[0]})" if names else ""
            text = f"no folder holds the images that it names{example}: name their folder, too"
            found.questions.append(Question(path, text, "kind", ("skip",)))
            return None
        folders = frozenset(images / posixpath.dirname(name.replace("\\", "/")) for name in names)
        return _File(path, images, folders, b'"keypoints"' in data)


def _without_keypoints(
    groups: dict[str, dict[str, _File]], found: Findings
) -> dict[str, dict[str, _File]]:
    """Leave out files of keypoints where others have objects of the same images."""
    plain = {
        folder
        for parts in groups.values()
        for file in parts.values()
        if not file.has_keypoints
        for folder in file.folders
    }
    kept = {}
    for key, parts in groups.items():
        if all(file.has_keypoints and file.folders <= plain for file in parts.values()):
            found.unused |= dict.fromkeys((f.path for f in parts.values()), "keypoints are ignored")
        else:
            kept[key] = parts
    return kept


def _images(tree: Tree, path: pathlib.Path, names: list[str]) -> pathlib.Path | None:
    """Return the folder in which most of the named images are, the nearest of several."""
    step = max(len(names) // _MAX_SOUGHT, 1)
    sought = [name.replace("\\", "/") for name in names[::step][:_MAX_SOUGHT]]
    split = split_of(tree.relative(path)).split
    ranked = []
    for folder in tree:
        hits = sum((folder.path / name).is_file() for name in sought)
        if hits:
            is_same_split = split_of(tree.relative(folder.path)).split == split
            shared = len([one for one in folder.path.parents if one in path.parents])
            ranked.append((hits, is_same_split, shared, folder.path))
    return max(ranked, key=lambda one: one[:3])[3] if ranked else None


def _place(tree: Tree, key: str, first: _File) -> pathlib.Path:
    """Return the folder that names the set: the one that holds annotations and images."""
    above = first.path.parent
    while above not in (first.images, *first.images.parents) and above != tree.root:
        above = above.parent
    return above.parent if split_of(above.name).split and "*" in key else above
