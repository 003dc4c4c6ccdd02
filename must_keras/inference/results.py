"""Predictions on disk: pictures, JSON lines, COCO files and PNG maps."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from must_keras.errors import UserError
from must_keras.inference import visualization
from must_keras.inference.image_paths import OutputPaths
from must_keras.json_files import write_json
from must_keras.tasks.base import Task
from must_keras.tasks.visualization import enlarge

# Pixels of a visualization of all heads, and of the longer side of one head's part of it.
_MAX_WIDTH, _MAX_HEIGHT, _MAX_SIDE = 2400, 4800, 4096


class Results:
    """The files of predictions, written image by image.

        predictions.jsonl      a line for every image
        pictures/<name>.png    the image and a visualization of every head
        <head>/<name>.png      maps: classes, millimeters, normals
        <head>.json            objects, in COCO's format with scores

    Where file systems take two names for one, or cannot store one, the file has another name: a
    line of predictions.jsonl contains the paths.

    Args:
        folder: a new or empty one.
        tasks: the heads.

    Raises:
        UserError: the folder is not empty, or cannot be written; has its `path`.

    Example:
        results = Results(pathlib.Path("out"), model.tasks)
        results.add("photo.jpg", file, image, model.predict(image))
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
        self._coco = {
            task.name: _Coco(task.labels.classes) for task in tasks if task.predictions.has_objects
        }
        self._paths = OutputPaths(suffix=".png")
        self.num_pictures = 0

    def add(
        self,
        name: str,
        file: pathlib.Path,
        image: np.ndarray,
        outputs: Mapping[str, Mapping[str, np.ndarray]],
    ) -> None:
        """Write the heads' predictions for one image.

        Args:
            name: of the image, see `image_paths.find`.
            file: of the image.
            image: [H, W, 3] uint8.
            outputs: {head: prediction} in the image's pixels.
        """
        height, width = image.shape[:2]
        stored = self._paths.take(name)
        picture = f"pictures/{stored}.png"
        line: dict[str, Any] = {"name": name, "file": str(file), "height": height, "width": width}
        line["picture"] = picture
        small, scale = _small(image)
        row = [visualization.captioned(enlarge(small), name)]
        for task in self._tasks:
            prediction = outputs[task.name]
            line[task.name] = task.predictions.to_json(prediction)
            reduced = _scaled(task, prediction, image.shape[:2], small.shape[:2], scale)
            shown = task.visualization.visualize(small, reduced)
            row.append(visualization.captioned(enlarge(shown), task.name))
            png = task.predictions.map_png(prediction)
            if png is not None:
                path = f"{task.name}/{stored}.png"
                line[task.name]["map"] = path
                _write(self._folder / path, png)
            if task.name in self._coco:
                objects = task.predictions.coco(prediction, (height, width))
                self._coco[task.name].add(name, (height, width), objects)
        canvas = Image.fromarray(visualization.grid([row]))
        canvas.thumbnail((_MAX_WIDTH, min(canvas.height, _MAX_HEIGHT)))
        _write(self._folder / picture, visualization.png(np.asarray(canvas)))
        self._lines.write(json.dumps(line) + "\n")
        self.num_pictures += 1

    def close(self) -> None:
        """Write the COCO files; without any image, delete predictions.jsonl."""
        self._lines.close()
        if not self.num_pictures:
            (self._folder / "predictions.jsonl").unlink()
            return
        for name, coco in self._coco.items():
            write_json(self._folder / f"{name}.json", coco.content)


def _small(image: np.ndarray) -> tuple[np.ndarray, float]:
    """Return an image, [H, W, 3] uint8, with a longer side of at most _MAX_SIDE, and its scale."""
    longer = max(image.shape[:2])
    if longer <= _MAX_SIDE:
        return image, 1.0
    reduced = Image.fromarray(image)
    reduced.thumbnail((_MAX_SIDE, _MAX_SIDE))
    return np.asarray(reduced), _MAX_SIDE / longer


def _scaled(
    task: Task,
    prediction: Mapping[str, np.ndarray],
    size: tuple[int, int],
    small: tuple[int, int],
    scale: float,
) -> Mapping[str, np.ndarray]:
    """Return a prediction in pixels of a reduced image: a picture takes some bytes a pixel."""
    if size == small:
        return prediction
    rows, columns = (
        ((np.arange(new) + 0.5) / new * old).astype(int)
        for new, old in zip(small, size, strict=True)
    )
    found = {}
    for key, value in prediction.items():
        values = np.asarray(value)
        if key in task.predictions.per_pixel:
            values = values[rows][:, columns]
        found[key] = values * np.float32(scale) if key in task.predictions.coordinates else values
    return found


class _Coco:
    """Predicted objects as a COCO data set: an annotation has a "score" too."""

    def __init__(self, classes: Sequence[str]):
        self.content: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(classes)],
            "annotations": [],
        }

    def add(self, name: str, size: tuple[int, int], objects: Sequence[dict[str, Any]]) -> None:
        """Add an image of (height, width) pixels and the annotations of its objects."""
        images, annotations = self.content["images"], self.content["annotations"]
        number = len(images) + 1
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for annotation in objects:
            annotations.append({"id": len(annotations) + 1, "image_id": number} | annotation)


def _write(path: pathlib.Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: pathlib.Path, error: OSError) -> UserError:
    return UserError.at(path, f"cannot be written: {error.strerror}", key="out")
