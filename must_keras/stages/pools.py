"""Pools that grow: what was there at the first run stays as it was, what is new comes behind it."""

from __future__ import annotations

import dataclasses
import json
import pathlib

from must_keras.data.sources import ListedFile, ListedFiles, Source
from must_keras.files import write_json
from must_keras.progress import track
from must_keras.recipe import Pool, Recipe
from must_keras.workdir import Workdir

# Another run's list is gone on with where so much of it is still there.
_SAME_SHARE = 0.5


def frozen(recipe: Recipe, workdir: Workdir, *, new: bool) -> Recipe:
    """The recipe with pools of files as lists have them.

    pools/<name>.json holds blocks of files. The first is the pool as it was at the first run, and
    keeps its name; images that have come since, or have other bytes now, are a next block,
    <name>_block2, with label columns of its own. So labels are made for new images only, and those
    of others stay valid.

    Args:
        recipe: the run's values.
        workdir: the run's folder; nothing is written to it.
        new: whether images that are in no block are listed now.
    """
    pools = []
    for pool in recipe.pools:
        blocks = _blocks(pool, workdir, new=new)
        names = [
            pool.source.name,
            *(f"{pool.source.name}_block{n + 2}" for n in range(len(blocks))),
        ]
        for name, block in zip(names, blocks, strict=False):
            pools.append(Pool(source=ListedFiles(pool.source, block, name=name)))
        if not blocks:
            pools.append(pool)
    return dataclasses.replace(recipe, pools=tuple(pools))


def keep(recipe: Recipe, workdir: Workdir) -> None:
    """Writes the lists of a frozen recipe, and tells what has come and gone."""
    blocks: dict[str, list[ListedFiles]] = {}
    for pool in recipe.pools:
        if isinstance(pool.source, ListedFiles):
            blocks.setdefault(pool.source.of, []).append(pool.source)
    for name, sources in blocks.items():
        path = _path(workdir.root, name)
        lists = [list(source.files()) for source in sources]
        known = len(_read(path))
        if known < len(lists):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, lists)
        for source in sources[max(known, 1) :]:
            print(f"{name}: {len(source)} new images, {source.name}")
        gone = sum(source.is_missing(i) for source in sources for i in range(len(source)))
        if gone:
            print(f"{name}: {gone} images are gone or replaced: they have no label any more")


def _blocks(pool: Pool, workdir: Workdir, *, new: bool) -> list[list[ListedFile]]:
    source = pool.source
    # Drawn pools bring their truth along and never change.
    if pool.truth is not None or any(source.file(i) is None for i in range(len(source))):
        return []
    blocks = _read(_path(workdir.root, source.name))
    if new:
        blocks = blocks or _of_another_run(source, workdir)
        listed = {file.image_id: file.size for block in blocks for file in block}
        places = [
            i for i in range(len(source)) if listed.get(source.image_id(i)) != _size(source, i)
        ]
        if places:
            title = f"files of {source.name}"
            blocks.append([ListedFile.of(source, i) for i in track(places, title, len(places))])
    return blocks


def _size(source: Source, index: int) -> int | None:
    """None where the file cannot be looked at: it is listed, and told, as unreadable."""
    try:
        return source.file(index).stat().st_size
    except OSError:
        return None


def _path(root: pathlib.Path, name: str) -> pathlib.Path:
    return root / "pools" / f"{name}.json"


def _of_another_run(source: Source, workdir: Workdir) -> list[list[ListedFile]]:
    """The list of a run whose parts may be taken, where it is of the same files but for some.

    Then that run's labels are valid here too, and only what is new is labelled.
    """
    sizes = {source.image_id(i): _size(source, i) for i in range(len(source))}
    for other in workdir.others:
        blocks = _read(_path(other, source.name))
        files = [file for block in blocks for file in block]
        same = sum(sizes.get(file.image_id) == file.size for file in files)
        if files and same >= len(files) * _SAME_SHARE:
            return blocks
    return []


def _read(path: pathlib.Path) -> list[list[ListedFile]]:
    if not path.is_file():
        return []
    return [[ListedFile(*file) for file in block] for block in json.loads(path.read_text())]
