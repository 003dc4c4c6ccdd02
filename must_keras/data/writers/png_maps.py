"""Values for every pixel as PNG."""

import pathlib

import numpy as np
import tensorflow as tf

from must_keras.data.writers.writer import LabeledImage, StemPaths, Writer
from must_keras.ops.letterboxing import letterbox
from must_keras.tasks.base import Task


class PngMaps(Writer):
    """maps/<name>.png in the size of each image, and classes.txt where there are classes.

    Classes in 8 bits, 255 where there is none; depth in 16 bits, millimeters up to 65.5 m with 0
    for unknown, or relative depth from 0 (its farthest) to 65535; normals as colors.

    Example:
        writer = PngMaps(folder, Depth(name="far"), origin="depth")
    """

    name = "maps"
    contents = "maps of classes, depth and normals"

    def __init__(self, folder: pathlib.Path, task: Task, *, origin: str):
        super().__init__(folder, task, origin=origin)
        self._paths = StemPaths(folder / "maps", ".png")

    @classmethod
    def takes(cls, task: Task) -> bool:
        return bool(task.predictions.per_pixel)

    def add(self, image: LabeledImage) -> None:
        stored = {key: tf.constant(value) for key, value in image.label.items()}
        label = self.task.labels.warp(stored, letterbox(tf.constant(image.size), image.size))
        png = self.task.predictions.map_png({key: np.asarray(v) for key, v in label.items()})
        self._paths.take(image.name).write_bytes(png)

    def close(self) -> None:
        classes = self.task.labels.classes
        if classes:
            text = "".join(f"{name}\n" for name in classes)
            (self.folder / "classes.txt").write_text(text, encoding="utf-8")
        super().close()
