"""The search for data leakage: training images that are also in a test split are left out.

A score says what a network can do with new images only if it has learned from none of them. What
the student and its baselines learn from, the pools and the teachers' training sets, is compared
with the test splits of the transfers and of the teachers. Columns are not touched: record i stays
image i's. The examples do without these images.
"""

from __future__ import annotations

import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
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
from must_keras.workdir import Part, Workdir, describe

LIST = "duplicates.jsonl"
PICTURE = pathlib.Path("pictures", "duplicates.png")
# Pairs that a person can look at, and the long side of a picture, pixels.
_SHOWN, _LONGEST = 4, 240

# Raised when the same inputs would give something else than before.
VERSION = 1


class _Found(NamedTuple):
    """A training image, and the image of a test split that it is a copy of."""

    test: str
    match: duplicates.Match


class _Test(NamedTuple):
    """A test split, the names that it goes by, and what its images are known by."""

    names: tuple[str, ...]
    source: Source
    prints: Prints


def run(recipe: Recipe, workdir: Workdir) -> None:
    """Compare all training images with the test splits, source by source, where that is not done.

    It takes no time worth mentioning beside labelling: what is outdated is made again. Each image
    is read once.
    """
    pending = []
    for source in sources(recipe):
        part, made_from = workdir.leaks(source.name), inputs(recipe, source)
        if part.result() is not None and part.result_of(made_from) is None:
            part.begin()  # Another run may have what is asked for now.
        if not part.is_finished(made_from):
            pending.append((source, part, made_from))
    if pending:
        count = sum(len(source) for source, _, _ in pending)
        print(
            f"{count} training images are compared with the images of {len(tests(recipe))} test "
            "splits; this is done once"
        )
        splits = _read(tests(recipe))
        for source, part, made_from in pending:
            part.begin(made_from)
            part.finish(made_from, _compare(source, splits, part))
    for source in sources(recipe):
        part = workdir.leaks(source.name)
        print(told(source.name, part.result(), see=part.folder / LIST))
    for sentence in of_teachers(recipe, workdir):
        print(f"warning: {sentence}", file=sys.stderr)


def tests(recipe: Recipe) -> dict[str, Source]:
    """Return {name: test split}: of transfers by their names, of teachers as "teacher-<name>"."""
    found = {f"teacher-{t.name}": t.sets.test for t in recipe.teachers if t.sets is not None}
    return {t.name: t.sets.test for t in recipe.transfers} | found


def sources(recipe: Recipe) -> list[Source]:
    """Return what is compared: the teachers' training sets and the pools, each source once.

    Nothing where there is no test split.
    """
    if not tests(recipe):
        return []
    found = [t.sets.train for t in recipe.trained_teachers]
    found += [pool.source for pool in recipe.pools]
    return list({source.name: source for source in found}.values())


def inputs(recipe: Recipe, source: Source) -> dict[str, Any]:
    """What a comparison depends on: images, whatever their labels say."""
    return _inputs(source, _described(recipe))


def _described(recipe: Recipe) -> dict[str, Any]:
    """The images of the test splits as plain data; a split of many names is described once."""
    known = {id(test): test for test in tests(recipe).values()}
    described = {key: describe(without_labels(test)) for key, test in known.items()}
    return {name: described[id(test)] for name, test in tests(recipe).items()}


