"""labels.html: pseudo labels of a sample of the pools, in one file for a person.

The page's data is plain JSON: heads, images with their labels, disagreements.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from must_keras import pages
from must_keras.config.recipe import AnyTeacher, Recipe
from must_keras.data.examples import ConcatenatedExamples, LabeledExamples
from must_keras.data.sources import Source
from must_keras.errors import DataError, UserError, warn
from must_keras.files import replacing
from must_keras.inference import visualization
from must_keras.log import LOG
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.pseudo_labels.viewer import disagreement, panels
from must_keras.runs.run import Run
from must_keras.tasks.base import Task
from must_keras.tasks.summaries import Sketch
from must_keras.tasks.visualization import palette
from must_keras.training import untaught

NAME = "labels.html"

# Images on the page, and records behind its histograms and shares.
_SHOWN, _SAMPLED = 40, 512
_MAX_BYTES = 10_000_000
_TEMPLATE = pathlib.Path(__file__).with_name("page.html.j2")


def write(run: Run) -> None:
    """Write the page of the complete pseudo-label datasets, or delete it where there are none.

    A page that would be too large, with many images, heads or boxes, shows fewer images.
    """
    path, recipe = run.path / NAME, run.recipe
    heads = complete_heads(run)
    shown, sampled, page = _SHOWN, _SAMPLED, None
    while page is None or len(page) > _MAX_BYTES:
        found = collect(recipe, heads, shown=shown, sampled=sampled)
        if found is None:
            path.unlink(missing_ok=True)
            return
        page = pages.render(_TEMPLATE, name=recipe.name, data=found).encode()
        shown, sampled = shown // 2, sampled // 2
    with replacing(path) as temporary:
        temporary.write_bytes(page)
    LOG.info(f"label viewer: {path}")


class Place(NamedTuple):
    """An image of a source.

    Example:
        Place(source, 0).source.image_id(0)
    """

    source: Source
    index: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Head:
    """A teacher with its complete pseudo-label datasets.

    Attributes:
        teacher: with numbers for its thresholds.
        readers: {name of a source: the records of its images}.
        untaught: outputs that no label taught the teacher; no record has any.

    Example:
        for head in complete_heads(run):
            print(head.task.name, list(head.readers))
    """

    teacher: AnyTeacher
    readers: Mapping[str, PseudoLabelReader]
    untaught: tuple[str, ...] = ()

    @property
    def task(self) -> Task:
        """The task that the teacher labels."""
        return self.teacher.task

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in the order of the indices; empty where the task has none."""
        return self.task.labels.classes

    @property
    def limits(self) -> np.ndarray | None:
        """[K] float64: each class's threshold; None where the labels take none."""
        if not (self.task.records.takes_threshold and self.teacher.has_scores):
            return None
        return self.teacher.limits()

    def record(self, place: Place) -> dict[str, Any] | None:
        """Return an image's record; None where the teacher has not labeled the image."""
        return self.readers[place.source.name].read(place.index) if self.labels(place) else None

    def labels(self, place: Place) -> bool:
        """Return whether the teacher has labeled an image."""
        reader = self.readers.get(place.source.name)
        return reader is not None and not reader.is_empty(place.index)

    def pack(self, tally: panels.Tally) -> dict[str, Any]:
        """Return the head as plain JSON data, with the counts of the sample."""
        task, limits = self.task, self.limits
        return {
            "name": task.name,
            "teacher": self.teacher.name,
            "kind": task.kind,
            "unit": task.unit,
            "legend": task.visualization.legend,
            "swatches": panels.swatches(task),
            "untaught": [untaught.note("The teacher's", part) for part in self.untaught],
            "classes": self.classes,
            "colors": ["#" + bytes(color).hex() for color in palette(len(self.classes))],
            "floor": task.records.floor,
            # JSON has no infinity: no score reaches 2 either.
            "limits": None if limits is None else np.minimum(limits, 2.0).tolist(),
            "sample": tally.pack(),
        }


def complete_heads(run: Run) -> list[Head]:
    """Return the teachers with a complete pseudo-label dataset; warn of those that are damaged."""
    heads = []
    for teacher in run.recipe.teachers:
        readers, untaught = {}, {}
        for source, labels in run.label_sets(teacher):
            if (result := labels.result()) is None:
                continue
            untaught |= dict.fromkeys(result.untaught or ())
            try:
                readers[source.name] = PseudoLabelReader(labels.folder, source, teacher.task)
            except (UserError, DataError) as error:
                _warn(error)
        try:
            if readers:
                resolved = run.resolved(teacher)
                heads.append(Head(teacher=resolved, readers=readers, untaught=tuple(untaught)))
        except UserError as error:
            _warn(error)
    return heads


