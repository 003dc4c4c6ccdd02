"""All that labels.html says, as plain JSON data; its script draws it and counts again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from must_keras.config.recipe import Recipe
from must_keras.errors import DataError, UserError
from must_keras.inference import visualization
from must_keras.pseudo_labels.viewer import disagreement, panels
from must_keras.pseudo_labels.viewer.heads import Head, Place, spread_images
from must_keras.pseudo_labels.viewer.pairs import pairs_of
from must_keras.pseudo_labels.viewer.tallies import Tallies
from must_keras.tasks.sketch import Sketch
from must_keras.tasks.visualization import palette
from must_keras.training import untaught


def collect(
    recipe: Recipe, heads: Sequence[Head], *, shown: int, sampled: int
) -> dict[str, Any] | None:
    """The page's data; None where no image can be shown.

    Args:
        recipe: the run's values.
        heads: those that say something.
        shown: images on the page.
        sampled: images whose records are counted; those on the page are among them.
    """
    places = spread_images(recipe, heads, sampled)
    on_page = set(visualization.spread(shown, len(places)))
    tallies = [Tallies(len(head.classes)) for head in heads]
    pairs = pairs_of(heads)
    images, verdicts = [], []
    for number, place in enumerate(places):
        records = [head.record(place) if head.knows(place) else None for head in heads]
        sketches = [
            None if record is None else head.task.sketch(record)
            for head, record in zip(heads, records, strict=True)
        ]
        for sketch, tally in zip(sketches, tallies, strict=True):
            if sketch is not None:
                tally.add(sketch)
        said = [pair.add(sketches) for pair in pairs]
        image = _image(place, heads, records, sketches) if number in on_page else None
        if image is not None:
            images.append(image)
            verdicts.append(said)
    if not images:
        return None
    asked = [number for number, pair in enumerate(pairs) if pair.is_asked]
    ranks = mean_ranks([[panel and panel["certainty"] for panel in i["panels"]] for i in images])
    for image, said, rank in zip(images, verdicts, ranks, strict=True):
        image["rank"] = rank
        image["verdicts"] = [list(map(int, said[number])) for number in asked]
    return {
        "sampled": len(places),
        "heads": [_head(*both) for both in zip(heads, tallies, strict=True)],
        "pairs": [pairs[number].pack() for number in asked],
        "rules": {
            name: getattr(disagreement, name)
            for name in ("LEAST_SURE", "LEAST_SAME_IN_MASK", "LEAST_SAME_IN_BOX", "LEAST_STEP")
        },
        "images": images,
    }


def mean_ranks(certainties: Sequence[Sequence[float | None]]) -> list[float | None]:
    """How certain each image is among all, in [0, 1]: the mean of its ranks over the heads.

    A head's rank of an image is the share of the other images that it is less certain of, ties
    counting half. Where it says nothing it has no rank.

    Args:
        certainties: of each image by each head.

    Returns:
        One for each image; None where no head says anything.
    """
    ranks: list[list[float]] = [[] for _ in certainties]
    for of_head in zip(*certainties, strict=True):
        told = np.array([value for value in of_head if value is not None])
        for rank, value in zip(ranks, of_head, strict=True):
            if value is not None:
                less = (told < value).sum() + 0.5 * ((told == value).sum() - 1)
                rank.append(less / max(len(told) - 1, 1))
    return [float(np.mean(rank)) if rank else None for rank in ranks]


def _head(head: Head, tally: Tallies) -> dict[str, Any]:
    task, limits = head.task, head.limits
    return {
        "name": task.name,
        "teacher": head.teacher.name,
        "kind": task.kind,
        "unit": task.unit,
        "legend": task.legend,
        "untaught": [untaught.note("The teacher's", part) for part in head.untaught],
        "classes": head.classes,
        "colors": ["#" + bytes(color).hex() for color in palette(len(head.classes))],
        "floor": task.floor,
        # JSON has no infinity: no score reaches 2 either.
        "limits": None if limits is None else np.minimum(limits, 2.0).tolist(),
        "sample": tally.pack(),
    }


def _image(
    place: Place,
    heads: Sequence[Head],
    records: Sequence[dict[str, Any] | None],
    sketches: Sequence[Sketch | None],
) -> dict[str, Any] | None:
    """An image and its heads' panels; None where it cannot be read any more."""
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
