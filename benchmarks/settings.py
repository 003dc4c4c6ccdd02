"""The networks and ready batches that several benchmarks measure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np


def four_tasks(size: int, *, num_proposals: int = 500) -> tuple[Any, ...]:
    """The four heads of synthetic scenes, all of published width.

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


def mask_rcnn(num_regions: int = 128) -> Any:
    """The detection task of the benchmarks beside other Mask R-CNNs: 80 classes.

    Args:
        num_regions: regions of an image with a loss, a quarter of them with a mask; there are
            twice as many proposals, at least 500, from twice as many candidates of every level.
    """
    from must_keras.tasks import Detection

    num_proposals = max(500, 2 * num_regions)
    return Detection(
        name="objects",
        classes=tuple(f"class {k}" for k in range(80)),
        max_boxes=50,
        anchor_scales=(8.0,),
        num_candidates=2 * num_proposals,
        num_proposals=num_proposals,
        num_regions=num_regions,
        num_mask_regions=num_regions // 4,
    )


def student_tasks(num_regions: int = 128) -> tuple[Any, ...]:
    """That detector's head, with three more of published width: 1000 classes, a map, depth."""
    from must_keras.tasks import Classification, Depth, Segmentation

    return (
        Classification(name="kind", classes=tuple(f"class {k}" for k in range(1000))),
        mask_rcnn(num_regions),
        Segmentation(name="map", classes=tuple(f"class {k}" for k in range(150))),
        Depth(name="depth"),
    )


def noise_batch(
    tasks: Sequence[Any], *, size: int, batch: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Noise with a label of every task on each image, as arrays: TensorFlow is not needed.

    Returns:
        inputs and labels, as MultiTaskModel and training/jax_step.py take them.
    """
    random = np.random.default_rng(0)
    area = np.float32([[0.0, 0.0, size, size]])
    image = random.uniform(0.0, 255.0, (batch, size, size, 3)).astype(np.float32)
    labels = {task.name: _noise_label(task, size, batch, random) for task in tasks}
    keys = np.arange(batch, dtype=np.int32)
    return {"image": image, "area": np.repeat(area, batch, axis=0)}, {
        "labels": labels,
        "keys": keys,
    }


def _noise_label(task: Any, size: int, batch: int, random: np.random.Generator) -> dict[str, Any]:
    from must_keras.ops.letterboxing import letterbox
    from must_keras.tasks import Classification, Depth, Detection, Segmentation

    shape = (batch, size, size)
    match task:
        case Classification():
            places = random.integers(0, len(task.classes), batch)
            probabilities = np.eye(len(task.classes), dtype=np.float32)[places]
            return {"probabilities": probabilities, "labelled": np.ones(batch, np.float32)}
        case Segmentation():
            return {"map": random.integers(0, len(task.classes), shape).astype(np.uint8)}
        case Depth():
            return {"depth": random.uniform(1.0, 10.0, shape).astype(np.float32)}
        case Detection():
            source = Rectangles(task, size=size, count=batch)
            view = letterbox((size, size), (size, size))
            seen = [task.labels.warp(source.load(i)[1][task.name], view) for i in range(batch)]
            return {key: np.stack([np.asarray(one[key]) for one in seen]) for key in seen[0]}
    raise TypeError(f"no label is made for a {type(task).__name__}")


def scenes_source(size: int, count: int) -> Any:
    """Synthetic scenes with all labels."""
    from experiments import scenes

    return scenes.recipe(size=size, pool_images=count, images=count).pools[0].truth


def ready_batch(tasks: Any, training: Any, *, size: int) -> tuple[Any, Any]:
    """The first batch of a training run on synthetic scenes, as tensors."""
    from must_keras.data.examples import LabeledExamples
    from must_keras.training.input_pipeline import InputPipeline

    source = scenes_source(size, training.batch)
    return InputPipeline(
        LabeledExamples(source, tasks), tasks, training, size=size, seed=0
    ).batch_of(0)


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
        label = self._task.labels.missing() | {
            "boxes": boxes.astype(np.float32),
            "classes": random.integers(0, len(self._task.classes), self._objects).astype(np.int32),
            "masks": np.ones((self._objects, 28, 28), np.uint8),
            "has_mask": np.ones(self._objects, bool),
            "ignore": np.zeros(self._objects, bool),
            "labelled": np.ones((), np.float32),
        }
        image = random.integers(0, 256, (self._size, self._size, 3), dtype=np.uint8)
        return image, {self._task.name: label}


def student_on(setting: str, *, steps: int) -> tuple[Any, Any, Any]:
    """A student of drawn scenes that can be trained.

    Args:
        setting: "small", the recipe's own at 64 pixels, or "large": a ResNet-50-FPN at 256 pixels
            with heads of published width, batch 4.
        steps: what its training is made for.

    Returns:
        model, training and feed.
    """
    from experiments import scenes
    from must_keras.data.examples import LabeledExamples
    from must_keras.modeling.backbone import ResNet
    from must_keras.training.building import build_model
    from must_keras.training.input_pipeline import InputPipeline
    from must_keras.training.network import Network

    size = {"small": 64, "large": 256}[setting]
    recipe = scenes.recipe(size=size)
    tasks, network = recipe.tasks, recipe.network
    training = dataclasses.replace(recipe.student.training, steps=steps)
    if setting == "large":
        tasks, network = four_tasks(size), Network(backbone=ResNet.of_depth(50), size=size)
        training = dataclasses.replace(training, batch=4)
    model = build_model(network, tasks, seed=0, **training.of_model())
    training.compile(model)
    source = scenes_source(size, 8 * training.batch)
    return (
        model,
        training,
        InputPipeline(LabeledExamples(source, tasks), tasks, training, size=size, seed=0),
    )
