"""Pools that grow: what was there at the first run stays as it was, what is new comes behind it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator

from must_keras.data.sources import ListedFile, ListedFiles, Source
from must_keras.files import write_json
from must_keras.progress import track
from must_keras.recipe import Pool, Recipe
from must_keras.workdir import Workdir


def frozen(recipe: Recipe, workdir: Workdir, *, new: bool) -> Recipe:
    """The recipe with pools of files as lists in the workdir have them.

    pools/<name>.json holds blocks of files. The first is the pool as it was at the first run, and
    keeps its name; images that have come since are a next block, <name>_block2, with label columns
    of its own. So labels are made for new images only, and those of others stay valid.

    Args:
        recipe: the run's values.
        workdir: the run's folder.
        new: whether images that are in no block are listed now.
    """
    pools = [part for pool in recipe.pools for part in _blocks(pool, workdir, new=new)]
    return dataclasses.replace(recipe, pools=tuple(pools))


def _blocks(pool: Pool, workdir: Workdir, *, new: bool) -> Iterator[Pool]:
    source = pool.source
    # Drawn pools bring their truth along and never change.
    if pool.truth is not None or source.file(0) is None:
        yield pool
        return
    path = _path(workdir.root, source)
    blocks = _read(path)
    if new:
        blocks = blocks or _of_another_run(source, workdir)
        known = {file.image_id for block in blocks for file in block}
        places = [i for i in range(len(source)) if source.image_id(i) not in known]
        if places:
            title = f"files of {source.name}"
            blocks.append([ListedFile.of(source, i) for i in track(places, title, len(places))])
            if len(blocks) > 1:
                print(f"{source.name}: new images: {len(places)}, block {len(blocks)}")
        if places or not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, blocks)
    if not blocks:
        yield pool
    for number, block in enumerate(blocks, 1):
        name = source.name if number == 1 else f"{source.name}_block{number}"
        yield Pool(source=ListedFiles(source, block, name=name))


def _path(root: pathlib.Path, source: Source) -> pathlib.Path:
    return root / "pools" / f"{source.name}.json"


def _of_another_run(source: Source, workdir: Workdir) -> list[list[ListedFile]]:
    """The list of a run whose parts may be taken, where it is of the same files.

    Then that run's labels are valid here too, and only what is new is labelled.
    """
    files = {source.image_id(i): source.file(i) for i in range(len(source))}
    for other in workdir.others:
        blocks = _read(_path(other, source))
        known = [f for block in blocks for f in block if f.image_id in files]
        if known and all(files[f.image_id].stat().st_size == f.size for f in known):
            return blocks
    return []


def _read(path: pathlib.Path) -> list[list[ListedFile]]:
    if not path.is_file():
        return []
    return [[ListedFile(*file) for file in block] for block in json.loads(path.read_text())]
