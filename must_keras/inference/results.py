"""What comes out: pictures, JSON lines, COCO files and PNG maps."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from must_keras import naming
from must_keras.errors import UserError
from must_keras.files import write_json
from must_keras.inference import visualization
from must_keras.ops.masks import encode_rle, paste
from must_keras.tasks.base import Task
from must_keras.tasks.visualization import enlarge

# A picture for people: wider and higher ones are made smaller.
_WIDEST, _HIGHEST = 2400, 4800
# Pixels of the longer side of one head's part of it.
_LONGEST = 4096


class Results:
    """Writes the predictions of one picture after the other.

        predictions.jsonl      a line for every picture
        pictures/<name>.png    the picture and what every head says of it
        <head>/<name>.png      maps: classes, millimeters, normals
        <head>.json            boxes, in COCO's format with scores

    Where file systems take two names for one, or cannot store one, the file has another name: a
    line of predictions.jsonl contains the paths.

    Args:
        folder: a new or empty one.
        tasks: the heads.

    Raises:
        UserError: there is something in the folder, or it cannot be written.
    """

    def __init__(self, folder: pathlib.Path, tasks: Sequence[Task]):
        if folder.exists() and not folder.is_dir():
            raise UserError(f"--out={folder} is a file; a folder is needed")
        if folder.is_dir() and any(folder.iterdir()):
            raise UserError(f"--out={folder} is not empty; choose another folder")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lines = open(folder / "predictions.jsonl", "x", encoding="utf-8")  # noqa: SIM115
        except OSError as error:
            raise UserError(f"--out={folder} cannot be written: {error.strerror}") from None
        self._folder, self._tasks = folder, tuple(tasks)
        self._coco = {task.name: _Coco(task.classes) for task in tasks if task.kind == "boxes"}
        self._paths = naming.OutputNames(suffix=".png")
        self.num_pictures = 0

    def add(
        self,
        name: str,
        file: pathlib.Path,
        image: np.ndarray,
        outputs: Mapping[str, Mapping[str, np.ndarray]],
    ) -> None:
        """Writes what the heads say of one picture.

        Args:
            name: of the picture, as `pictures.find` gave it.
            file: where it lies.
            image: [H, W, 3] uint8.
            outputs: {head: outputs} in the image's pixels.
        """
        height, width = image.shape[:2]
        stored = self._paths.take(name)
        picture = f"pictures/{stored}.png"
        line: dict[str, Any] = {"name": name, "file": str(file), "height": height, "width": width}
        line["picture"] = picture
        small, scale = _small(image)
        row = [visualization.captioned(enlarge(small), name)]
        for task in self._tasks:
            said = outputs[task.name]
            line[task.name] = task.tell(said)
            shown = task.draw(small, _scaled(said, image.shape[:2], small.shape[:2], scale))
            row.append(visualization.captioned(enlarge(shown), task.name))
            png = task.map_png(said)
            if png is not None:
                path = f"{task.name}/{stored}.png"
                line[task.name]["map"] = path
                _write(self._folder / path, png)
            if task.name in self._coco:
                self._coco[task.name].add(name, (height, width), said)
        canvas = Image.fromarray(visualization.grid([row]))
        canvas.thumbnail((_WIDEST, min(canvas.height, _HIGHEST)))
        _write(self._folder / picture, visualization.png(np.asarray(canvas)))
        self._lines.write(json.dumps(line) + "\n")
        self.num_pictures += 1

    def close(self) -> None:
        """Writes the COCO files; where there was no picture, nothing is left behind."""
        self._lines.close()
        if not self.num_pictures:
            (self._folder / "predictions.jsonl").unlink()
            return
        for name, coco in self._coco.items():
            write_json(self._folder / f"{name}.json", coco.content)


def _small(image: np.ndarray) -> tuple[np.ndarray, float]:
    """An image, [H, W, 3] uint8, with a longer side of at most _LONGEST, and its scale."""
    longer = max(image.shape[:2])
    if longer <= _LONGEST:
        return image, 1.0
    reduced = Image.fromarray(image)
    reduced.thumbnail((_LONGEST, _LONGEST))
    return np.asarray(reduced), _LONGEST / longer


def _scaled(
    outputs: Mapping[str, np.ndarray], size: tuple[int, int], small: tuple[int, int], scale: float
) -> Mapping[str, np.ndarray]:
    """Outputs in the pixels of a reduced image: visualizing takes some bytes for every pixel."""
    if size == small:
        return outputs
    rows, columns = (
        ((np.arange(new) + 0.5) / new * old).astype(int)
        for new, old in zip(small, size, strict=True)
    )
    found = {}
    for key, value in outputs.items():
        values = np.asarray(value)
        if values.ndim >= 2 and values.shape[:2] == size:
            values = values[rows][:, columns]
        found[key] = values * np.float32(scale) if key == "boxes" else values
    return found


class _Coco:
    """Detections as a COCO data set: an annotation has a "score" too."""

    def __init__(self, classes: Sequence[str]):
        self.content: dict[str, list[dict[str, Any]]] = {
            "images": [],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(classes)],
            "annotations": [],
        }

    def add(
        self,
        name: str,
        size: tuple[int, int],
        outputs: Mapping[str, np.ndarray],
    ) -> None:
        images, annotations = self.content["images"], self.content["annotations"]
        number = len(images) + 1
        images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
        for i in np.flatnonzero(np.asarray(outputs["classes"]) >= 0):
            ymin, xmin, ymax, xmax = (round(float(v), 2) for v in outputs["boxes"][i])
            annotation = {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": int(outputs["classes"][i]) + 1,
                "bbox": [xmin, ymin, round(xmax - xmin, 2), round(ymax - ymin, 2)],
                "area": round((xmax - xmin) * (ymax - ymin), 2),
                "iscrowd": 0,
                "score": round(float(outputs["scores"][i]), 4),
            }
            if "masks" in outputs:
                inside = paste(outputs["masks"][i], np.asarray(outputs["boxes"][i]), size)
                counts = encode_rle(inside).decode("ascii")
                annotation["segmentation"] = {"size": list(size), "counts": counts}
            annotations.append(annotation)


def _write(path: pathlib.Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
