"""A run with complete pseudo-label datasets alone, made by hand: five teachers, six photos.

Boxes lie at LEFT or RIGHT. On the map the left half is a car and the right half sky; depth is 2 m,
but 1 m at LEFT. The sixth photo cannot be read.
"""

import pathlib

import numpy as np
from PIL import Image

from fakes.results import finish
from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student
from must_keras.data.sources import ImagesOnly
from must_keras.inference.external import ExternalModel
from must_keras.modeling.backbone import ResNet
from must_keras.pseudo_labels.store import PseudoLabelWriter
from must_keras.runs.run import Run
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.training.config import TrainingConfig
from must_keras.training.network import Network
from must_keras.training.optimizers import AdamW

LEFT, RIGHT = (0.25, 0.1, 0.75, 0.4), (0.25, 0.6, 0.75, 0.9)
CAR, BENCH = 0, 1
FOUND = [
    [(0.9, CAR, LEFT), (0.6, CAR, RIGHT)],
    [(0.8, BENCH, RIGHT)],
    [(0.3, CAR, RIGHT)],
    [],
    [(0.9, CAR, LEFT), (0.55, CAR, LEFT)],
]
UNREADABLE = 5
THINGS = Detection(name="things", classes=("car", "bench"))
TASKS = (
    (Classification(name="kind", classes=("a", "b")), "probabilities"),
    (THINGS, "yxyx"),
    (Segmentation(name="parts", classes=("sky", "Car")), "probabilities"),
    (Depth(name="far"), "meters"),
    (Normals(name="facing"), "normals"),
)
SIZE = (20, 30)
AREA = np.array([0, 0, *SIZE], np.float32)


def outputs(index: int) -> dict[str, dict[str, np.ndarray]]:
    """{head: the decoded prediction of its model on a photo}."""
    number = len(FOUND[index])
    inside = np.zeros(SIZE, bool)
    inside[5:15, 3:12] = True
    halves = np.where(np.arange(SIZE[1]) < SIZE[1] / 2, 0.9, 0.7).astype(np.float32)
    return {
        "kind": {"probabilities": np.array([0.5 + 0.1 * index, 0.5 - 0.1 * index], np.float32)},
        "things": {
            "boxes": np.array([b for _, _, b in FOUND[index]] or np.zeros((0, 4))) * [*SIZE, *SIZE],
            "scores": np.array([score for score, _, _ in FOUND[index]], np.float32),
            "classes": np.array([k for _, k, _ in FOUND[index]], np.int32),
            "masks": np.ones((number, 4, 4), np.float32),
        },
        "parts": {
            "map": np.broadcast_to((halves > 0.8).astype(np.uint8), SIZE),
            "confidence": np.full(SIZE, 0.2) if index == 3 else np.broadcast_to(halves, SIZE),
        },
        "far": {"depth": np.where(inside, 1.0, 2.0)},
        "facing": {"normals": np.broadcast_to(np.float32([0, 0, -1]), (*SIZE, 3))},
    }


def make(
    folder: pathlib.Path, *, things: float | tuple[float, ...] = 0.5, heads: tuple[str, ...] = ()
) -> Run:
    """Return the run.

    Args:
        folder: photos and run are below it.
        things: the threshold of the boxes.
        heads: those with a complete pseudo-label dataset; none: all.
    """
    random = np.random.default_rng(0)
    (folder / "pool").mkdir()
    for i in range(UNREADABLE):
        pixels = random.integers(90, 160, (40, 60, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "pool" / f"{i}.png")
    (folder / "pool" / f"{UNREADABLE}.png").write_bytes(b"no picture")
    source = ImagesOnly(name="pool", root=folder / "pool")
    teachers = [
        ExternalTeacher(
            name=f"teacher_{task.name}",
            task=task,
            model=ExternalModel(model=abs, version="1", size=32, form=form),
            loss_weight=1.0,
            threshold={"things": things, "parts": 0.5}.get(task.name),
        )
        for task, form in TASKS
    ]
    training = TrainingConfig(steps=1, batch=1, learning_rate=1e-3, optimizer=AdamW())
    recipe = Recipe(
        name="made by hand",
        seed=0,
        network=Network(backbone=ResNet.small(), size=64, channels=16),
        teachers=tuple(teachers),
        pools=(Pool(source=source),),
        student=Student(training=training),
        transfers=(),
        starts=("random",),
    )
    run = Run(recipe=recipe, path=folder / "run")
    for teacher in teachers:
        if not heads or teacher.task.name in heads:
            _label(run, teacher, source)
    return run


def _label(run: Run, teacher: ExternalTeacher, source: ImagesOnly) -> None:
    artifact, task = run.labels(teacher.name, source.name), teacher.task
    artifact = artifact.declare(find_inputs=dict)
    writer = PseudoLabelWriter(artifact.folder, task, len(source), teacher_sha256="", recipe={})
    writer.write_shard(
        0,
        [
            (
                source.image_id(i),
                None
                if i == UNREADABLE
                else task.records.from_prediction(outputs(i)[task.name], AREA, SIZE),
            )
            for i in range(len(source))
        ],
    )
    writer.finish()
    finish(artifact, images=len(source), labelled=UNREADABLE)
