"""What a recipe may leave out: names, classes, network, trainings, student, starts."""

import numpy as np
import pytest
from PIL import Image

from must_keras.config.recipe import Pool, Recipe, Student, Teacher, Transfer
from must_keras.data.sources import FolderPerClass, ImagesOnly, LabelSpace
from must_keras.data.splits import split_by_fraction
from must_keras.errors import UserError
from must_keras.runs.fingerprint import describe
from must_keras.tasks import Classification, Depth, Detection
from must_keras.training.config import TrainingConfig
from must_keras.training.network import Network
from must_keras.training.optimizers import SGD, AdamW


@pytest.fixture
def species(tmp_path):
    for name in ("fern", "rose"):
        (tmp_path / "species" / name).mkdir(parents=True)
        for index in range(10):
            image = Image.fromarray(np.full((8, 8, 3), index, np.uint8))
            image.save(tmp_path / "species" / name / f"{index}.png")
    return FolderPerClass(name="species", root=tmp_path / "species", head="species")


class Spaces:
    """A source as far as its label spaces."""

    name = "some"

    def __init__(self, **spaces):
        self.label_spaces = spaces


def test_the_shortest_recipe(species, tmp_path):
    teacher = Teacher(task=Classification.of(species), sets=split_by_fraction(species))
    recipe = Recipe(
        name="garden",
        teachers=(teacher,),
        pools=(Pool(source=ImagesOnly(name="pile", root=tmp_path / "species" / "rose")),),
    )
    assert teacher.name == "species" and teacher.task.classes == ("fern", "rose")
    assert (recipe.seed, recipe.starts, recipe.transfers) == (0, ("random", "student"), ())
    assert recipe.network == Network() and recipe.student == Student()
    assert recipe.student.training == teacher.training == TrainingConfig()
    assert recipe.loss_weights()["species"].value == 1.0
    transfer = Transfer(task=Classification.of(species), sets=teacher.sets)
    assert transfer.name == "species"


def test_what_is_left_out_is_described_as_what_is_given():
    given = TrainingConfig(steps=1000, batch=16, learning_rate=1e-3, optimizer=AdamW())
    assert describe(TrainingConfig()) == describe(given)
    assert describe(given).keys() == {"steps", "batch", "learning_rate", "optimizer"}
    assert describe(TrainingConfig(optimizer=SGD())) != describe(given)


def test_a_task_is_that_of_the_labels(species):
    assert Classification.of(species) == Classification(name="species", classes=("fern", "rose"))
    smooth = Classification.of(species, label_smoothing=0.1)
    assert smooth.label_smoothing == 0.1
    far = Spaces(far=LabelSpace("relative_inverse"), near=LabelSpace("boxes", ("a", "b")))
    assert Depth.of(far) == Depth(name="far", kind="relative_inverse")
    assert Detection.of(far, max_boxes=7).max_boxes == 7


@pytest.mark.parametrize(
    ("spaces", "fields", "found"),
    [
        ({}, {}, "none"),
        ({"a": LabelSpace("boxes", ("x",))}, {}, "none"),
        ({"a": LabelSpace("classes", ("x",)), "b": LabelSpace("classes", ("x",))}, {}, "a, b"),
        ({"a": LabelSpace("classes", ("x",))}, {"name": "c"}, "a"),
    ],
)
def test_labels_that_do_not_make_a_task(spaces, fields, found):
    with pytest.raises(UserError, match=f"source 'some': expected .* classes .* it has {found}"):
        Classification.of(Spaces(**spaces), **fields)


def test_one_of_several_heads_is_named():
    both = Spaces(a=LabelSpace("classes", ("x",)), b=LabelSpace("classes", ("y",)))
    assert Classification.of(both, name="b").classes == ("y",)


def test_a_teacher_without_a_task_is_told_so(species):
    with pytest.raises(UserError, match="teacher: task is a str, expected a Task"):
        Teacher(task="classes", sets=split_by_fraction(species))
