"""The predictions of all heads for one image: typed, as a picture, as JSON and in COCO's format."""

import json
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from must_keras.errors import not_allowed
from must_keras.inference import visualization
from must_keras.inference.results import Results
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Arrays

_PICTURES = (".png", ".jpg", ".jpeg", ".webp")


class Result(Mapping[str, Any]):
    """The predictions of all heads for one image: {head: its typed prediction}.

    A head's prediction is one of the classes of tasks/typed.py: `ClassProbabilities`, `Objects`,
    `ClassMap`, `DepthMap` or `NormalMap`. Positions are in pixels of the image, maps have its size.
    A notebook shows a result as `plot` does.

    Args:
        image: [H, W, 3] uint8, RGB.
        tasks: of the heads.
        outputs: {head: prediction} in the image's pixels; see `Predictions.decode` of each task.
        name: of the image.
        path: of the image's file; None of an image that was given as an array.

    Attributes:
        image: as above.
        tasks: as above.
        outputs: as above.
        name: as above.
        path: as above.

    Example:
        result = model.predict("photo.jpg")
        result["objects"].boxes, result["objects"].class_names
        result.save("photo_predicted.png")
    """

    def __init__(
        self,
        *,
        image: np.ndarray,
        tasks: Sequence[Task],
        outputs: Mapping[str, Arrays],
        name: str = "image",
        path: pathlib.Path | None = None,
    ):
        self.image, self.tasks, self.outputs = image, tuple(tasks), dict(outputs)
        self.name, self.path = name, path
        self._typed: dict[str, Any] = {}

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image in pixels."""
        return self.image.shape[:2]

    # ---- a mapping of heads ---------------------------------------------------------------------

    def __getitem__(self, head: str) -> Any:
        task = self._task(head)
        if head not in self._typed:
            self._typed[head] = task.predictions.typed(self.outputs[head], self.size)
        return self._typed[head]

    def __iter__(self) -> Iterator[str]:
        return (task.name for task in self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __repr__(self) -> str:
        height, width = self.size
        return f"Result({self.name!r}, {width}x{height} pixels, heads: {', '.join(self)})"

    # ---- pictures -------------------------------------------------------------------------------

    def plot(self, *heads: str) -> Image.Image:
        """Return a picture: the image, and beside it a visualization of each head.

        Args:
            heads: those to show; none: all of them.

        Raises:
            KeyError: there is no such head.

        Example:
            result.plot("objects").show()
        """
        shown = [self._task(head) for head in heads] or self.tasks
        return visualization.of_heads(self.image, self.name, shown, self.outputs)

    def _repr_png_(self) -> bytes:
        return visualization.png(np.asarray(self.plot()))

    # ---- files and plain data -------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """Return plain data: name, height, width, and of each head what people read, in words.

        Maps appear as their summary: the share of each class, the nearest and farthest depth.

        Example:
            result.to_json()["objects"]["objects"][0]["class"]  # "cat"
        """
        height, width = self.size
        line: dict[str, Any] = {"name": self.name, "height": height, "width": width}
        return line | {t.name: t.predictions.to_json(self.outputs[t.name]) for t in self.tasks}

    def to_coco(self) -> dict[str, Any]:
        """Return the objects of all heads that have objects as one data set in COCO's format.

        {"images": [the image, id 1], "categories", "annotations"}, as pycocotools reads it. A
        category's "supercategory" is its head; ids of categories count on from head to head.
        Annotations have a "score" too, and masks as run-length codes.

        Example:
            result.to_coco()["annotations"][0]["bbox"]  # [xmin, ymin, width, height]
        """
        height, width = self.size
        categories, annotations = [], []
        for task in self.tasks:
            if not task.predictions.has_objects:
                continue
            before = len(categories)
            for name in task.labels.classes:
                category = {"id": len(categories) + 1, "name": name, "supercategory": task.name}
                categories.append(category)
            for found in task.predictions.coco(self.outputs[task.name], self.size):
                numbers = {"id": len(annotations) + 1, "image_id": 1}
                category_id = before + found["category_id"]
                annotations.append(numbers | found | {"category_id": category_id})
        image = {"id": 1, "file_name": self.name, "height": height, "width": width}
        return {"images": [image], "categories": categories, "annotations": annotations}

    def save(self, path: str | pathlib.Path) -> None:
        """Write the result; the suffix of the path determines its form. A file is replaced.

        .png, .jpg, .webp: the picture of `plot`. .json: the data of `to_json`. No suffix: a new
        folder with the files of `must_keras.predict`: pictures, maps as PNG, JSON lines, COCO.

        Raises:
            UserError: the suffix is another one, or the folder is not empty.

        Example:
            result.save("photo.png"), result.save("photo.json"), result.save("predicted")
        """
        path = pathlib.Path(path)
        suffix = path.suffix.lower()
        if not suffix:
            results = Results(path, self.tasks)
            results.add(self.name, self.path or self.name, self.image, self.outputs)
            results.close()
        elif suffix == ".json":
            path.write_text(json.dumps(self.to_json(), indent=2) + "\n", encoding="utf-8")
        elif suffix in _PICTURES:
            self.plot().save(path)
        else:
            allowed = (*_PICTURES, ".json", "a folder")
            raise not_allowed(f"{path}: unknown suffix", suffix, allowed, path=path, key="path")

    def _task(self, head: str) -> Task:
        for task in self.tasks:
            if task.name == head:
                return task
        raise KeyError(f"there is no head {head!r}; heads are {', '.join(self)}")
