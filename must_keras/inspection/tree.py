"""The files below a folder, listed once."""

import dataclasses
import os
import pathlib
import re
from collections.abc import Collection, Iterator
from typing import NamedTuple

from must_keras.data import names
from must_keras.data.io.folders import SUFFIXES
from must_keras.errors import UserError

# Arrays that are labels of pictures.
ARRAYS = (".npy", ".exr")
_SPLIT_WORDS = {
    "train": "train", "training": "train",
    "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
# A word for a split stands alone between other characters than letters, or before one for labels.
_SPLIT = re.compile(
    rf"(?<![a-z])({'|'.join(sorted(_SPLIT_WORDS, key=len, reverse=True))})"
    r"(?=[^a-z]|\Z|annot|label|mask|image)",
    re.IGNORECASE,
)


class Named(NamedTuple):
    """A path without the word for its split.

    Attributes:
        key: the path with "*" for that word: equal for the parts of one set.
        split: "train", "validation", "test", or "" where the path names none.

    Example:
        split_of("cells/instances_val.json")  # Named("cells/instances_*.json", "validation")
    """

    key: str
    split: str


def split_of(path: str) -> Named:
    """Return what a relative path names: the last word for a split in it counts."""
    found = list(_SPLIT.finditer(path))
    if not found:
        return Named(path, "")
    # images/train2017 and train2017/images: every word of the same split is part of the name.
    split = _SPLIT_WORDS[found[-1][1].lower()]
    key = _SPLIT.sub(lambda word: "*" if _SPLIT_WORDS[word[1].lower()] == split else word[0], path)
    return Named(key, split)


def split_named(word: str) -> str:
    """Return the split that a word alone names, or "".

    Example:
        split_named("Valid")  # "validation"
    """
    return _SPLIT_WORDS.get(word.lower(), "")


def split_words(path: str, split: str) -> list[str]:
    """Return the words for a split in a path, as they are written.

    Example:
        split_words("cells/Val/instances_val.json", "validation")  # ["Val", "val"]
    """
    words = (found[1] for found in _SPLIT.finditer(path))
    return [word for word in words if _SPLIT_WORDS[word.lower()] == split]


@dataclasses.dataclass(frozen=True)
class Folder:
    """The files of one folder, without those of the folders in it.

    Attributes:
        path: of the folder.
        pictures: sorted names of pictures.
        others: sorted names of other files.
        children: sorted names of the folders in it.

    Example:
        Folder(pathlib.Path("oak"), ("1.jpg", "2.jpg"), (), ())
    """

    path: pathlib.Path
    pictures: tuple[str, ...]
    others: tuple[str, ...]
    children: tuple[str, ...]

    def files(self, *suffixes: str) -> list[pathlib.Path]:
        """Return the files that are no pictures and have one of these suffixes."""
        return [self.path / name for name in self.others if name.lower().endswith(suffixes)]


class Tree:
    """The folders below a root, of which some may be explained by what was found before.

    Args:
        root: the folder that a user named.
        folders: {path: folder}, those above first.
        removed: folders that are explained, with all that lies below them.

    Example:
        tree = Tree.of(pathlib.Path("garden"))
        [folder.path for folder in tree]
    """

    def __init__(
        self,
        root: pathlib.Path,
        folders: dict[pathlib.Path, Folder],
        removed: Collection[pathlib.Path] = (),
    ):
        self.root, self.removed = root, frozenset(removed)
        self._all = folders
        self._folders = {
            path: folder
            for path, folder in folders.items()
            if not self.removed & {path, *path.parents}
        }

    @classmethod
    def of(cls, root: pathlib.Path) -> "Tree":
        """List a folder; hidden files and folders are left out.

        Raises:
            UserError: a folder cannot be opened.
        """
        found: dict[pathlib.Path, Folder] = {}
        waiting = [root]
        while waiting:
            path = waiting.pop()
            folder = _listed(path)
            found[path] = folder
            waiting += [path / child for child in reversed(folder.children)]
        return cls(root, found)

    def without(self, paths: Collection[pathlib.Path]) -> "Tree":
        """Return the tree in which these folders, and all below them, are explained."""
        return Tree(self.root, self._all, {*self.removed, *paths})

    def __iter__(self) -> Iterator[Folder]:
        return iter(self._folders.values())

    @property
    def everything(self) -> list[Folder]:
        """All folders, also those that are explained."""
        return list(self._all.values())

    def __contains__(self, path: pathlib.Path) -> bool:
        return path in self._folders

    def __getitem__(self, path: pathlib.Path) -> Folder:
        return self._folders[path]

    def relative(self, path: pathlib.Path) -> str:
        """Return a path relative to the root, "" for the root itself."""
        text = path.relative_to(self.root).as_posix()
        return "" if text == "." else text

    def below(self, path: pathlib.Path) -> list[Folder]:
        """Return a folder and all folders below it."""
        return [f for f in self if path in (f.path, *f.path.parents)]

    def num_pictures(self, path: pathlib.Path) -> int:
        """Return the number of pictures in a folder and below."""
        return sum(len(folder.pictures) for folder in self.below(path))


def _listed(path: pathlib.Path) -> Folder:
    pictures, others, children = [], [], []
    try:
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or not names.is_text(entry.name):
                    continue
                if entry.is_dir():
                    is_loop = entry.is_symlink() and path.resolve().is_relative_to(
                        pathlib.Path(entry.path).resolve()
                    )
                    children += [] if is_loop else [entry.name]
                elif entry.name.lower().endswith(SUFFIXES):
                    pictures.append(entry.name)
                else:
                    others.append(entry.name)
    except OSError as error:
        raise UserError.at(path, f"cannot be opened: {error.strerror}") from None
    return Folder(path, tuple(pictures), tuple(others), tuple(children))
