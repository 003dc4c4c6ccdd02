"""The networks and ready batches that several benchmarks measure."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np


def four_tasks(size: int, *, num_proposals: int = 500) -> tuple[Any, ...]:
    """The four heads of drawn scenes, all of published width.

    Args:
        size: pixels of the images.
        num_proposals: regions of an image after the first stage.

    Returns:
        classification, detection with masks (128 regions with a loss, 32 of them with a mask),
        segmentation and depth.
    """
    from experiments import scenes
    from must_keras.tasks import Depth, Detection, Segmentation

    tasks: list[Any] = []
    for task in scenes.recipe(size=size).tasks:
        if isinstance(task, Detection):
            task = Detection(
                name=task.name,
                classes=task.classes,
                max_boxes=50,
                num_candidates=1000,
                num_proposals=num_proposals,
                num_regions=128,
                num_mask_regions=32,
            )
        elif isinstance(task, Segmentation | Depth):
            task = dataclasses.replace(task, channels=256, num_convs=3)
        tasks.append(task)
    return tuple(tasks)


def scenes_source(size: int, count: int) -> Any:
    """Drawn scenes with all labels."""
    from experiments import scenes

    return scenes.recipe(size=size, pool_images=count, images=count).pools[0].truth


def ready_batch(tasks: Any, training: Any, *, size: int) -> tuple[Any, Any]:
    """The first batch of a training run on drawn scenes, as tensors."""
    from must_keras.data.labelled import Labelled
    from must_keras.training.feed import Feed

    source = scenes_source(size, training.batch)
    return Feed(Labelled(source, tasks), tasks, training, size=size, seed=0).batch_of(0)


class Rectangles:
    """Noise, with boxes that are filled by their masks on each image.

    Args:
        task: the detection task.
        size: pixels a side.
        count: how many images.
        objects: boxes of an image.
    """

    def __init__(self, task: Any, *, size: int, count: int, objects: int = 6):
        self._task, self._size, self._count, self._objects = task, size, count, objects

    def __len__(self) -> int:
        return self._count

    def image_id(self, index: int) -> str:
        return str(index)

    def load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        random = np.random.default_rng(index)
        corners = random.uniform(0.0, 0.6, (self._objects, 2))
        sides = random.uniform(0.1, 0.4, (self._objects, 2))
        boxes = np.concatenate([corners, np.minimum(corners + sides, 1.0)], axis=1)
        label = self._task.missing() | {
            "boxes": boxes.astype(np.float32),
            "classes": random.integers(0, len(self._task.classes), self._objects).astype(np.int32),
            "masks": np.ones((self._objects, 28, 28), np.uint8),
            "has_mask": np.ones(self._objects, bool),
            "ignore": np.zeros(self._objects, bool),
            "labelled": np.ones((), np.float32),
        }
        image = random.integers(0, 256, (self._size, self._size, 3), dtype=np.uint8)
        return image, {self._task.name: label}
