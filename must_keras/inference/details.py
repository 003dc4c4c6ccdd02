"""The details of a head's evaluation on disk: details/<head>.json, and pictures of worst images.

They lie beside the model in the artifact's folder, and are written when it is scored: the images
and predictions are in memory then. finished.json, which every command reads, stays small, and what
an artifact is made from does not depend on them.
"""

import bisect
import dataclasses
import pathlib
from typing import Any

import numpy as np

from must_keras.data.sources import Source
from must_keras.inference import visualization
from must_keras.inference.predictor import Predicted
from must_keras.json_files import find_json, write_json
from must_keras.runs.fingerprint import describe
from must_keras.runs.marks import DETAILS
from must_keras.runs.results import Metrics, Result
from must_keras.tasks.base import Task
from must_keras.tasks.details import Details, Disagreement
from must_keras.tasks.parts import Arrays

_NUM_WORST = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorstImage(Result):
    """An image whose prediction is far from its ground truth.

    Attributes:
        image: "<name of the source>/<the image's id there>".
        amount: see Disagreement.
        text: see Disagreement.
        picture: name of a file in pictures/: image, ground truth and prediction.

    Example:
        WorstImage(image="test/3.png", amount=2.0, text="2 missed", picture="x-worst-1.png")
    """

    image: str
    amount: float
    text: str
    picture: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluationDetails(Result):
    """The content of details/<head>.json; values are None where nothing was labeled.

    Attributes:
        split: of the head's set, on which it was evaluated.
        values: see Details.
        by_class: see Details.
        confusion: see Details.
        worst: the images with the largest disagreements, the worst first.

    Example:
        read(run.student.folder, "objects").by_class["cat"]["box_ap50"]
    """

    split: str
    values: Metrics
    by_class: dict[str, Metrics]
    confusion: dict[str, dict[str, int]]
    worst: list[WorstImage]


@dataclasses.dataclass(frozen=True)
class _Shown:
    """What a picture of an image needs."""

    disagreement: Disagreement
    index: int
    image: np.ndarray
    area: np.ndarray
    label: Arrays
    prediction: Arrays


class WorstImages:
    """The images whose predictions are the farthest from their ground truth, of all batches.

    Args:
        task: the head.
        count: how many images are kept.

    Example:
        worst = WorstImages(task)
        for predicted in predictor(batches):
            worst.add(predicted)
    """

    def __init__(self, task: Task, count: int = _NUM_WORST):
        self._task, self._count = task, count
        self._kept: list[_Shown] = []

    def add(self, predicted: Predicted) -> None:
        """Add a batch. Of equal ones the first image stays; one that agrees is never kept."""
        name = self._task.name
        label, prediction = predicted.y["labels"][name], predicted.outputs[name]
        found = self._task.metrics.disagreements(label, prediction)
        for i, disagreement in enumerate(found):
            if disagreement is None or not disagreement.amount > 0:
                continue
            place = bisect.bisect(self._kept, -disagreement.amount, key=_order)
            if place < self._count:
                shown = (visualization.take(part, i) for part in (label, prediction))
                index, image = int(predicted.y["index"][i]), predicted.x["image"][i].copy()
                area = predicted.x["area"][i]
                self._kept.insert(place, _Shown(disagreement, index, image, area, *shown))
                del self._kept[self._count :]

    def save(self, folder: pathlib.Path, source: Source) -> list[WorstImage]:
        """Write their pictures into pictures/ of an artifact's folder; return them, worst first."""
        made, task = [], self._task
        for number, one in enumerate(self._kept, start=1):
            row = visualization.row(task, one.image, one.label, one.prediction, area=one.area)
            picture = f"{task.name}-worst-{number}.png"
            visualization.save(folder / "pictures" / picture, visualization.grid([row]))
            disagreement = one.disagreement._asdict()
            image = f"{source.name}/{source.image_id(one.index)}"
            made.append(WorstImage(image=image, picture=picture, **disagreement))
        return made


def _order(shown: _Shown) -> float:
    return -shown.disagreement.amount


def write(
    folder: pathlib.Path, task: Task, split: str, details: Details, worst: list[WorstImage]
) -> None:
    """Write details/<head>.json of an artifact's folder.

    Args:
        folder: of the artifact.
        task: the head.
        split: on which it was evaluated.
        details: of its evaluator.
        worst: with their pictures.
    """
    value: dict[str, Any] = {"split": split} | vars(details) | {"worst": worst}
    (folder / DETAILS).mkdir(parents=True, exist_ok=True)
    write_json(_path(folder, task.name), describe(value))


def read(folder: pathlib.Path, head: str) -> EvaluationDetails | None:
    """Return the details of a head in an artifact's folder; None where there are none.

    Raises:
        DataError: the file is damaged.
        UserError: the file cannot be opened.
    """
    path = _path(folder, head)
    return find_json(path, EvaluationDetails, remedy=f"delete {path} to leave its details out")


def _path(folder: pathlib.Path, head: str) -> pathlib.Path:
    return folder / DETAILS / f"{head}.json"
