"""The search for data leakage, a hidden stage: made for the stages that need it."""

from collections.abc import Sequence
from typing import Any

from must_keras.log import LOG
from must_keras.pseudo_labels import leakage
from must_keras.runs.artifact import Artifact
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage


class Leakage(Stage):
    """The comparisons of what the student learns from with the test splits of the transfers.

    Example:
        [artifact.name for artifact in Leakage().artifacts(run)]  # ["pool", ...]
    """

    name = "leakage"
    folder = "leaks"
    is_shown = False

    def artifacts(self, run: Run) -> Sequence[Artifact]:
        return leakage.artifacts(run)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        leakage.make(run, pending)

    def revisit(self, run: Run, artifact: Artifact) -> None:
        """Report the images that a complete comparison leaves out, if there are any."""
        result = artifact.result()
        if result.left_out:
            LOG.info(leakage.sentence(artifact.name, result, see=artifact.folder / leakage.LIST))

    def report(self, run: Run) -> dict[str, Any]:
        return {"leaks": leakage.results(run)}


STAGE = Leakage()
