"""Pools that grow: what was there at the first run stays as it was, what is new comes behind it."""

from __future__ import annotations

import dataclasses
import itertools
import json
import operator
import pathlib
import re
from collections.abc import Iterable, Iterator

from must_keras.data.sources import ListedFile, ListedFiles, Source
from must_keras.errors import damaged
from must_keras.files import json_lines, replacing
from must_keras.progress import track
from must_keras.recipe import Pool, Recipe
from must_keras.workdir import Workdir

_SHA256 = re.compile(r"[0-9a-f]{64}")
# Another run's list is gone on with where so much of it is still there.
_SAME_SHARE = 0.5


def frozen(recipe: Recipe, workdir: Workdir, *, new: bool) -> Recipe:
    """The recipe with pools of files as lists have them.

    pools/<name>.jsonl lists files in blocks, a line each. The first block is the pool as it was at
    the first run, and keeps its name; images that have come since, or have other bytes now, are a
    next block, <name>_block2, with label columns of its own. So labels are made for new images
    only, and those of others stay valid.

    Args:
        recipe: the run's values.
        workdir: the run's folder; nothing is written to it.
        new: whether images that are in no block are listed now.
    """
    pools = []
    for pool in recipe.pools:
        blocks = _blocks(pool, workdir, new=new)
        pools += [Pool(source=block) for block in blocks] or [pool]
    return dataclasses.replace(recipe, pools=tuple(pools))


def keep(recipe: Recipe, workdir: Workdir) -> None:
    """Writes the lists of a frozen recipe, and tells what has come and gone."""
    blocks: dict[str, list[ListedFiles]] = {}
    for pool in recipe.pools:
        if isinstance(pool.source, ListedFiles):
            blocks.setdefault(pool.source.of, []).append(pool.source)
    for name, sources in blocks.items():
        path = _path(workdir.root, name)
        known = _num_blocks(path)
        if known < len(sources):
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, sources)
        for source in sources[max(known, 1) :]:
            print(f"{name}: {len(source)} new images, {source.name}")
        gone = sum(source.is_missing(i) for source in sources for i in range(len(source)))
        if gone:
            print(f"{name}: {gone} images are gone or replaced: they have no label any more")


def _blocks(pool: Pool, workdir: Workdir, *, new: bool) -> list[ListedFiles]:
    source = pool.source
    # Drawn pools bring their truth along and never change.
    if pool.truth is not None or any(source.file(i) is None for i in range(len(source))):
        return []
    blocks = _read(_path(workdir.root, source.name), source)
    if new:
        blocks = blocks or _of_another_run(source, workdir)
        listed = {file.image_id: file.size for block in blocks for file in block.files()}
        places = [
            i for i in range(len(source)) if listed.get(source.image_id(i)) != _size(source, i)
        ]
        if places:
            found = track(places, f"files of {source.name}", len(places))
            blocks.append(_block(source, len(blocks), (ListedFile.of(source, i) for i in found)))
    return blocks


def _block(source: Source, number: int, files: Iterable[ListedFile]) -> ListedFiles:
    name = f"{source.name}_block{number + 1}" if number else source.name
    return ListedFiles(source, files, name=name)


def _size(source: Source, index: int) -> int | None:
    """None where the file cannot be looked at: it is listed, and told, as unreadable."""
    try:
        return source.file(index).stat().st_size
    except OSError:
        return None


def _path(root: pathlib.Path, name: str) -> pathlib.Path:
    return root / "pools" / f"{name}.jsonl"


def _of_another_run(source: Source, workdir: Workdir) -> list[ListedFiles]:
    """The list of a run whose parts may be taken, where it is of the same files but for some.

    Then that run's labels are valid here too, and only what is new is labelled.
    """
    sizes = {source.image_id(i): _size(source, i) for i in range(len(source))}
    for other in workdir.others:
        blocks = _read(_path(other, source.name), source)
        files = sum(len(block) for block in blocks)
        same = sum(sizes.get(f.image_id) == f.size for block in blocks for f in block.files())
        if files and same >= files * _SAME_SHARE:
            return blocks
    return []


def _write(path: pathlib.Path, blocks: list[ListedFiles]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as lines:
        for number, block in enumerate(blocks):
            for file in block.files():
                lines.write(json.dumps([number, *file], ensure_ascii=False) + "\n")


def _read(path: pathlib.Path, source: Source) -> list[ListedFiles]:
    return [
        _block(source, number, (file for _, file in files))
        for number, files in itertools.groupby(_lines(path), key=operator.itemgetter(0))
    ]


def _num_blocks(path: pathlib.Path) -> int:
    return max((number for number, _ in _lines(path)), default=-1) + 1


def _lines(path: pathlib.Path) -> Iterator[tuple[int, ListedFile]]:
    """The lines of a list, one by one: (number of the block, file)."""
    remedy = f"put a copy of it back, or delete {path} to list and label the pool anew"
    last = 0
    for line, values in enumerate(json_lines(path, form=(int, str, int, str), remedy=remedy), 1):
        number, image_id, size, sha256 = values
        if number not in (last, last + 1) or size < 0 or not _SHA256.fullmatch(sha256):
            raise damaged(path, f"entry {line} is {values!r}", remedy=remedy)
        last = number
        yield number, ListedFile(image_id, size, sha256)
