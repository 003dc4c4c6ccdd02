"""labels.html: pseudo labels of a sample of the pools, in one file for a person."""

from __future__ import annotations

import pathlib

import jinja2
import markupsafe

from must_keras.files import replacing
from must_keras.pseudo_labels.viewer import contents
from must_keras.runs.run import Run

NAME = "labels.html"

# Images on the page, and records behind its histograms and shares.
_SHOWN, _SAMPLED = 40, 512
_MAX_BYTES = 10_000_000
# In this order they are the page's script.
_SCRIPTS = ("counts.js", "drawing.js", "page.js")


def write(run: Run) -> None:
    """Write the page of the complete pseudo-label datasets, or delete it where there are none.

    A page that would be too large, with many images, heads or boxes, shows fewer images.
    """
    path, recipe = run.path / NAME, run.recipe
    heads = contents.complete_heads(run)
    shown, sampled, page = _SHOWN, _SAMPLED, None
    while page is None or len(page) > _MAX_BYTES:
        found = contents.collect(recipe, heads, shown=shown, sampled=sampled)
        if found is None:
            path.unlink(missing_ok=True)
            return
        page = _render(recipe.name, found)
        shown, sampled = shown // 2, sampled // 2
    with replacing(path) as temporary:
        temporary.write_bytes(page)
    print(f"label viewer: {path}")


def _render(name: str, found: dict) -> bytes:
    folder = pathlib.Path(__file__).parent
    loader = jinja2.FileSystemLoader(folder)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    script = "\n".join((folder / file).read_text(encoding="utf-8") for file in _SCRIPTS)
    template = environment.get_template("page.html.j2")
    return template.render(name=name, data=found, script=markupsafe.Markup(script)).encode()
