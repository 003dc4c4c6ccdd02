"""report.html: one file without a server."""

import pathlib

from markupsafe import Markup

from must_keras import pages
from must_keras.files import replacing
from must_keras.report.results import RunResults
from must_keras.report.sections import SECTIONS

_TEMPLATE = pathlib.Path(__file__).with_name("page.html.j2")


def write(results: RunResults, path: pathlib.Path) -> None:
    """Write the page of a run.

    Args:
        results: of the run.
        path: of the page.
    """
    found = [(title, Markup().join(blocks(results))) for title, blocks in SECTIONS]
    page = pages.render(
        _TEMPLATE,
        recipe=results.recipe,
        seconds=results.report["seconds"],
        sections=[(title, html) for title, html in found if html],
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")
