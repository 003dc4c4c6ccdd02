"""The section of the report on exports: how like the student each file is."""

from collections.abc import Iterator

from markupsafe import Markup

from must_keras.report import html
from must_keras.report.results import RunResults


def comparisons(results: RunResults) -> Iterator[Markup]:
    """Yield the largest difference between each exported file and the student.

    Example:
        list(comparisons(RunResults(run=run, report=report)))
    """
    found = results.report.get("exports")
    if not found:
        return
    rows: list[list[html.Value]] = []
    for file, like in found["reloaded"].items():
        rows.append([file, "all", f"{like['difference']:.1e}", f"{like['agreement']:.1%}", None])
    for name, made in found["formats"].items():
        file = f"{name}/{made['file']} ({made['images']} images)"
        for head, like in made["heads"].items():
            agreement, objects = like.get("agreement"), None
            if like.get("objects") is not None:
                objects = f"{like['matched']:,} of {like['objects']:,}"
            equal = None if agreement is None else f"{agreement:.1%}"
            rows.append([file, head, f"{like['difference']:.1e}", equal, objects])
            file = ""  # Once for each file.
    head = ["file", "head", "largest relative difference", "equal decisions", "matched objects"]
    yield html.table(head, rows)
    for file, reason in found["skipped"].items():
        yield html.paragraph(f"{file} is not written: {reason}.")
