"""A whole stage in one file: the classes of each labeled set, counted and drawn. Not a test."""

import dataclasses
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np

from must_keras.config.recipe import Teacher, Transfer
from must_keras.data.examples import LabeledExamples, count_classes
from must_keras.inference import visualization
from must_keras.json_files import find_json, write_json
from must_keras.runs.artifact import Artifact
from must_keras.runs.results import Result
from must_keras.runs.run import Run
from must_keras.runs.stage import Stage

# Height and width of the bar of one example, pixels.
UNIT = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistogramResult(Result):
    """The number of examples of each class."""

    classes: dict[str, float]


class _State(TypedDict):
    """The content of progress.json; the first two are what status shows."""

    step: int
    of: int
    classes: dict[str, float]


class Histogram(Stage):
    """The number of examples of each class in the training sets of teachers and transfers."""

    name = "histogram"

    def artifacts(self, run: Run) -> Iterator[Artifact]:
        for name, item in _labeled(run).items():
            yield run.artifact("histogram", name, result_type=HistogramResult).declare(
                stage=self.name,
                name=name,
                group=name,
                find_inputs=lambda item=item: {"version": 1, "images": item.sets.train},
            )

    def make(self, run: Run, pending: Sequence[Artifact]) -> None:
        for artifact in pending:
            folder = artifact.resume()
            counts = _count(_labeled(run)[artifact.name], folder / "progress.json")
            visualization.save(folder / "pictures" / "histogram.png", bars(counts))
            artifact.finish(HistogramResult(classes=counts))

    def report(self, run: Run) -> dict[str, Any]:
        results = {artifact.name: artifact.result() for artifact in self.artifacts(run)}
        return {"histogram": {name: result for name, result in results.items() if result}}


STAGE = Histogram()


def bars(counts: Mapping[str, float]) -> np.ndarray:
    """Return a picture, [H, W, 3] uint8: a black bar for each class on white, in order."""
    height, width = UNIT * int(max(counts.values())), UNIT * len(counts)
    picture = np.full((height, width, 3), 255, np.uint8)
    for column, count in enumerate(counts.values()):
        picture[height - UNIT * int(count) :, UNIT * column : UNIT * (column + 1)] = 0
    return picture


def _labeled(run: Run) -> dict[str, Teacher | Transfer]:
    return {item.name: item for item in (*run.recipe.trained_teachers, *run.recipe.transfers)}


def _count(item: Teacher | Transfer, path: pathlib.Path) -> dict[str, float]:
    """Return {class: examples}; an interrupted process has left its own in progress.json."""
    examples = LabeledExamples(item.sets.train, [item.task])
    found = find_json(path, _State, remedy=f"delete {path}")
    state = found or _State(step=0, of=len(examples), classes={})
    for index in range(state["step"], len(examples)):
        found = count_classes(examples, item.task, indices=[index])
        counts = {name: state["classes"].get(name, 0.0) + n for name, n in found.items()}
        state = _State(step=index + 1, of=len(examples), classes=counts)
        write_json(path, state)
    return state["classes"]
