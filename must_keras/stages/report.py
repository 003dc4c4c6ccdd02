"""Stage 6: report.json for programs, report.html for people."""

from collections.abc import Sequence
from typing import Any

from must_keras.analysis import combined, comparison, shortfalls
from must_keras.errors import warn
from must_keras.json_files import write_json
from must_keras.log import LOG
from must_keras.pseudo_labels import viewer
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage


class Report(Stage):
    """The values that all stages have found, in two files.

    Example:
        Report().conclude(run, stages.load())  # writes report.json and report.html
    """

    name = "report"

    def artifacts(self, run: Run) -> Sequence[Artifact]:
        """Return nothing: the report is written from what is complete, every time."""
        return ()

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        raise AssertionError("it has no artifacts")

    def conclude(self, run: Run, stages: Sequence[Stage]) -> None:
        # matplotlib is slow to import.
        from must_keras import report
        from must_keras.report import findings, model_card, results
        from must_keras.report.sections import transfers

        # The thresholds may have moved since the labels were made.
        viewer.write(run)
        values = collect(run, stages) | findings.of(run)
        write_json(run.path / "report.json", values)
        path = run.path / "report.html"
        report.write(results.RunResults(run=run, report=values), path)
        model_card.write(run, values)
        for found in values["shortfalls"]:
            causes = (f"  {text}" for text in shortfalls.advice(found))
            warn("\n".join((shortfalls.sentence(found), *causes)))
        if values["transfers"]:
            LOG.info("\n".join(transfers.verdicts(values)))
        for name, compared in values["comparisons"].items():
            several = f"{name}: " if len(values["comparisons"]) > 1 else ""
            if several:
                LOG.info(f"{name}\n\n{combined.table(compared)}\n")
            LOG.info("\n".join(f"{several}{text}" for text in comparison.sentences(compared)))
        LOG.info(f"report: {path}")


def collect(run: Run, stages: Sequence[Stage]) -> dict[str, Any]:
    """Return report.json: what all stages have found; what is not complete is absent."""
    values: dict[str, Any] = {}
    for stage in stages:
        values |= describe(stage.report(run))
    return values | {"seconds": run.seconds()}


STAGE = Report()
