"""report.html: one file without a server, as a table of contents of its sections."""

import pathlib

from markupsafe import Markup

from must_keras import pages
from must_keras.files import replacing
from must_keras.report import heads, labels, transfers
from must_keras.report.results import RunResults

_TEMPLATE = pathlib.Path(__file__).with_name("page.html.j2")
# (heading, function that yields the HTML), in their order; a section without any is left out.
SECTIONS = (
    ("", transfers.conclusion),
    ("", transfers.overview),
    ("Transfer runs: the same budget from every start", transfers.protocols),
    ("Teachers and student on the test splits of the teachers' own sets", heads.scores),
    ("Baselines", heads.baselines),
    ("Self-training rounds: each student labels for the next", heads.rounds),
    ("Each head", heads.each_head),
    ("Pseudo-label datasets", labels.datasets),
    ("Where the student's labels come from", labels.label_origins),
    ("Data leakage: training images that are also in test splits", labels.left_out_images),
    ("Training curves", heads.training_curves),
    ("Downstream predictions", transfers.downstream_predictions),
    ("Samples of every set", labels.samples),
)


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
