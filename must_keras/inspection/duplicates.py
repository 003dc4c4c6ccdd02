"""Files with the same bytes, among the images of all sets."""

import pathlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

from must_keras.data.sources import Source
from must_keras.files import file_sha256

# Files of which bytes are compared, and images of a source whose sizes are.
_MAX_HASHED, _MAX_FILES = 4000, 50_000


def num_copies(source: Source, other: Source) -> int:
    """Return how many image files of a source another source has too.

    Those are the same file, or files of the same bytes; of many files of equal sizes the first
    thousands are compared. 0 for sources whose images are no files.
    """
    known, sizes = set(), defaultdict(list)
    for file in _files(other):
        known.add(file.resolve())
        sizes[file.stat().st_size].append(file)
    found, hashed, digests = 0, 0, dict[int, set[str]]()
    for file in _files(source):
        if file.resolve() in known:
            found += 1
            continue
        size = file.stat().st_size
        if size not in sizes or hashed > _MAX_HASHED:
            continue
        if size not in digests:
            digests[size] = set(map(file_sha256, sizes[size]))
            hashed += len(sizes[size])
        hashed += 1
        found += file_sha256(file) in digests[size]
    return found


def _files(source: Source) -> Iterator[pathlib.Path]:
    """Yield the image files of a source that are there; of many, the first."""
    for index in range(min(len(source), _MAX_FILES)):
        file = source.file(index)
        if file is None:
            return
        if file.is_file():
            yield file


def repeated(sources: Mapping[str, Source]) -> list[tuple[tuple[str, ...], int, str]]:
    """Return which sources share images, how many, and an example.

    Sets that read the same files for other labels are no repetition.

    Args:
        sources: {how a person calls it: images}.

    Returns:
        [(names, one or more of them; number of files that another file repeats; "a.jpg and b.jpg")]
    """
    by_size: dict[int, dict[pathlib.Path, set[str]]] = defaultdict(lambda: defaultdict(set))
    for name, source in sources.items():
        for index in range(min(len(source), _MAX_FILES)):
            file = source.file(index)
            if file is not None and file.is_file():
                by_size[file.stat().st_size][file].add(name)
    same: dict[str, dict[pathlib.Path, set[str]]] = defaultdict(dict)
    hashed = 0
    for files in by_size.values():
        if len(files) < 2 or hashed > _MAX_HASHED:
            continue
        hashed += len(files)
        for file, names in files.items():
            same[file_sha256(file)][file] = names
    found: dict[tuple[str, ...], list[list[pathlib.Path]]] = defaultdict(list)
    for files in same.values():
        if len(files) > 1:
            found[tuple(sorted(set().union(*files.values())))].append(sorted(files))
    return [
        (names, sum(len(group) - 1 for group in groups), " and ".join(map(str, groups[0][:2])))
        for names, groups in sorted(found.items())
    ]
