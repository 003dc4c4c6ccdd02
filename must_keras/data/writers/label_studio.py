"""Pre-annotations for Label Studio."""

import json
import pathlib
import urllib.parse
from collections.abc import Iterator
from typing import Any
from xml.sax.saxutils import quoteattr

import numpy as np

from must_keras.data.io.brush_codes import encode_brush
from must_keras.data.io.outlines import outline
from must_keras.data.writers.writer import LabeledImage, Writer, certain_objects
from must_keras.ops import maps
from must_keras.tasks.base import Task

TASKS, CONFIG = "tasks.json", "labeling.xml"
# The path of an image that Label Studio reads from its own disk.
_LOCAL = "/data/local-files/?d="
# {kind of a task: the tags that its labels need}.
_TAGS: dict[str, tuple[str, ...]] = {
    "boxes": ("RectangleLabels", "PolygonLabels"),
    "map": ("BrushLabels",),
    "classes": ("Choices",),
}


class LabelStudioWriter(Writer):
    """tasks.json with a prediction for each image, and labeling.xml, the project's configuration.

    Boxes are rectangles, objects with masks polygons, maps a brush mask for each class, classes
    choices. A task's "image" is images/<name> below the folder that Label Studio reads local files
    from; "file" is the image's id, by which `LabelStudioJson` finds it again.

    Reference: Label Studio's pre-annotated tasks; positions are percents of the image.

    Example:
        writer = LabelStudioWriter(folder, task, origin="boxes")
    """

    name = "label-studio"
    contents = "boxes and masks, maps of classes, and classes"

    def __init__(self, folder: pathlib.Path, task: Task, *, origin: str):
        super().__init__(folder, task, origin=origin)
        self._file = open(folder / TASKS, "x", encoding="utf-8")  # noqa: SIM115
        self._file.write("[")
        self._count = 0

    @classmethod
    def takes(cls, task: Task) -> bool:
        return task.kind in _TAGS

    def add(self, image: LabeledImage) -> None:
        found = {
            "boxes": self._objects, "map": self._regions, "classes": self._choice,
        }[self.task.kind](image)  # fmt: skip
        height, width = image.size
        frame = {
            "to_name": "image", "original_width": width, "original_height": height,
            "image_rotation": 0,
        }  # fmt: skip
        results = [{"id": f"{number}", **one, **frame} for number, one in enumerate(found, 1)]
        certainty = {} if image.certainty is None else {"score": round(image.certainty, 4)}
        content = {
            "data": {
                "image": f"{_LOCAL}images/{urllib.parse.quote(image.name)}",
                "file": image.name,
            },
            "predictions": [{"model_version": self.origin, **certainty, "result": results}],
        }
        self._file.write((",\n" if self._count else "\n") + json.dumps(content))
        self._count += 1

    def _objects(self, image: LabeledImage) -> Iterator[dict[str, Any]]:
        label = image.label
        for place in certain_objects(image, self.notes):
            class_name = self.task.labels.classes[int(label["classes"][place])]
            scores = label.get("scores")
            score = {} if scores is None else {"score": round(float(scores[place]), 4)}
            ymin, xmin, ymax, xmax = np.asarray(label["boxes"][place], np.float64).tolist()
            ring = outline(label["masks"][place]) if label["has_mask"][place] else None
            if ring is None:
                sides = {"width": 100 * (xmax - xmin), "height": 100 * (ymax - ymin)}
                value = {"x": 100 * xmin, "y": 100 * ymin, **sides, "rotation": 0}
                yield _result("rectanglelabels", value, class_name) | score
            else:
                points = 100 * ((xmin, ymin) + ring * (xmax - xmin, ymax - ymin))
                value = {"points": points.round(4).tolist(), "closed": True}
                yield _result("polygonlabels", value, class_name) | score

    def _regions(self, image: LabeledImage) -> Iterator[dict[str, Any]]:
        classes = maps.nearest(np.asarray(image.label["map"]), image.size)
        for index, class_name in enumerate(self.task.labels.classes):
            where = classes == index
            if where.any():
                value = {"format": "rle", "rle": encode_brush(where)}
                yield _result("brushlabels", value, class_name)

    def _choice(self, image: LabeledImage) -> Iterator[dict[str, Any]]:
        probabilities = np.asarray(image.label["probabilities"])
        index = int(probabilities.argmax())
        score = {"score": round(float(probabilities[index]), 4)}
        yield _result("choices", {}, self.task.labels.classes[index]) | score

    def close(self) -> None:
        self._file.write("\n]\n")
        self._file.close()
        config = "\n".join(self._config())
        (self.folder / CONFIG).write_text(f"{config}\n", encoding="utf-8")
        super().close()

    def _config(self) -> Iterator[str]:
        yield "<View>"
        yield '  <Image name="image" value="$image" zoom="true"/>'
        for tag in _TAGS[self.task.kind]:
            inner = "Choice" if tag == "Choices" else "Label"
            yield f'  <{tag} name="{tag.lower()}" toName="image">'
            for class_name in self.task.labels.classes:
                yield f"    <{inner} value={quoteattr(class_name)}/>"
            yield f"  </{tag}>"
        yield "</View>"


def _result(kind: str, value: dict[str, Any], class_name: str) -> dict[str, Any]:
    return {"type": kind, "from_name": kind, "value": {**value, kind: [class_name]}}
