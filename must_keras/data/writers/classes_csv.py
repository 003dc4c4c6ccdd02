"""The class of each image in a table."""

import csv
import pathlib

import numpy as np

from must_keras.data.writers.writer import LabeledImage, Writer
from must_keras.tasks.base import Task


class ClassesCsv(Writer):
    """classes.csv: the path of each image below images/, its most likely class and that score.

    Example:
        writer = ClassesCsv(folder, task, origin="species")
    """

    name = "csv"
    contents = "one class an image"

    def __init__(self, folder: pathlib.Path, task: Task, *, origin: str):
        super().__init__(folder, task, origin=origin)
        self._file = open(folder / "classes.csv", "x", encoding="utf-8", newline="")  # noqa: SIM115
        self._rows = csv.writer(self._file)
        self._rows.writerow(["file", "class", "score"])

    @classmethod
    def takes(cls, task: Task) -> bool:
        return task.kind == "classes"

    def add(self, image: LabeledImage) -> None:
        probabilities = np.asarray(image.label["probabilities"])
        index = int(probabilities.argmax())
        score = round(float(probabilities[index]), 4)
        self._rows.writerow([image.name, self.task.labels.classes[index], score])

    def close(self) -> None:
        self._file.close()
        super().close()