def _warn(error: Exception) -> None:
    warn(f"not in the label viewer: {error}")


def spread_images(recipe: Recipe, heads: Sequence[Head], number: int) -> list[Place]:
    """Return labeled images, evenly spread over the pools, or else over the training sets.

    Args:
        recipe: the run's values.
        heads: those whose labels are shown.
        number: of images at most; fewer where some are unlabeled or gone.
    """
    labeled = {name for head in heads for name in head.readers}
    pools = [pool.source for pool in recipe.pools if pool.source.name in labeled]
    sources = pools or [s for s in recipe.student_sources if s.name in labeled]
    if not sources:
        return []
    images = ConcatenatedExamples([LabeledExamples(source, []) for source in sources])
    found = []
    for i in visualization.spread(number, len(images)):
        part, index = images.locate(i)
        place = Place(part.source, index)
        if any(head.labels(place) for head in heads) and not place.source.is_gone(place.index):
            found.append(place)
    return found


def collect(
    recipe: Recipe, heads: Sequence[Head], *, shown: int, sampled: int
) -> dict[str, Any] | None:
    """Return the page's data; None where no image can be shown.

    Args:
        recipe: the run's values.
        heads: those whose labels are shown.
        shown: images on the page.
        sampled: images whose records are counted; those on the page are among them.
    """
    places = spread_images(recipe, heads, sampled)
    on_page = set(visualization.spread(shown, len(places)))
    tallies = [panels.Tally(len(head.classes)) for head in heads]
    pairs = disagreement.pairs_of(heads)
    images, verdicts = [], []
    for number, place in enumerate(places):
        records = [head.record(place) for head in heads]
        sketches = [
            None if record is None else head.task.records.sketch(record)
            for head, record in zip(heads, records, strict=True)
        ]
        for sketch, tally in zip(sketches, tallies, strict=True):
            tally.add(sketch or Sketch())
        of_pairs = [pair.add(sketches) for pair in pairs]
        image = _image(place, heads, records, sketches) if number in on_page else None
        if image is not None:
            images.append(image)
            verdicts.append(of_pairs)
    if not images:
        return None
    asked = [number for number, pair in enumerate(pairs) if pair.is_asked]
    ranks = mean_ranks([[panel and panel["certainty"] for panel in i["panels"]] for i in images])
    for image, of_pairs, rank in zip(images, verdicts, ranks, strict=True):
        image["rank"] = rank
        image["verdicts"] = [list(map(int, of_pairs[number])) for number in asked]
    return {
        "sampled": len(places),
        "heads": [head.pack(tally) for head, tally in zip(heads, tallies, strict=True)],
        "pairs": [pairs[number].pack() for number in asked],
        "rules": disagreement.RULES,
        "images": images,
    }


def mean_ranks(certainties: Sequence[Sequence[float | None]]) -> list[float | None]:
    """Return each image's certainty among all, in [0, 1]: the mean of its ranks over the heads.

    A head's rank of an image is the share of the other images that it is less certain of, ties
    counting half.

    Args:
        certainties: of each image by each head; None where a head has no certainty.

    Returns:
        One for each image; None where no head has a certainty.
    """
    # None becomes NaN, which is neither less than a certainty nor equal to one.
    values = np.array(certainties, np.float64)
    known, each = np.isfinite(values), values[:, None]
    less = np.sum(each > values, axis=1) + 0.5 * (np.sum(each == values, axis=1) - 1)
    ranks = less / np.maximum(known.sum(axis=0) - 1, 1)
    return [
        float(rank[k].mean()) if k.any() else None for rank, k in zip(ranks, known, strict=True)
    ]


def _image(
    place: Place,
    heads: Sequence[Head],
    records: Sequence[dict[str, Any] | None],
    sketches: Sequence[Sketch | None],
) -> dict[str, Any] | None:
    """Return an image and its heads' panels; None where it cannot be read any more."""
    try:
        image = panels.photo(place.source.image(place.index))
    except (UserError, DataError):
        return None
    return {
        "name": f"{place.source.name}/{place.source.image_id(place.index)}",
        "photo": panels.jpeg(image),
        "size": image.shape[:2],
        "panels": [
            None
            if record is None
            else panels.panel(head.task, record, sketch, head.teacher.threshold, image)
            for head, record, sketch in zip(heads, records, sketches, strict=True)
        ],
    }
