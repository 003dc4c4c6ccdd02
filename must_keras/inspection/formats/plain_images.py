"""Images that nothing labels: a pool."""

from must_keras.inspection.answers import Answers
from must_keras.inspection.found import TEST, VALIDATION, Findings
from must_keras.inspection.tree import Folder, Tree, split_of


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
                    found.pools.append(path)
                found.explained.add(path)
            elif folder in tests:
                found.unused[path] = (
                    "its images are unlabeled, and its name is that of a split for tests, which no "
                    f"training may see; {path}:kind=images makes it a pool"
                )
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
