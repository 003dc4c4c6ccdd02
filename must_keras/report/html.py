"""The building blocks of report.html: text, tables and figures."""

import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from markupsafe import Markup
from matplotlib.figure import Figure
from PIL import Image

from must_keras.analysis import curves
from must_keras.pages import data_uri
from must_keras.tasks.base import Task
from must_keras.tasks.evaluation import find_metric
from must_keras.tasks.parts import Arrays
from must_keras.tasks.visualization import Swatch

# A longer legend opens on a click.
_MAX_SWATCHES = 30

# Of a table: a whole number has separators, another number three decimals, None is a dash.
Value = str | int | float | None


class Cell(NamedTuple):
    """A table cell with CSS classes and a text that appears on hovering.

    Example:
        >>> Cell(0.5, classes="best", hint="1 seed").classes
        'best'
    """

    value: Value
    classes: str = ""
    hint: str = ""


def paragraph(text: str) -> Markup:
    """Return text as a paragraph; only text that is Markup is not escaped."""
    return Markup("<p>{}</p>\n").format(text)


def heading(text: str) -> Markup:
    """Return a heading within a section."""
    return Markup("<h3>{}</h3>\n").format(text)


def bullets(texts: Iterable[str]) -> Markup:
    """Return a list; "" without texts."""
    items = Markup().join(Markup("<li>{}</li>\n").format(text) for text in texts)
    return Markup("<ul>\n{}</ul>\n").format(items) if items else items


def folded(summary: str, content: Markup) -> Markup:
    """Return content that opens on a click on its summary."""
    return Markup("<details><summary>{}</summary>\n{}</details>\n").format(summary, content)


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[Value | Cell]],
    foot: Iterable[tuple[str, Sequence[Value]]] = (),
) -> Markup:
    """Return a table that scrolls sideways where it is wider than the page.

    Args:
        head: titles of the columns.
        rows: as many cells each.
        foot: (title, values) of summary rows; the values stand under the last columns.
    """
    titles = Markup().join(Markup("<th>{}</th>").format(title) for title in head)
    lines = Markup().join(Markup("<tr>{}</tr>\n").format(_cells(row)) for row in rows)
    last = Markup().join(
        Markup('<tr><th colspan="{}">{}</th>{}</tr>\n').format(
            len(head) - len(values), title, _cells(values)
        )
        for title, values in foot
    )
    return Markup(
        '<div class="scroll"><table>\n<thead><tr>{}</tr></thead>\n<tbody>\n{}</tbody>\n'
        "<tfoot>\n{}</tfoot></table></div>\n"
    ).format(titles, lines, last)


def sortable_table(head: Sequence[str], rows: Iterable[Sequence[Value | Cell]]) -> Markup:
    """Return a `table` that a click on a column's title sorts by that column."""
    return Markup('<div class="sortable">{}</div>\n').format(table(head, rows))


def _cells(row: Sequence[Value | Cell]) -> Markup:
    return Markup().join(map(_cell, row))


def _cell(value: Value | Cell) -> Markup:
    cell = value if isinstance(value, Cell) else Cell(value)
    given = {"class": cell.classes, "title": cell.hint}
    attributes = [Markup(' {}="{}"').format(key, text) for key, text in given.items() if text]
    return Markup("<td{}>{}</td>").format(Markup().join(attributes), number(cell.value))


def figures(found: Iterable[Markup]) -> Markup:
    """Return figures side by side; "" without any."""
    inside = Markup().join(found)
    return Markup('<div class="grid">{}</div>\n').format(inside) if inside else inside


def charts(found: Iterable[Figure]) -> Markup:
    """Return charts side by side; the alternative text of each is its title."""
    images = (_image("png", curves.png(one), one.axes[0].get_title()) for one in found)
    return figures(Markup("<figure>{}</figure>\n").format(image) for image in images)


def photo(picture: Image.Image, caption: str, swatches: Sequence[Swatch] = ()) -> Markup:
    """Return a picture as a figure with a caption, and below it the names of its colors."""
    buffer = io.BytesIO()
    picture.convert("RGB").save(buffer, format="JPEG", quality=88)
    image = _image("jpeg", buffer.getvalue(), caption)
    figure = Markup('<figure class="photo"><figcaption>{}</figcaption>{}{}</figure>\n')
    return figure.format(caption, image, legend(swatches))


def task_photo(picture: Image.Image, caption: str, task: Task, *shown: Arrays) -> Markup:
    """Return a picture of a head's labels or predictions, with what its colors mean.

    Args:
        picture: of them.
        caption: of the picture.
        task: the head.
        shown: each of one image, whose colors are named; none: all colors are.
    """
    seen = task.visualization
    if seen.legend:
        caption = f"{caption}; {seen.legend}"
    return photo(picture, caption, seen.swatches(*shown))


def legend(swatches: Sequence[Swatch]) -> Markup:
    """Return names beside their colors, folded where there are many; "" without any."""
    if not swatches:
        return Markup("")
    one = Markup('<span><i class="swatch" style="background:#{}"></i>{}</span>')
    names = (one.format(bytes(swatch.color).hex(), swatch.name) for swatch in swatches)
    found = Markup('<div class="legend">{}</div>\n').format(Markup("\n").join(names))
    if len(swatches) <= _MAX_SWATCHES:
        return found
    return folded(f"colors of the {len(swatches)} classes", found)


def _image(kind: str, data: bytes, text: str) -> Markup:
    return Markup('<img alt="{}" src="{}">').format(text, data_uri(kind, data))


def number(value: Value) -> str:
    """Return the text of a table's value."""
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else value


def metric_title(metric: str) -> str:
    """Return a metric's name, with an arrow where lower values are better."""
    return metric if find_metric(metric).better == "higher" else f"{metric} ↓"
