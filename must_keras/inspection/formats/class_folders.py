"""A folder for every class."""

import pathlib
import re
from collections import defaultdict

from must_keras.data.sources import FolderPerClass
from must_keras.errors import listed
from must_keras.inspection.answers import Answers, Question
from must_keras.inspection.found import Findings, FoundPool, FoundSet, part
from must_keras.inspection.kinds import Classes
from must_keras.inspection.tree import Tree, split_of

# Folders of such names hold photos of any class, or are part of another layout.
_POOL = re.compile(
    r"(un-?label(l?ed)?|unsupervised|pool|pile|photos?|pictures?|imgs?|images?|raw|extra|misc|dcim|"
    r"rgb|colou?r|labels?|masks?|maps?|annotations?|annots?|depths?|normals?|jpegimages)",
    re.IGNORECASE,
)
# Days, months and years, folders of cameras: kinds of photos, or their dates?
_DATE = re.compile(r"(19|20)\d\d([-_.]?\d\d){0,2}|\d{3}[A-Z_]{3,5}", re.IGNORECASE)
# A larger share of images beside the folders is no stray file.
_STRAY_SHARE = 0.05
# So many sets of classes in one folder may be classes with folders in them.
_MANY_SETS = 3


def is_pool_name(name: str) -> bool:
    """Return whether a folder's name is one for photos of any kind: "unlabeled", "images"."""
    return any(_POOL.fullmatch(word) for word in re.split(r"[_\W]+", name) if word)


class ClassFolders:
    """Images for classification in a folder per class.

    Example:
        ClassFolders().find(Tree.of(pathlib.Path("garden")), Answers({})).sets
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found, roots = Findings(), defaultdict[str, dict[str, pathlib.Path]](dict)
        for folder in tree:
            if found.explained & set(folder.path.parents):
                continue
            stated = answers.at(folder.path, "kind")
            if stated == "images":
                found.pools.append(FoundPool.of_folder(folder.path))
            elif stated != "classes":
                if not self._are_classes(tree, folder.path):
                    continue
                question = _question(tree, folder.path)
                if question is not None:
                    found.questions.append(question)
                    found.explained.add(folder.path)
                    continue
            found.explained.add(folder.path)
            if stated != "images":
                named = split_of(tree.relative(folder.path))
                roots[named.key][named.split] = folder.path
        for parts in roots.values():
            place = next(iter(parts.values()))
            beside = [p for one in roots.values() for p in one.values() if p.parent == place.parent]
            found.sets.append(
                FoundSet(
                    kind=Classes(),
                    form="a folder per class",
                    place=place if len(parts) == 1 else place.parent,
                    parts={s: part(FolderPerClass, root=path) for s, path in parts.items()},
                    takes_classes=True,
                    has_order=False,
                    remarks=_remarks(place, beside) if len(parts) == 1 else (),
                )
            )
        return found

    def _are_classes(self, tree: Tree, path: pathlib.Path) -> bool:
        folder = tree[path]
        children = [path / name for name in folder.children]
        if len(children) < 2 or is_pool_name(path.name):
            return False
        if any(child not in tree or not tree[child].pictures for child in children):
            # An empty folder among folders of images is a mistake that its source reports.
            known = [c for c in children if c in tree and tree.num_pictures(c)]
            if len(known) < 2 or not all(c in tree and _is_plain(tree, c) for c in children):
                return False
        names = [child.name for child in children]
        if any(split_of(name).split or is_pool_name(name) for name in names):
            return False
        beside = len(folder.pictures)
        return beside <= _STRAY_SHARE * tree.num_pictures(path)


def _is_plain(tree: Tree, path: pathlib.Path) -> bool:
    """Return whether a folder holds images alone, or nothing at all."""
    folder = tree[path]
    return bool(folder.pictures) or not (folder.children or folder.others)


def _question(tree: Tree, path: pathlib.Path) -> Question | None:
    """Return what is not clear of a folder of folders; None where they are classes."""
    folder = tree[path]
    if all(_DATE.fullmatch(name) for name in folder.children):
        text = f"are its folders ({', '.join(folder.children[:3])}) classes, or dates of photos?"
        return Question(path, text, "kind", ("classes", "images"))
    if folder.pictures:
        text = (
            f"{len(folder.pictures)} of its images (for example {folder.pictures[0]}) are in none "
            f"of its {len(folder.children)} class folders: move them into one, or use all images "
            "as unlabeled ones"
        )
        return Question(path, text, "kind", ("images",))
    return None


def _remarks(place: pathlib.Path, beside: list[pathlib.Path]) -> tuple[str, ...]:
    """Return what to do where folders of folders may be classes themselves, once for all."""
    if len(beside) < _MANY_SETS or place != beside[0]:
        return ()
    names = listed([path.name for path in beside])
    return (
        f"{names} are sets with classes of their own; if they are the classes, add the argument "
        f"'{place.parent}:kind=classes'",
    )
