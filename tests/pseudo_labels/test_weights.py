"""Scores as weights, from the teacher's argument to the labels and the inputs of the student."""

import dataclasses
import types

import numpy as np
import pytest

from fakes.random_examples import NETWORK, PARTS, THINGS
from making import make
from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student, Teacher
from must_keras.data.sources import ImagesOnly, LabelSpace
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel
from must_keras.inference.visualization import save
from must_keras.modeling.loading import load_model
from must_keras.pseudo_labels import training_set
from must_keras.runs.run import Run
from must_keras.stages import student as student_stage
from must_keras.tasks import Classification, Depth, Normals
from must_keras.tasks.thresholds import check_threshold
from must_keras.training.config import TrainingConfig
from must_keras.training.input_pipeline import InputPipeline
from must_keras.training.optimizers import AdamW

TRAINING = TrainingConfig(steps=2, batch=2, learning_rate=1e-3, optimizer=AdamW())
BOXES = dataclasses.replace(THINGS, with_masks=False)
VALUES = (200, 150)
LEFT = np.float32([0, 0, 64, 32])


class Pile(ImagesOnly):
    """Gray images, of which the last one has ground truth."""

    def __init__(self, **options):
        super().__init__(**options)
        self.label_spaces = {"parts": LabelSpace.of(PARTS)}

    def labels(self, index):
        last = index == len(self) - 1
        return {"parts": {"map": np.ones((64, 64), np.uint8)}} if last else {}


def shares(images):
    """Class 1, with a confidence of 0.8 and 0.6."""
    share = np.asarray(images).mean(-1) / 250
    return np.stack([1 - share, share, 0 * share], -1).astype("float32")


def boxes(images):
    """An object, and one that is half as certain."""
    sure = np.asarray(images).mean((1, 2, 3)) / 250
    return {
        "boxes": np.tile(LEFT, (len(sure), 2, 1)),
        "scores": np.stack([sure, sure / 2], 1).astype("float32"),
        "classes": np.zeros((len(sure), 2), "int32"),
    }


def teacher(task, function, form, **changes) -> ExternalTeacher:
    model = ExternalModel(model=function, version="1", size=64, form=form)
    values = {"name": task.name, "task": task, "model": model, "loss_weight": 1.0}
    return ExternalTeacher(**(values | {"threshold": 0.5} | changes))


def recipe_of(folder, **changes) -> Recipe:
    return Recipe(
        name="weights",
        seed=0,
        network=NETWORK,
        teachers=(
            teacher(PARTS, shares, "probabilities", **changes),
            teacher(BOXES, boxes, "yxyx", ignore_from=0.3, **changes),
        ),
        pools=(Pool(source=Pile(name="pile", root=folder)),),
        student=Student(training=TRAINING),
        transfers=(),
        starts=("random",),
        evaluation_batch=2,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for i, value in enumerate((*VALUES, 90)):
        save(folder / "pile" / f"{i}.png", np.full((64, 64, 3), value, np.uint8))
    run = Run(recipe=recipe_of(folder / "pile"), path=folder / "run")
    make("teacher", run)
    make("label", run)
    return folder


def runs(folder) -> tuple[Run, Run]:
    """Return the run without weights, and the same run with them."""
    recipes = (recipe_of(folder / "pile", weight_by_score=on) for on in (False, True))
    return tuple(Run(recipe=recipe, path=folder / "run") for recipe in recipes)


def test_scores_come_with_the_students_labels(folder):
    plain, weighted = (training_set.of_student(run) for run in runs(folder))
    assert [task.weighted for task in plain.tasks + weighted.tasks] == [False] * 2 + [True] * 2
    for index, confidence in enumerate((0.8, 0.6)):
        _, labels = weighted.load(index)
        byte = np.float32(confidence * 255)
        np.testing.assert_allclose(labels["parts"]["weight"], byte, atol=1)
        expected = [confidence, confidence / 2]
        np.testing.assert_allclose(labels["things"]["weight"], expected, atol=0.01)
        assert labels["things"]["ignore"].tolist() == [False, True]
        # The rest is what it is without weights.
        _, without = plain.load(index)
        for head, label in without.items():
            assert label.keys() == labels[head].keys() - {"weight"}
            for key, value in label.items():
                np.testing.assert_array_equal(value, labels[head][key])


def test_batches_have_weights_where_they_are_asked_for(folder):
    for run, names in zip(runs(folder), (set(), {"weight"}), strict=True):
        images = training_set.of_student(run)
        _, y = InputPipeline(images, images.tasks, TRAINING, size=64, seed=0).batch_of(0)
        for task in run.recipe.tasks:
            assert y["labels"][task.name].keys() == {*task.labels.spec((64, 64)), *names}


def test_ground_truth_of_a_weighted_head_is_certain(folder):
    images = training_set.of_student(runs(folder)[1])
    assert images.parts[0].origins(2) == {"parts": "true", "things": "pseudo"}
    (task, _), (stored, _) = images.tasks, images.load(2)[1].values()
    assert stored.keys() == {"map"} and (task.labels.compact(stored)["weight"] == 255).all()


def test_only_the_students_inputs_depend_on_it(folder):
    plain, weighted = runs(folder)
    inputs = student_stage.artifact(plain).inputs
    assert "weight_by_score" not in inputs
    expected = inputs | {"weight_by_score": {"parts": True, "things": True}}
    assert student_stage.artifact(weighted).inputs == expected
    for artifact in student_stage.artifact(weighted).needs:
        assert artifact.is_complete()


@pytest.mark.slow
def test_a_trained_student_has_the_heads_of_the_teachers_tasks(folder):
    """A round, or another recipe, can start from them."""
    _, run = runs(folder)
    make("student", run)
    assert run.student.is_complete()
    assert tuple(load_model(run.student.model_path, remedy="").tasks.values()) == run.recipe.tasks


@pytest.mark.parametrize(
    ("task", "why"),
    [
        (Classification(name="kind", classes=("a", "b")), "'classes' are whole distributions"),
        (Depth(name="far"), "'metric' have no scores"),
        (Normals(name="facing"), "'normals' have no scores"),
    ],
)
def test_labels_that_have_no_weights(task, why):
    form = task.external.forms[0]
    with pytest.raises(UserError, match=f"weight_by_score=True: labels of kind {why}") as found:
        teacher(task, shares, form, threshold=None, weight_by_score=True)
    assert found.value.key == "weight_by_score"


def test_labels_without_scores_and_odd_values_are_refused():
    certain = types.SimpleNamespace(
        name="hard", task=BOXES, threshold=0.5, has_scores=False, ignore_from=None,
        weight_by_score=True,
    )  # fmt: skip
    with pytest.raises(UserError, match="'hard': weight_by_score=True: its labels have no scores"):
        check_threshold(certain)
    with pytest.raises(UserError, match="weight_by_score is a float, expected a bool"):
        teacher(BOXES, boxes, "yxyx", weight_by_score=0.5)
    assert not any(f.default for f in dataclasses.fields(Teacher) if f.name == "weight_by_score")
