"""Objects in YOLO's text files."""

import pathlib

import numpy as np
import yaml

from must_keras.data.io.outlines import outline
from must_keras.data.writers.writer import LabeledImage, StemPaths, Writer, certain_objects
from must_keras.tasks.base import Task


class YoloWriter(Writer):
    """labels/<name>.txt and data.yaml: polygons of objects with masks, boxes of all others.

    The form that a training reads has no scores. An image without an object has an empty file.

    Example:
        writer = YoloWriter(folder, task, origin="boxes")
    """

    name = "yolo"
    contents = "boxes and masks"

    def __init__(self, folder: pathlib.Path, task: Task, *, origin: str):
        super().__init__(folder, task, origin=origin)
        self._paths = StemPaths(folder / "labels", ".txt")

    @classmethod
    def takes(cls, task: Task) -> bool:
        return task.predictions.has_objects

    def add(self, image: LabeledImage) -> None:
        lines = [self._line(image, place) for place in certain_objects(image, self.notes)]
        text = "".join(f"{line}\n" for line in lines)
        self._paths.take(image.name).write_text(text, encoding="ascii")

    def _line(self, image: LabeledImage, place: int) -> str:
        label = image.label
        box = np.asarray(label["boxes"][place], np.float64)
        ring = outline(label["masks"][place]) if label["has_mask"][place] else None
        (ymin, xmin, ymax, xmax) = box
        if ring is None:
            values = [(xmin + xmax) / 2, (ymin + ymax) / 2, xmax - xmin, ymax - ymin]
        else:
            values = ((xmin, ymin) + ring * (xmax - xmin, ymax - ymin)).ravel().tolist()
        return " ".join([str(int(label["classes"][place])), *(f"{v:.6g}" for v in values)])

    def close(self) -> None:
        names = dict(enumerate(self.task.labels.classes))
        # A training asks for both splits.
        content = {"train": "images", "val": "images", "names": names}
        text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
        (self.folder / "data.yaml").write_text(text, encoding="utf-8")
        super().close()
