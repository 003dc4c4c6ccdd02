"""Objects in COCO's JSON, with scores."""

import json
import pathlib

import numpy as np
from pycocotools import mask as coco_mask

from must_keras.data.writers.writer import LabeledImage, Writer
from must_keras.tasks.base import Task

FILE = "annotations.json"


class CocoWriter(Writer):
    """annotations.json: boxes, masks as run-length codes, and "score" where labels have scores.

    "file_name" is the path below images/; categories are numbered from 1; ignored regions are
    crowds, and those of no class are left out.

    Example:
        writer = CocoWriter(folder, task, origin="boxes")
    """

    name = "coco"
    contents = "boxes and masks"

    def __init__(self, folder: pathlib.Path, task: Task, *, origin: str):
        super().__init__(folder, task, origin=origin)
        names = enumerate(task.labels.classes, 1)
        head = {
            "info": {"description": f"{task.name} by {origin}"},
            "categories": [{"id": number, "name": name} for number, name in names],
        }
        # Annotations are written one by one: those of a large pool do not fit in memory.
        self._file = open(folder / FILE, "x", encoding="utf-8")  # noqa: SIM115
        self._file.write(f'{json.dumps(head)[:-1]}, "annotations": [')
        self._images: list[dict[str, str | int]] = []
        self._num_annotations = 0

    @classmethod
    def takes(cls, task: Task) -> bool:
        return task.predictions.has_objects

    def add(self, image: LabeledImage) -> None:
        height, width = image.size
        number = len(self._images) + 1
        self._images.append(
            {"id": number, "file_name": image.name, "height": height, "width": width}
        )
        label = image.label
        scores = label.get("scores", np.ones(len(label["classes"])))
        prediction = {**label, "boxes": label["boxes"] * np.tile(image.size, 2), "scores": scores}
        ignore = np.asarray(label["ignore"])[np.asarray(label["classes"]) >= 0]
        found = self.task.predictions.coco(prediction, image.size)
        for annotation, is_ignored in zip(found, ignore, strict=True):
            if "scores" not in label:
                del annotation["score"]
            if "segmentation" in annotation:
                annotation["area"] = int(coco_mask.area(annotation["segmentation"]))
            annotation["iscrowd"] = int(is_ignored)
            start = ",\n" if self._num_annotations else "\n"
            self._num_annotations += 1
            ids = {"id": self._num_annotations, "image_id": number}
            self._file.write(start + json.dumps(ids | annotation))

    def close(self) -> None:
        self._file.write(f'\n], "images": {json.dumps(self._images)}}}\n')
        self._file.close()
        super().close()