def _inputs(source: Source, splits: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": VERSION, "images": without_labels(source), "tests": splits}


def are_known(recipe: Recipe, workdir: Workdir, names: Sequence[str] | None = None) -> bool:
    """Whether sources are compared with the test splits as they are now; None: all of them."""
    found = _results(recipe, workdir, names)
    return all(result is not None for result in found.values())


def left_out(
    recipe: Recipe, workdir: Workdir, names: Sequence[str] | None = None
) -> dict[str, dict[int, str]]:
    """Return {source: {index: id}} of the images that are left out; only sources that have some.

    Args:
        recipe: the run's values.
        workdir: the run's folder.
        names: of sources; None: all.

    Raises:
        UserError: a source is not compared with the test splits as they are now.
        DataError: the list is not the one that was written.
    """
    found = {}
    for name, result in _results(recipe, workdir, names).items():
        if result is None:
            raise UserError(
                f"{name} has not been compared with the test splits as they are now: run "
                "--stage=label first (finished labels stay)"
            )
        if result["left_out"]:
            found[name] = _listed(workdir.leaks(name), result["left_out"])
    return found


def results(recipe: Recipe, workdir: Workdir) -> dict[str, dict[str, Any]]:
    """Return {source: result} of those that are compared.

    Returns:
        {"images", "unreadable", "left_out", "by_set", "is_pool", "teachers": the names of those
        that were trained on it}.
    """
    pools = {pool.source.name for pool in recipe.pools}
    found = {}
    for name, result in _results(recipe, workdir, None).items():
        if result is not None:
            taught = [t.name for t in recipe.trained_teachers if t.sets.train.name == name]
            found[name] = result | {"is_pool": name in pools, "teachers": taught}
    return found


def seen_by_teachers(recipe: Recipe, workdir: Workdir) -> dict[str, dict[str, int]]:
    """Return {teacher: {name of a test split: how many copies of its images taught it}}.

    Only teachers that saw some. Nothing is left out of a teacher's own training.
    """
    found = {}
    for result in results(recipe, workdir).values():
        found |= {name: result["by_set"] for name in result["teachers"] if result["by_set"]}
    return found


def of_teachers(recipe: Recipe, workdir: Workdir) -> list[str]:
    """Return a sentence for every test split that a teacher's training set has images of."""
    sentences = []
    for name, by_set in seen_by_teachers(recipe, workdir).items():
        for test, count in by_set.items():
            seen = f"teacher {name!r} was trained on {count} images of the test split of"
            if test == f"teacher-{name}":
                sentences.append(f"{seen} its own set: its metrics are too high")
            elif test.startswith("teacher-"):
                sentences.append(f"{seen} teacher {test.removeprefix('teacher-')!r}")
            else:
                sentences.append(
                    f"{seen} {test!r}: the start teacher-{name} is marked aligned: images there"
                )
    return sentences


def told(name: str, result: dict[str, Any], *, see: pathlib.Path) -> str:
    """Return a line about a compared source; `see` is where the list of its duplicates is."""
    count, total, unreadable = result["left_out"], result["images"], result["unreadable"]
    line = f"{name}: none of {total} images is in a test split"
    if count:
        sets = ", ".join(f"{test}: {number}" for test, number in result["by_set"].items())
        line = f"{name}: {count} of {total} images are also in test splits ({sets}): left out, "
        line += f"see {see}"
    return line + (f"; {unreadable} cannot be read" if unreadable else "")


def _results(
    recipe: Recipe, workdir: Workdir, names: Sequence[str] | None
) -> dict[str, dict[str, Any] | None]:
    """{source: what its comparison found, None where that is not done} of some, None: of all."""
    found = [source for source in sources(recipe) if names is None or source.name in names]
    splits = _described(recipe) if found else {}
    return {
        source.name: workdir.leaks(source.name).result_of(_inputs(source, splits))
        for source in found
    }


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


def _read(splits: Mapping[str, Source]) -> list[_Test]:
    """Reads every test split once, whatever number of names it goes by."""
    names: dict[str, list[str]] = {}
    for name, source in splits.items():
        key = json.dumps(describe(without_labels(source)), sort_keys=True)
        names.setdefault(key, []).append(name)
    found = []
    for several in names.values():
        source = splits[several[0]]
        prints = Prints.concatenate(list(_blocks(source, f"test images of {several[0]}")))
        unreadable = int((~prints.readable).sum())
        if unreadable:
            print(
                f"warning: {unreadable} of {len(prints)} test images of {several[0]} cannot be "
                "read: copies of these are not found",
                file=sys.stderr,
            )
        found.append(_Test(tuple(several), source, prints))
    return found


def _blocks(source: Source, title: str) -> Iterator[Prints]:
    progress = Progress(title, len(source))
    for block in duplicates.read(source):
        yield block
        progress.advance(len(block))
    progress.close()


def _compare(source: Source, splits: Sequence[_Test], part: Part) -> dict[str, Any]:
    """Writes the list of a source's duplicates and a picture of some; gives the counts."""
    found: list[_Found] = []
    first = unreadable = 0
    for block in _blocks(source, f"{source.name} beside the test splits"):
        here = [
            _Found(name, match._replace(index=first + match.index))
            for test in splits
            for match in duplicates.matches(block, test.prints)
            for name in test.names
        ]
        found += sorted(here, key=lambda item: item.match.index)
        first += len(block)
        unreadable += int((~block.readable).sum())
    images = {name: test.source for test in splits for name in test.names}
    with replacing(part.folder / LIST) as path:
        lines = [json.dumps(_entry(source, images[f.test], f)) for f in found]
        path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    if found:
        _show(source, images, found, part)
    names = [item.test for item in found]
    return {
        "images": len(source),
        "unreadable": unreadable,
        "left_out": len({item.match.index for item in found}),
        "by_set": {name: names.count(name) for name in images if name in names},
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
