"""A run's folder and its images lie apart: neither reads, overwrites or empties the other."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

from must_keras.data.sources import Source
from must_keras.errors import UserError
from must_keras.runs.marks import STAGE_FOLDERS
from must_keras.config.recipe import ImportedLabels, Recipe


def check(recipe: Recipe, root: pathlib.Path) -> None:
    """Raise UserError where a run's folder is in a source's folder, or images are in a stage's.

    In the first case the pictures of the run would be images of the source, in the second a stage
    that is made again would delete the images.

    Args:
        recipe: the run's values.
        root: the run's folder; it need not be there.
    """
    for source in {id(source): source for source in _sources(recipe)}.values():
        _check_source(source, root)


def _check_source(source: Source, root: pathlib.Path) -> None:
    inside = root.resolve()
    stages = [inside / name for name in STAGE_FOLDERS]
    for folder in sorted(source.folders()):
        path = folder.resolve()
        if inside == path or path in inside.parents:
            raise UserError(
                f"--workdir={root} is in {folder}, the folder of source {source.name!r}: the "
                "run's own pictures would lie among its images. Nothing was written; choose a "
                "--workdir elsewhere"
            )
        if any(stage == path or stage in path.parents for stage in stages):
            raise UserError(
                f"{folder}, the folder of source {source.name!r}, is in --workdir={root}, "
                "where a stage that is made again deletes it. Nothing was written; move the "
                "images, or choose another --workdir"
            )


def _sources(recipe: Recipe) -> Iterator[Source]:
    for item in (*recipe.teachers, *recipe.transfers):
        if item.sets is not None:
            yield from (item.sets.train, item.sets.validation, item.sets.test)
        if isinstance(item, ImportedLabels):
            yield item.labels
    for pool in recipe.pools:
        yield pool.source
        if pool.truth is not None:
            yield pool.truth
