"""Predictions on disk: pictures, JSON lines, COCO files and PNG maps."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from must_keras.errors import UserError
from must_keras.inference import visualization
from must_keras.inference.image_paths import OutputPaths
from must_keras.json_files import write_json
from must_keras.tasks.base import Task

# No head has a name with a dot, so none has this file.
_CLASSES = "predictions.classes.json"

Outputs = Mapping[str, Mapping[str, np.ndarray]]


class Results:
    """The files of predictions, written image by image.

        predictions.jsonl      a line for every image
        pictures/<name>.png    the image and a visualization of every head
        <head>/<name>.png      maps: classes, millimeters, normals
        <head>.json            objects, in COCO's format with scores
        predictions.classes.json   {head: {"kind", "unit", "classes"}}: k in a map is classes[k]

    Where file systems take two names for one, or cannot store one, the file has another name: a
    line of predictions.jsonl contains the paths.

    Args:
        folder: a new or empty one.
        tasks: the heads.

    Raises:
        UserError: the folder is not empty, or cannot be written; has its `path`.

    Example:
        results = Results(pathlib.Path("out"), model.tasks)
        results.add("photo.jpg", file, image, model.predict(image).outputs)
        results.close()
    """

    def __init__(self, folder: pathlib.Path, tasks: Sequence[Task]):
        if folder.exists() and not folder.is_dir():
            raise UserError.at(folder, "is a file; give a new folder", key="out")
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError.at(folder, "is not empty; give a new folder", key="out")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = open(folder / "predictions.jsonl", "x", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise _unwritable(folder, error) from None
        self._folder, self._tasks = folder, tuple(tasks)
        # COCO's lists: of images, and of each head's objects.
        self._images: list[dict[str, Any]] = []
        self._objects = {task.name: [] for task in tasks if task.predictions.has_objects}
        self._paths = OutputPaths(suffix=".png")
        self.num_pictures = 0

    def add(self, name: str, file: pathlib.Path | str, image: np.ndarray, outputs: Outputs) -> None:
        """Write the heads' predictions for one image.

        Args:
            name: of the image, see `image_paths.find`.
            file: of the image, or its name where it has none.
            image: [H, W, 3] uint8.
            outputs: {head: prediction} in the image's pixels.
        """
        (height, width), number = image.shape[:2], self.num_pictures + 1
        size = {"height": height, "width": width}
        self._images.append({"id": number, "file_name": name, **size})
        stored = self._paths.take(name)
        picture = f"pictures/{stored}.png"
        line: dict[str, Any] = {"name": name, "file": str(file), **size, "picture": picture}
        for task in self._tasks:
            prediction = outputs[task.name]
            line[task.name] = task.predictions.to_json(prediction)
            png = task.predictions.map_png(prediction)
            if png is not None:
                path = f"{task.name}/{stored}.png"
                line[task.name]["map"] = path
                _write(self._folder / path, png)
            if task.name in self._objects:
                objects = self._objects[task.name]
                for found in task.predictions.coco(prediction, (height, width)):
                    objects.append({"id": len(objects) + 1, "image_id": number} | found)
        canvas = visualization.of_heads(image, name, self._tasks, outputs)
        _write(self._folder / picture, visualization.png(np.asarray(canvas)))
        self._lines.write(json.dumps(line) + "\n")
        self.num_pictures = number

    def close(self) -> None:
        """Write the COCO files and the class names; without any image, delete predictions.jsonl."""
        self._lines.close()
        if not self.num_pictures:
            (self._folder / "predictions.jsonl").unlink()
            return
        write_json(self._folder / _CLASSES, {task.name: task.meaning() for task in self._tasks})
        for task in self._tasks:
            if task.name in self._objects:
                classes = enumerate(task.labels.classes, 1)
                categories = [{"id": number, "name": name} for number, name in classes]
                content = {"images": self._images, "categories": categories}
                content["annotations"] = self._objects[task.name]
                write_json(self._folder / f"{task.name}.json", content)


def _write(path: pathlib.Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: pathlib.Path, error: OSError) -> UserError:
    return UserError.at(path, f"cannot be written: {error.strerror}", key="out")
