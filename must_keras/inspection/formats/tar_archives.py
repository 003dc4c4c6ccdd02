"""Pools in tar archives, as WebDataset has them."""

import pathlib
import posixpath

from must_keras.data.io.tar_files import TarIndex
from must_keras.data.sources import TarShards
from must_keras.errors import UserError, listed
from must_keras.inspection.answers import Answers
from must_keras.inspection.formats.plain_images import for_tests
from must_keras.inspection.found import TRAIN, WHOLE, Findings, FoundPool, part
from must_keras.inspection.shards import shards_of
from must_keras.inspection.tree import Tree

_COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
# Of labels and captions in archives.
_LABELS = (".cls", ".json", ".txt", ".csv", ".xml", ".npy")


class TarArchives:
    """Folders of tar archives with images: pools, whose labels are not read.

    Example:
        TarArchives().find(Tree.of(pathlib.Path("web")), Answers({})).pools
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found = Findings()
        for folder in tree:
            if not tree.num_pictures(folder.path):
                for path in folder.files(*_COMPRESSED):
                    found.unused[path] = (
                        "is a compressed archive, which cannot be read at any place: decompress "
                        "it to use its images"
                    )
        for splits in shards_of(tree, ".tar"):
            for split, shards in splits.items():
                if tree.num_pictures(shards.place):
                    found.unused[shards.first] = (
                        "archives that lie beside images are not used: move them into a folder of "
                        "their own to use them"
                    )
                elif split in (WHOLE, TRAIN) or answers.of(shards.place, "kind") == "images":
                    found.pools.append(
                        FoundPool(
                            place=shards.place,
                            part=part(TarShards, shards=shards.files),
                            form="tar archives",
                            remarks=_remarks(shards.first),
                        )
                    )
                else:
                    found.unused[shards.first] = for_tests(
                        shards.place, "its images are unlabeled, and its name is"
                    )
        return found


def _remarks(path: pathlib.Path) -> tuple[str, ...]:
    """Return that an archive has labels too, if it has; its source reports what is damaged."""
    try:
        names = TarIndex(path, lambda name: name.lower().endswith(_LABELS)).names
    except UserError:
        return ()
    suffixes = sorted({posixpath.splitext(name)[1].lower() for name in names})
    return (f"what its archives have beside images ({listed(suffixes)}) is not read",) * bool(names)
