"""The default recipe with a fifth teacher, of surface normals: the student of the README's picture.

    must-keras run docs/pictures/five_heads.py --stage=student --reuse=runs/scenes

A complete default run in runs/scenes makes this cheap: four teachers and their labels are reused.
"""

import dataclasses

import must_keras as mk
from must_keras import experiment
from must_keras.data.sources import ScenesSource
from must_keras.synthetic import SceneConfig


def recipe(*, steps: int = 400, images: int = 1200) -> mk.Recipe:
    """Return the scenes recipe with a teacher of normals, trained on rooms of its own.

    Args:
        steps: optimizer steps of the teacher of normals.
        images: number of its training images.
    """
    scenes = experiment.load("scenes", {}, data_dir=None)
    rooms = SceneConfig(
        family="rooms", size=64, first=10_000, train=images, validation=100, test=200
    )
    train, validation, test = (
        ScenesSource(name=name, config=rooms, split=split, heads={"normals": "facing"})
        for name, split in (
            ("facing", "train"),
            ("facing_validation", "validation"),
            ("facing_test", "test"),
        )
    )
    normals = mk.Teacher(
        task=mk.Normals(name="facing", loss_stride=2, channels=32, num_convs=2),
        sets=mk.Splits(train=train, validation=validation, test=test),
        training=dataclasses.replace(scenes.teacher("surfaces").training, steps=steps),
    )
    return dataclasses.replace(scenes, name="five_heads", teachers=(*scenes.teachers, normals))
