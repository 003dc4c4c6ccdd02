"""Pools that grow: what was there at the first run stays as it was, what is new comes behind it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator

from must_keras.data.sources import ListedFile, ListedFiles
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
    path = workdir.root / "pools" / f"{source.name}.json"
    blocks = _read(path)
    if new:
        known = {file.image_id for block in blocks for file in block}
        places = [i for i in range(len(source)) if source.image_id(i) not in known]
        if places:
            title = f"files of {source.name}"
            block = [ListedFile.of(source, i) for i in track(places, title, len(places))]
            blocks.append(block)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_json(path, blocks)
            if len(blocks) > 1:
                print(f"{source.name}: {len(block)} new images are block {len(blocks)}")
    if not blocks:
        yield pool
    for number, block in enumerate(blocks, 1):
        name = source.name if number == 1 else f"{source.name}_block{number}"
        yield Pool(source=ListedFiles(source, block, name=name))


def _read(path: pathlib.Path) -> list[list[ListedFile]]:
    if not path.is_file():
        return []
    return [[ListedFile(*file) for file in block] for block in json.loads(path.read_text())]
