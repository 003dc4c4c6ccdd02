"""Stage 6: report.json for programs, report.html for people."""

from __future__ import annotations

from must_keras.config.recipe import Recipe
from must_keras.files import write_json
from must_keras.runs.workdir import Workdir


def run(recipe: Recipe, workdir: Workdir, only: tuple[str, ...]) -> None:
    """Writes both, from whatever is finished."""
    del only
    from must_keras.analysis import comparison
    from must_keras.pseudo_labels import viewer
    from must_keras.report import page, summary, transfers  # matplotlib is slow to import.

    # The thresholds may have moved since the labels were made.
    viewer.write(recipe, workdir)

    report = summary.collect(recipe, workdir)
    write_json(workdir.root / "report.json", report)
    path = workdir.root / "report.html"
    page.write(recipe, workdir, report, path)
    if report["transfers"]:
        print("\n".join(transfers.verdicts(report)))
    for name, compared in report["comparisons"].items():
        several = f"{name}: " if len(report["comparisons"]) > 1 else ""
        print("\n".join(f"{several}{text}" for text in comparison.sentences(compared)))
    print(f"report: {path}")
