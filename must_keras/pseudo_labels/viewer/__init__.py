"""labels.html: what the teachers say of a sample of the pools, in one file for a person."""

from __future__ import annotations

import pathlib

import jinja2
import markupsafe

from must_keras.config.recipe import Recipe
from must_keras.files import replacing
from must_keras.pseudo_labels.viewer import contents
from must_keras.pseudo_labels.viewer.heads import finished_heads
from must_keras.runs.workdir import Workdir

NAME = "labels.html"

# Images on the page, and records behind its histograms and shares.
_SHOWN, _SAMPLED = 40, 512
_MOST_BYTES = 10_000_000
# In this order they are the page's script.
_SCRIPTS = ("counts.js", "drawing.js", "page.js")


def write(recipe: Recipe, workdir: Workdir) -> None:
    """Writes the page of the columns that are finished; no page where there is nothing to show.

    Where images, heads or boxes are so many that the page would be too large, it shows fewer.
    """
    path = workdir.root / NAME
    heads = finished_heads(recipe, workdir)
    shown, sampled, page = _SHOWN, _SAMPLED, None
    while page is None or len(page) > _MOST_BYTES:
        found = contents.collect(recipe, heads, shown=shown, sampled=sampled)
        if found is None:
            path.unlink(missing_ok=True)
            return
        page = _render(recipe.name, found)
        shown, sampled = shown // 2, sampled // 2
    with replacing(path) as temporary:
        temporary.write_bytes(page)
    print(f"label report: {path}")


def _render(name: str, found: dict) -> bytes:
    folder = pathlib.Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    script = markupsafe.Markup(
        "\n".join((folder / file).read_text(encoding="utf-8") for file in _SCRIPTS)
    )
    page = environment.get_template("page.html.j2").render(name=name, data=found, script=script)
    return page.encode()
