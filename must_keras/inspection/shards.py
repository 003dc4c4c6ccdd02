"""Files that hold many images each, and the splits that their names tell."""

import pathlib
import re
from collections.abc import Iterator
from typing import NamedTuple

from must_keras.inspection.tree import Folder, Tree, split_of


class Shards(NamedTuple):
    """The files of one split.

    Attributes:
        files: the folder, a file, a pattern of names, or the files: as sources take them.
        first: the first file.
        place: the folder.

    Example:
        web = pathlib.Path("web")
        Shards(web / "train-*.tar", web / "train-0.tar", web)
    """

    files: pathlib.Path | tuple[pathlib.Path, ...]
    first: pathlib.Path
    place: pathlib.Path


def shards_of(tree: Tree, suffix: str) -> Iterator[dict[str, Shards]]:
    """Yield {split, or "": its files} of every set, whose folders or files name the splits.

    Args:
        tree: the folders.
        suffix: of the files: ".tar".

    Example:
        list(shards_of(Tree.of(pathlib.Path("web")), ".tar"))
    """
    groups: dict[str, dict[str, Shards]] = {}
    for folder in tree:
        paths, own = folder.files(suffix), split_of(tree.relative(folder.path))
        splits: dict[str, list[pathlib.Path]] = {}
        for path in paths:
            # A folder called train may hold files of any name.
            splits.setdefault(own.split or split_of(path.name).split, []).append(path)
        for split, files in splits.items():
            found = Shards(_as_argument(folder, files, paths), files[0], folder.path)
            groups.setdefault(own.key, {})[split] = found
    yield from groups.values()


def _as_argument(
    folder: Folder, files: list[pathlib.Path], every: list[pathlib.Path]
) -> pathlib.Path | tuple[pathlib.Path, ...]:
    """Return the shortest argument that names some files of a folder."""
    if files == every:
        return folder.path
    if len(files) == 1:
        return files[0]
    start = re.split(r"\d", files[0].name)[0]
    pattern = f"{start}*{files[0].suffix}"
    found = sorted(folder.path.glob(pattern))
    return folder.path / pattern if found == files else tuple(files)
