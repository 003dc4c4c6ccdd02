"""A recipe that only labels: two quick teachers over many small pictures. Not a test."""

import pathlib
import time

import numpy as np
from PIL import Image

from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student
from must_keras.data.sources import ImagesOnly
from must_keras.inference.external import ExternalModel
from must_keras.modeling.backbone import ResNet
from must_keras.tasks import Classification, Segmentation
from must_keras.training.config import TrainingConfig
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW


def light(images):
    """How light the upper left corner is: padding is elsewhere."""
    share = np.asarray(images)[:, :8, :8].mean((1, 2, 3)) / 255.0
    return np.stack([1.0 - share, share], axis=1).astype("float32")


def lights(images):
    """How light each pixel is."""
    share = np.asarray(images).mean(-1) / 255.0
    return np.stack([1.0 - share, share], axis=-1).astype("float32")


def foreign(name, function, size, task) -> ExternalTeacher:
    model = ExternalModel(model=function, version="1", size=size, form="probabilities")
    return ExternalTeacher(name=name, task=task, model=model, loss_weight=1.0)


def paint(folder: pathlib.Path, count: int) -> None:
    """Pictures of noise; every 700th is none."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        path = folder / f"{i:05}.png"
        pixels = rng.integers(0, 256, (20 + i % 3, 30, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(path, compress_level=0)
        if i % 700 == 350:
            path.write_bytes(b"no picture")


def recipe(*, data: str, seconds: float = 0.0, data_dir: str | None = None) -> Recipe:
    """Labels of the pictures in a folder.

    Args:
        data: the folder.
        seconds: that the first teacher waits at every batch.
        data_dir: unused.
    """
    del data_dir

    def slowly(images):
        time.sleep(seconds)
        return light(images)

    kinds = Classification(name="kind", classes=("dark", "light"))
    parts = Segmentation(name="parts", classes=("dark", "light"))
    training = TrainingConfig(steps=2, batch=2, learning_rate=1e-3, optimizer=AdamW())
    return Recipe(
        name="labels",
        seed=0,
        network=Network(backbone=ResNet.small(), size=64, channels=16),
        teachers=(foreign("light", slowly, 16, kinds), foreign("lights", lights, 32, parts)),
        pools=(Pool(source=ImagesOnly(name="pool", root=data)),),
        student=Student(training=training),
        transfers=(),
        starts=("random",),
        evaluation_batch=8,
    )
