"""Trainings whose length is given in epochs: their steps follow the images that there are."""

import dataclasses
import json

import pytest

from fakes.random_examples import training
from fakes.tiny_run import draw, make, recipe_with
from must_keras import interruption
from must_keras.config.recipe import Student
from must_keras.runs.fingerprint import describe
from must_keras.runs.run import Run
from must_keras.stages import student, teacher
from must_keras.training import loop
from must_keras.training.initialization import FromModel
from must_keras.training.loggers import read_metrics

EPOCHS = training(None, batch=4, learning_rate=0.01, log_every=1, epochs=2, save_seconds=0.0)
# Trees and houses have 6 training images, the pile has 6, one of them in a test split.
STEPS = {
    "teachers/trees": 3,
    "student": 6,
    "transfers/houses/random/full-fpn-1/seed0": 1,
    "transfers/houses/random/full-fpn-all/seed0": 3,
    "transfers/houses/student/full-fpn-1/seed0": 1,
    "transfers/houses/student/full-fpn-all/seed0": 3,
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    data = tmp_path_factory.mktemp("epochs")
    draw(data)
    plain = recipe_with(data, shots=(1, None))
    (trees,), (houses,) = plain.teachers, plain.transfers
    return dataclasses.replace(
        plain,
        teachers=(dataclasses.replace(trees, training=EPOCHS),),
        student=Student(training=EPOCHS),
        transfers=(dataclasses.replace(houses, training=EPOCHS),),
    )


def test_artifacts_depend_on_the_epochs_and_on_the_images(recipe, tmp_path):
    run = Run(recipe=recipe, path=tmp_path)
    (trees,) = recipe.teachers
    found = teacher.artifact(run, trees).inputs["training"]
    assert found["epochs"] == 2 and "steps" not in found
    assert trees.resumes and not trees.training.keeps_weights
    later = trees.replaced_by(FromModel("model.keras"), None)
    assert later.training.keeps_weights and later.training.epochs is None


def test_a_teacher_is_trained_for_the_steps_of_its_set(recipe, tmp_path, monkeypatch, capsys):
    class StoppedError(Exception):
        pass

    def fit(artifact, model, feed, training, *, title, origin, best):
        assert training.steps == 3 and training.epochs is None
        assert int(model.optimizer._learning_rate.num_steps.numpy()) == 3
        raise StoppedError

    monkeypatch.setattr(teacher, "fit", fit)
    with pytest.raises(StoppedError):
        make("teacher", recipe, tmp_path / "run")
    assert "teacher trees: 2 epochs of 6 images are 3 steps of 4\n" in capsys.readouterr().out


@pytest.mark.slow
def test_a_run_resumes_and_records_its_steps(recipe, tmp_path, monkeypatch, capsys):
    run = Run(recipe=recipe, path=tmp_path / "run")
    for stage in ("teacher", "label"):
        make(stage, recipe, run.path)
    sums, asked = loop.sum_over_workers, iter(range(1, 9))
    monkeypatch.setattr(loop, "sum_over_workers", lambda v: [1.0] if next(asked) == 2 else sums(v))
    with pytest.raises(interruption.Interrupted, match="at step 2 of 6"):
        make("student", recipe, run.path)
    monkeypatch.undo()
    for stage in ("student", "transfer", "report"):
        make(stage, recipe, run.path)
    assert "starts from its own checkpoint at step 2 of 6" in capsys.readouterr().out
    assert json.loads((run.path / "run.json").read_text())["steps"] == STEPS
    assert run.student.result().images_seen == 24 and run.student.result().steps == 6
    for folder, steps in STEPS.items():
        rows = read_metrics(run.path / folder, split="train")
        assert [row.step for row in rows] == list(range(1, steps + 1))
    whole = Run(recipe=recipe, path=tmp_path / "whole", others=(run.path,))
    assert teacher.artifact(whole, recipe.teachers[0]).is_complete()
    in_steps = dataclasses.replace(EPOCHS, epochs=None, steps=6)
    same = dataclasses.replace(recipe, student=Student(training=in_steps))
    found = student.artifact(dataclasses.replace(run, recipe=same)).inputs["student"]["training"]
    assert found["steps"] == 6 and describe(EPOCHS)["epochs"] == 2
