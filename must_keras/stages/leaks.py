"""The leak guard: images of the pools that are also in a downstream test split are left out.

A transfer's score says what the student can do with new images only if it has seen none of them.
Columns are not touched: record i stays image i's. The student's examples do without these images.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from must_keras.data import duplicates
from must_keras.data.duplicates import Prints
from must_keras.data.sources import Source, without_labels
from must_keras.errors import DataError, UserError, damaged
from must_keras.files import json_lines, replacing
from must_keras.progress import Progress
from must_keras.recipe import Recipe
from must_keras.tasks.drawing import enlarge
from must_keras.training import pictures
from must_keras.workdir import Part, Workdir

LIST = "duplicates.jsonl"
PICTURE = pathlib.Path("pictures", "duplicates.png")
# Pairs that a person can look at, and the long side of a picture, pixels.
_SHOWN, _LONGEST = 4, 240

# Raised when the same inputs would give something else than before.
VERSION = 1


class _Found(NamedTuple):
    """An image of a pool, and the image of a test split that it is a copy of."""

    test: str
    match: duplicates.Match


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Compares every pool with the test splits of all transfers, where that is not done yet.

    It takes no time worth mentioning beside labelling: what is outdated is made again.
    """
    tests: dict[str, Prints] = {}
    for source in sources(recipe):
        part, made_from = workdir.leaks(source.name), inputs(recipe, source)
        if part.result() is not None and part.result_of(made_from) is None:
            part.begin()  # Another run may have what is asked for now.
        if not part.is_finished(made_from):
            part.begin(made_from)
            tests = tests or {t.name: _read(t.sets.test, t.name) for t in recipe.transfers}
            part.finish(made_from, _compare(recipe, source, tests, part))
        print(told(source.name, part.result(), see=part.folder / LIST))


def sources(recipe: Recipe) -> list[Source]:
    """What is compared with the test splits: the pools; nothing where there is no test split."""
    return [pool.source for pool in recipe.pools] if recipe.transfers else []


def inputs(recipe: Recipe, source: Source) -> dict[str, Any]:
    """What a comparison depends on: images, whatever their labels say."""
    return {
        "version": VERSION,
        "images": without_labels(source),
        "tests": {t.name: without_labels(t.sets.test) for t in recipe.transfers},
    }


def are_known(recipe: Recipe, workdir: Workdir) -> bool:
    """Whether all pools are compared with the test splits as they are now."""
    return all(_result(recipe, workdir, source) is not None for source in sources(recipe))


def left_out(recipe: Recipe, workdir: Workdir) -> dict[str, dict[int, str]]:
    """{pool: {index: id}} of the images that the student does without; only pools that have some.

    Raises:
        UserError: a pool is not compared with the test splits as they are now.
        DataError: the list is not the one that was written.
    """
    found = {}
    for source in sources(recipe):
        result, part = _result(recipe, workdir, source), workdir.leaks(source.name)
        if result is None:
            raise UserError(
                f"{source.name} has not been compared with the test splits of the transfers as "
                "they are now: run --stage=label first (finished labels stay)"
            )
        if result["left_out"]:
            found[source.name] = _listed(part, result["left_out"])
    return found


def results(recipe: Recipe, workdir: Workdir) -> dict[str, dict[str, Any]]:
    """{pool: {"images", "unreadable", "left_out", "by_set"}} of those that are compared."""
    found = {source.name: _result(recipe, workdir, source) for source in sources(recipe)}
    return {name: result for name, result in found.items() if result is not None}


def told(name: str, result: dict[str, Any], *, see: pathlib.Path) -> str:
    """One line about a pool that is compared; `see` is where the list of its duplicates is."""
    count, total, unreadable = result["left_out"], result["images"], result["unreadable"]
    line = f"{name}: none of {total} images is in a test split"
    if count:
        sets = ", ".join(f"{test}: {number}" for test, number in result["by_set"].items())
        line = f"{name}: {count} of {total} images are also in test splits ({sets}): left out, "
        line += f"see {see}"
    return line + (f"; {unreadable} cannot be read" if unreadable else "")


def _result(recipe: Recipe, workdir: Workdir, source: Source) -> dict[str, Any] | None:
    return workdir.leaks(source.name).result_of(inputs(recipe, source))


def _listed(part: Part, count: int) -> dict[int, str]:
    path = part.folder / LIST
    remedy = f"delete {part.folder} to compare again"
    if not path.exists():
        raise damaged(path, "it is missing", remedy=remedy)
    lines = json_lines(path, form={"index": int, "id": str}, remedy=remedy)
    found = {line["index"]: line["id"] for line in lines}
    if len(found) != count:
        raise DataError(f"{path} names {len(found)} images, not {count}: delete {part.folder}")
    return found


def _read(source: Source, name: str) -> Prints:
    return Prints.concatenate(list(_blocks(source, f"test images of {name}")))


def _blocks(source: Source, title: str) -> Iterator[Prints]:
    progress = Progress(title, len(source))
    for block in duplicates.read(source):
        yield block
        progress.advance(len(block))
    progress.close()


def _compare(
    recipe: Recipe, source: Source, tests: dict[str, Prints], part: Part
) -> dict[str, Any]:
    """Writes the list of a pool's duplicates and a picture of some; gives the counts."""
    splits = {t.name: t.sets.test for t in recipe.transfers}
    found: list[_Found] = []
    first = unreadable = 0
    for block in _blocks(source, f"{source.name} beside the test splits"):
        here = [
            _Found(name, match._replace(index=first + match.index))
            for name, prints in tests.items()
            for match in duplicates.matches(block, prints)
        ]
        found += sorted(here, key=lambda item: item.match.index)
        first += len(block)
        unreadable += int((~block.readable).sum())
    with replacing(part.folder / LIST) as path:
        lines = [json.dumps(_entry(source, splits[f.test], f)) for f in found]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if found:
        _show(source, splits, found, part)
    names = [item.test for item in found]
    return {
        "images": len(source),
        "unreadable": unreadable,
        "left_out": len({item.match.index for item in found}),
        "by_set": {name: names.count(name) for name in tests if name in names},
    }


def _entry(source: Source, test: Source, found: _Found) -> dict[str, Any]:
    return {
        "index": found.match.index,
        "id": source.image_id(found.match.index),
        "set": found.test,
        "test_id": test.image_id(found.match.other),
        "distance": found.match.distance,
        "correlation": round(found.match.correlation, 4),
        "mirrored": found.match.mirrored,
    }


def _show(source: Source, splits: dict[str, Source], found: list[_Found], part: Part) -> None:
    """Saves the pairs that are least alike: if these are duplicates, all are."""
    rows = [
        [
            _small(source.image(item.match.index), source.name),
            _small(
                splits[item.test].image(item.match.other),
                f"{item.test}, test split{', mirrored' if item.match.mirrored else ''}",
            ),
        ]
        for item in sorted(found, key=lambda item: item.match.correlation)[:_SHOWN]
    ]
    pictures.save(part.folder / PICTURE, pictures.grid(rows))


def _small(image: np.ndarray, text: str) -> np.ndarray:
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST, _LONGEST))
    return pictures.captioned(enlarge(np.asarray(picture)), text)
