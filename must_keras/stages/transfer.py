"""Stage 4: downstream tasks from every start, with the same images, steps and fresh weights."""

from collections.abc import Iterator, Sequence
from typing import Any

import keras

from must_keras.analysis import comparison
from must_keras.runs.artifact import Artifact
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage
from must_keras.training.loop import load_artifact
from must_keras.transfer.episode_scorer import EpisodeScorer
from must_keras.transfer.grid import transfer_runs
from must_keras.transfer.trainer import TransferTrainer


class Transfers(Stage):
    """The transfer runs of all downstream sets.

    Example:
        Transfers().report(run)["comparisons"]
    """

    name = "transfer"
    folder = "transfers"
    by_all_workers = True

    def artifacts(self, run: Run) -> Iterator[Artifact]:
        for transfer in run.recipe.transfers:
            for one in transfer_runs(run, transfer):
                yield one.artifact(run)

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        artifacts = {artifact.folder: artifact for artifact in pending}
        models: dict[str, keras.Model] = {}
        for transfer in run.recipe.transfers:
            of_set = EpisodeScorer if run.recipe.mode == "episodes" else TransferTrainer
            trainer = of_set(run, transfer)
            for one in transfer_runs(run, transfer):
                artifact, origin = artifacts.get(one.read(run).folder), one.origin(run)
                if artifact is None:
                    continue
                if origin is not None and one.start.name not in models:
                    models[one.start.name] = load_artifact(origin)
                trainer.run(one, artifact, models.get(one.start.name))

    def report(self, run: Run) -> dict[str, Any]:
        found = [one.read(run) for t in run.recipe.transfers for one in transfer_runs(run, t)]
        rows = [describe(result) for artifact in found if (result := artifact.result())]
        return {
            "transfers": rows,
            "comparisons": {
                name: comparison.compare(of_protocol)
                for name, of_protocol in comparison.by_protocol(rows).items()
            },
        }


STAGE = Transfers()
