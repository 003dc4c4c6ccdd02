"""The images whose predictions are the farthest from their ground truth, and their pictures."""

import bisect
import dataclasses
import pathlib

import numpy as np

from must_keras.data.sources import Source
from must_keras.inference import visualization
from must_keras.inference.predictor import Predicted
from must_keras.runs.details import WorstImage
from must_keras.tasks.base import Task
from must_keras.tasks.details import Disagreement
from must_keras.tasks.parts import Arrays

_NUM_WORST = 4


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
