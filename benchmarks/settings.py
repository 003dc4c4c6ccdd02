"""The networks and ready batches that several benchmarks measure."""

from __future__ import annotations

import dataclasses
from typing import Any


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
