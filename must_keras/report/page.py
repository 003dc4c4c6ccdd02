"""report.html: one file without a server, as a table of contents of its sections."""

from __future__ import annotations

import pathlib

import jinja2
from markupsafe import Markup

from must_keras.files import replacing
from must_keras.report.results import RunResults
from must_keras.report.sections import SECTIONS


def write(results: RunResults, path: pathlib.Path) -> None:
    """Write the page of a run.

    Args:
        results: of the run.
        path: of the page.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found = [(section.title, Markup().join(section.blocks(results))) for section in SECTIONS]
    page = environment.get_template("page.html.j2").render(
        recipe=results.recipe,
        seconds=results.report["seconds"],
        sections=[(title, html) for title, html in found if html],
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
