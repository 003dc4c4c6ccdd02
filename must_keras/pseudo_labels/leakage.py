"""The search for data leakage: training images that are also in a test split are left out.

A transfer's score holds for new images only if the student has learned from none of them. All that
the student and its baselines learn from, the pools and the teachers' training sets, is compared
with the test splits of the transfers. Pseudo-label datasets are not touched: record i stays image
i's. The examples do without these images.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from must_keras.config.recipe import Recipe, Teacher
from must_keras.config.source_names import distinct
from must_keras.data.sources import Source, without_labels
from must_keras.errors import DataError, UserError, damaged
from must_keras.inference import visualization
from must_keras.json_files import json_lines, write_json_lines
from must_keras.log import LOG
from must_keras.progress import Progress
from must_keras.pseudo_labels import duplicates
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.runs.results import LeakageResult
from must_keras.runs.run import Run
from must_keras.tasks.visualization import enlarge

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


def artifacts(run: Run, found: Sequence[Source] | None = None) -> tuple[Artifact, ...]:
    """Declare the comparisons of some sources, or of all, with the test splits as they are now.

    A comparison depends on images, whatever their labels say.
    """
    names = None if found is None else {source.name for source in found}

    @functools.cache
    def tests() -> dict[str, Any]:
        return {t.name: describe(without_labels(t.sets.test)) for t in run.recipe.transfers}

    def declared(source: Source) -> Artifact:
        images = without_labels(source)
        return run.leakage(source.name).declare(
            stage="leakage",
            name=source.name,
            find_inputs=lambda: {"version": VERSION, "images": images, "tests": tests()},
            is_renewed=True,
            restarts=True,
        )

    compared = sources(run.recipe)
    return tuple(declared(source) for source in compared if names is None or source.name in names)


def make(run: Run, pending: Sequence[Artifact]) -> None:
    """Compare sources with the test splits of all transfers, which are read once."""
    recipe = run.recipe
    tests = {
        t.name: np.concatenate(list(_blocks(t.sets.test, f"test images of {t.name}")))
        for t in recipe.transfers
    }
    by_name = {source.name: source for source in sources(recipe)}
    for one in pending:
        one.begin()
        one.finish(_compare(recipe, by_name[one.name], tests, one))
        LOG.info(sentence(one.name, one.result(), see=one.folder / LIST))


def sources(recipe: Recipe) -> list[Source]:
    """Return what is compared with the test splits; nothing where there is no transfer.

    It is all that the student, or the baseline on ground truth alone, learns from.

    Raises:
        UserError: two different sources share a name.
    """
    if not recipe.transfers:
        return []
    is_seen = recipe.student.union or recipe.wanted_supervised is not None
    found = [t.sets.train for t in recipe.trained_teachers] if is_seen else []
    return distinct([*found, *(pool.source for pool in recipe.pools)])


def is_known(run: Run, found: Sequence[Source]) -> bool:
    """Return whether sources are compared with the test splits as they are now."""
    return all(one.result_of(one.inputs) for one in artifacts(run, found))


def left_out(run: Run, found: Sequence[Source]) -> dict[str, dict[int, str]]:
    """Return {source: {index: id}} of the images that are left out; only sources that have some.

    Args:
        run: the run.
        found: the sources.

    Raises:
        UserError: a source is not compared with the test splits as they are now.
        DataError: the list is not the one that was written.
    """
    images = {}
    for compared in artifacts(run, found):
        name, result = compared.name, compared.result_of(compared.inputs)
        if result is None:
            raise UserError(
                f"{name} has not been compared with the test splits of the transfers as they are "
                'now: run stage="label" first (complete labels stay)'
            )
        if result.left_out:
            images[name] = _listed(compared, result.left_out)
    return images


def results(run: Run) -> dict[str, LeakageResult]:
    """Return {source: result} of those that are compared."""
    compared = {one.name: one.result_of(one.inputs) for one in artifacts(run)}
    return {name: result for name, result in compared.items() if result is not None}


def of_teachers(run: Run) -> list[str]:
    """Return a sentence for every teacher that has learned from test images of a transfer.

    Nothing is left out of a teacher's own training set: transfers that start from it are
    concerned, unless the recipe marks them.
    """
    recipe, found, sentences = run.recipe, results(run), []
    for transfer in recipe.transfers:
        for teacher in recipe.trained_teachers:
            source = teacher.sets.train.name
            count = found[source].by_set.get(transfer.name) if source in found else None
            for start in _starts_of(recipe, teacher) if count else ():
                if recipe.alignment(transfer, start) not in ("images", "set"):
                    sentences.append(
                        f"teacher {teacher.name!r} was trained on {count} images that are also in "
                        f"the test split of {transfer.name!r}: the score from {start} there is too "
                        f'high; mark it in the recipe, aligned={{"{start}": "images"}}'
                    )
    return sentences


def _starts_of(recipe: Recipe, teacher: Teacher) -> list[str]:
    """Return the starts of transfers that have the backbone of a teacher, or begin with it."""
    if teacher.training.keeps_weights:
        return []
    begins = recipe.first_student.start.teacher == teacher.name
    starts = (f"teacher-{teacher.name}", *(("student", "supervised") if begins else ()))
    return [start for start in starts if start in recipe.start_names]


def sentence(name: str, result: LeakageResult, *, see: pathlib.Path) -> str:
    """Return a line about a compared source; `see` is the path of the list of its duplicates."""
    count, total, unreadable = result.left_out, result.images, result.unreadable
    line = f"{name}: none of {total} images is in a test split"
    if count:
        sets = ", ".join(f"{test}: {number}" for test, number in result.by_set.items())
        line = f"{name}: {count} of {total} images are also in test splits ({sets}): left out, "
        line += f"see {see}"
    return line + (f"; {unreadable} cannot be read" if unreadable else "")


@dataclasses.dataclass(frozen=True)
class _Listed:
    """A line of the list of duplicates."""

    index: int
    id: str


def _listed(part: Artifact, count: int) -> dict[int, str]:
    path = part.folder / LIST
    remedy = f"delete {part.folder} to compare again"
    if not path.exists():
        raise damaged(path, "it is missing", remedy=remedy)
    found = {line.index: line.id for line in json_lines(path, _Listed, remedy=remedy)}
    if len(found) != count:
        raise DataError.at(path, f"names {len(found)} images, not {count}: delete {part.folder}")
    return found


def _blocks(source: Source, title: str) -> Iterator[np.ndarray]:
    progress = Progress(title, len(source))
    for block in duplicates.read(source):
        yield block
        progress.advance(len(block))
    progress.close()


def _compare(
    recipe: Recipe, source: Source, tests: dict[str, np.ndarray], part: Artifact
) -> LeakageResult:
    """Writes the list of a source's duplicates and a picture of some; gives the counts."""
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
        unreadable += int((~block["readable"]).sum())
    write_json_lines(part.folder / LIST, (_entry(source, splits[f.test], f) for f in found))
    if found:
        _show(source, splits, found, part)
    names = [item.test for item in found]
    return LeakageResult(
        images=len(source),
        unreadable=unreadable,
        left_out=len({item.match.index for item in found}),
        by_set={name: names.count(name) for name in tests if name in names},
    )


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


def _show(source: Source, splits: dict[str, Source], found: list[_Found], part: Artifact) -> None:
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
    visualization.save(part.folder / PICTURE, visualization.grid(rows))


def _small(image: np.ndarray, text: str) -> np.ndarray:
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST, _LONGEST))
    return visualization.captioned(enlarge(np.asarray(picture)), text)
