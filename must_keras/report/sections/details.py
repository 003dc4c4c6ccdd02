"""The section of the report on sizes, classes, confusions and worst images of each head."""

from collections.abc import Iterator, Sequence

import numpy as np
from markupsafe import Markup

from must_keras.analysis import curves
from must_keras.report import html
from must_keras.report.html import Value
from must_keras.report.results import Evaluated, RunResults, saved_picture

# A table with more classes opens on a click.
_MAX_ROWS = 20
# Pairs of confused classes that a table names, for each model.
_MAX_PAIRS = 6
# Pixels of a picture of a worst image.
_PICTURE = (720, 720)


def of_heads(results: RunResults) -> Iterator[Markup]:
    """Yield each head's values by size and by class, confusions, and worst images.

    Example:
        list(of_heads(RunResults(run=run, report=report)))
    """
    for teacher, _ in results.teachers():
        models = results.evaluated(teacher)
        parts = (_values(models), _classes(models), _confusions(models), *map(_worst, models))
        found = Markup().join(parts)
        if found:
            yield html.heading(f"{teacher.task.name}, {models[0].details.split} split")
            yield found


def _values(models: Sequence[Evaluated]) -> Markup:
    """Return a line for each value, with a column for each model."""
    names = dict.fromkeys(name for model in models for name in model.details.values)
    rows = [[name, *(model.details.values.get(name) for model in models)] for name in names]
    return html.table(["value", *(model.title for model in models)], rows) if rows else Markup("")


def _classes(models: Sequence[Evaluated]) -> Markup:
    """Return a line for each class, those that the last model knows least first.

    The first value of a class is its number, which is the same for all models.
    """
    models = [model for model in models if model.details.by_class]
    if not models:
        return Markup("")
    last = models[-1].details.by_class
    first, *names = next(iter(last.values()))
    head, rows = ["class", first], [[name, values[first]] for name, values in last.items()]
    for name in names:
        for model in models:
            head.append(name if len(models) == 1 else f"{name}, {model.title}")
            for row in rows:
                row.append(model.details.by_class.get(row[0], {}).get(name))
    place = 1 + len(models)
    rows.sort(key=lambda row: (row[place] is None, row[place]))
    table = html.sortable_table(head, rows)
    return table if len(rows) <= _MAX_ROWS else html.folded(f"values of {len(rows)} classes", table)


def _confusions(models: Sequence[Evaluated]) -> Markup:
    """Return charts of the confusions where they are legible, and the most frequent ones."""
    charts, rows = [], list[list[Value]]()
    for model in models:
        confusion = model.details.confusion
        named = [*model.details.by_class, *confusion, *(k for of in confusion.values() for k in of)]
        names = list(dict.fromkeys(named))
        counts = np.array([[confusion.get(a, {}).get(b, 0) for b in names] for a in names])
        if not counts.any():
            continue
        if len(names) <= curves.MAX_CLASSES:
            charts.append(curves.confusion(f"{model.title}: confusions", names, counts))
        pairs = np.argwhere(counts * ~np.eye(len(names), dtype=bool)).tolist()
        for true, predicted in sorted(pairs, key=lambda at: -counts[tuple(at)])[:_MAX_PAIRS]:
            count = int(counts[true, predicted])
            share = f"{count / counts[true].sum():.0%}"
            rows.append([names[true], names[predicted], model.title, count, share])
    head = ["ground truth", "predicted as", "model", "count", "of the ground truth"]
    table = html.folded("most frequent confusions", html.sortable_table(head, rows))
    return html.charts(charts) + (table if rows else "")


def _worst(model: Evaluated) -> Markup:
    """Return the images with the largest disagreements: image, ground truth, prediction."""
    photos = []
    for one in model.details.worst:
        picture = saved_picture(model.folder / "pictures" / one.picture)
        if picture is not None:
            picture.thumbnail(_PICTURE)
            photos.append(html.photo(picture, f"{one.image}: {one.text}"))
    if not photos:
        return Markup("")
    text = f"Worst images of the {model.title}: image, ground truth, prediction."
    return html.paragraph(text) + html.figures(photos)
