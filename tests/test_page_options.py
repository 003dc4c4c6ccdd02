"""Short examples of README and site: options of teachers, students and trainings, a new source."""

import dataclasses
import logging

import numpy as np
import pytest

import must_keras as mk
from fakes import tiny_run
from fakes.random_examples import KIND, NETWORK, RandomExamples, training
from fenced_blocks import blocks
from must_keras.data.mixing import CutMix, MixUp
from must_keras.log import LOG
from must_keras.self_supervised import MoCo, SimCLR
from must_keras.tasks.thresholds import DROPPED, AtPrecision
from must_keras.training.building import build_model
from must_keras.training.input_pipeline import InputPipeline


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    tiny_run.draw(folder)
    return folder


@pytest.fixture
def names(data):
    """What the examples name; `...` stands for the values of a small recipe."""
    recipe = tiny_run.recipe_with(data)
    first, transfer = recipe.teachers[0], recipe.transfers[0]
    images = mk.ImagesOnly(name="photos", root=data / "pile")
    fruit = mk.Detection(name="fruit", classes=("a", "b", "c"))

    def teacher(rest, **options):
        assert rest is ...
        # Thresholds are of boxes; a gate needs a set, for which classes do.
        if {"threshold", "ignore_from"} & set(options):
            return mk.ExternalTeacher(
                name="fruit",
                task=fruit,
                model=mk.ExternalModel(model="m", size=64, form="yxyx"),
                loss_weight=1.0,
                sets=first.sets if isinstance(options.get("threshold"), AtPrecision) else None,
                **options,
            )
        return mk.Teacher(name="leaves", task=first.task, sets=first.sets, **options)

    def of(kind, **values):
        return lambda rest=..., **options: kind(**values | options)

    return {
        "Teacher": teacher,
        "Student": of(mk.Student),
        "TrainingConfig": of(mk.TrainingConfig),
        "Transfer": of(mk.Transfer, task=transfer.task, sets=transfer.sets),
        "Recipe": of(
            mk.Recipe, name="mine", teachers=recipe.teachers, pools=(mk.Pool(source=images),),
            transfers=recipe.transfers,
        ),
        "mk": mk,
        "training": mk.TrainingConfig(),
        "student_training": mk.TrainingConfig(),
        "unlabeled": mk.TrainingConfig(),
    } | {kind.__name__: kind for kind in (CutMix, MixUp, SimCLR, MoCo, AtPrecision, mk.FromTeacher)} | {
        "DROPPED": DROPPED
    }  # fmt: skip


@pytest.fixture
def restored():
    level = LOG.level
    yield
    LOG.setLevel(level)
    for handler in [h for h in LOG.handlers if type(h) is logging.FileHandler]:
        LOG.removeHandler(handler)
        handler.close()


@pytest.mark.parametrize("block", blocks("python", "options"), ids=str)
def test_options_are_accepted(block, names, restored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(block.code, names)


def test_the_new_weighting_weights(names, data):
    (block,) = (b for b in blocks("python", "options") if "ByNumberOfImages" in b.code)
    exec(block.code, names)
    (trees,) = tiny_run.recipe_with(data).teachers
    half = mk.Splits.with_test(trees.sets.train, trees.sets.test, validation=3)
    few = dataclasses.replace(trees, task=dataclasses.replace(trees.task, name="few"), sets=half)
    weights = names["ByNumberOfImages"]().weights(mk.TrainingConfig(), [trees, few])
    assert {name: weight.value for name, weight in weights.items()} == {"trees": 1.0, "few": 0.5}


def test_the_new_source_is_one():
    (block,) = blocks("python", "new_source")
    found = {}
    exec(block.code, found)
    source = found["Halves"](10)
    assert len(source) == 10 and source.image(9).shape == (32, 32, 3)
    task = mk.Classification.of(source)
    assert task.classes == ("dark", "bright")
    labels = [source.labels(i)["light"]["probabilities"].argmax() for i in range(10)]
    assert labels == [0] * 5 + [1] * 5


def test_the_new_self_labeled_task_is_trained():
    """Of at most 30 lines; its head receives the hidden half, its label is of the plain view."""
    (block,) = blocks("python", "self_labeled")
    assert sum(bool(line.strip()) for line in block.code.splitlines()) <= 30
    found = {}
    exec(block.code, found)
    head = found["SelfLabeled"](task=found["Inpainting"](name="hidden"), loss_weight=1.0)
    run = training(1)
    pipeline = InputPipeline(
        RandomExamples([KIND]), [KIND], run, size=64, seed=5, self_labeled=[head]
    )
    x, y = pipeline.batch_of(0)
    shown, hidden = np.asarray(x["image_0"]), np.asarray(x["image"])
    assert (shown[:, :, :32] == 0).all() and (shown[:, :, 32:] == hidden[:, :, 32:]).all()
    model = build_model(NETWORK, [KIND], seed=3, self_labeled=[head.task], **run.of_model())
    y = model.targets(x, y)
    colors = hidden[:, :, :32].mean((1, 2)) / 255
    np.testing.assert_allclose(y["labels"]["hidden"]["color"], colors, rtol=1e-4)
    predictions = model.predictions(x, training=False)
    wanted = np.mean(np.square(predictions["hidden"]["logits"] - colors))
    assert float(model.losses_by_task(y, predictions)["hidden"]) == pytest.approx(wanted, rel=1e-4)
