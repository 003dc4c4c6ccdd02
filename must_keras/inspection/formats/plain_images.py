"""Images that nothing labels: a pool."""

import pathlib

from must_keras.inspection.answers import Answers
from must_keras.inspection.found import TEST, VALIDATION, Findings, FoundPool
from must_keras.inspection.tree import Folder, Tree, split_of


def for_tests(path: pathlib.Path, what: str) -> str:
    """Return why unlabeled images of a split for tests are no pool.

    Args:
        path: that the answer is about.
        what: the images, and what their name is, to precede "that of a split for tests".
    """
    return (
        f"{what} that of a split for tests, which no training may see; {path}:kind=images makes "
        "it a pool"
    )


class PlainImages:
    """All images that no other format explains, in folders that are as large as possible.

    Example:
        PlainImages().find(Tree.of(pathlib.Path("photos")), Answers({})).pools
    """

    def find(self, tree: Tree, answers: Answers) -> Findings:
        found = Findings()
        for folder in tree:
            path = folder.path
            if found.explained & {path, *path.parents}:
                continue
            # A pool is searched with all that lies below it.
            is_shared = any(path in place.parents for place in tree.removed)
            tests = [one for one in tree.below(path) if _is_for_tests(tree, one, answers)]
            if not is_shared and not tests:
                if tree.num_pictures(path):
                    found.pools.append(FoundPool.of_folder(path))
                found.explained.add(path)
            elif folder in tests:
                found.unused[path] = for_tests(path, "its images are unlabeled, and its name is")
                found.explained.add(path)
            elif folder.pictures:
                found.unused[path] = (
                    f"{len(folder.pictures)} images (for example {folder.pictures[0]}) lie beside "
                    "folders of other sets: move them into a folder of their own to use them"
                )
        return found


def _is_for_tests(tree: Tree, folder: Folder, answers: Answers) -> bool:
    split = split_of(tree.relative(folder.path)).split
    is_test = bool(folder.pictures) and split in (VALIDATION, TEST)
    return is_test and answers.of(folder.path, "kind") != "images"
