"""Teachers that were not trained here: saved models, other people's models."""

import dataclasses

import keras
import numpy as np
import pytest

from fakes.random_examples import NETWORK
from making import check, make
from must_keras.config.recipe import ExternalTeacher, Pool, Recipe, Student, Teacher
from must_keras.data.sources import ImagesOnly, LabelSpace, Source
from must_keras.data.splits import Splits
from must_keras.errors import UserError
from must_keras.inference.external import ExternalModel
from must_keras.inference.visualization import save
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.runs.results import Scored
from must_keras.runs.run import Run
from must_keras.tasks import Classification, Depth
from must_keras.training.building import build_model
from must_keras.training.config import TrainingConfig
from must_keras.training.initialization import FromModel
from must_keras.training.optimizers import AdamW

FAR = Depth(name="far", channels=16, num_convs=1)
KIND = Classification(name="kind", classes=("dark", "light"))
TRAINING = TrainingConfig(steps=2, batch=2, learning_rate=1e-3, optimizer=AdamW())


class Walls(Source):
    """Gray walls, the lighter the nearer."""

    def __init__(self, name, count=4):
        self.name, self._count = name, count
        self.label_spaces = {"far": LabelSpace("metric")}

    def __len__(self):
        return self._count

    def image_id(self, index):
        return str(index)

    def image(self, index):
        return np.full((64, 64, 3), 40 * (index + 1), np.uint8)

    def labels(self, index):
        return {"far": {"depth": np.full((64, 64), 4.0 - index, np.float32)}}

    def describe(self):
        return {"name": self.name, "count": self._count}


def walls():
    return Splits(train=Walls("walls"), validation=Walls("walls_v"), test=Walls("walls_t"))


@pytest.fixture
def saved(tmp_path):
    model = build_model(
        NETWORK, [FAR], seed=3, norm={"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
    )
    model.save(tmp_path / "saved.keras")
    return model


def recipe_of(*teachers, pool) -> Recipe:
    return Recipe(
        name="others",
        seed=0,
        network=NETWORK,
        teachers=teachers,
        pools=(Pool(source=pool),),
        student=Student(training=TRAINING),
        transfers=(),
        starts=("random",),
        evaluation_batch=2,
    )


def depth_teacher(tmp_path, steps):
    return Teacher(
        name="far",
        task=FAR,
        sets=walls(),
        training=dataclasses.replace(TRAINING, steps=steps),
        loss_weight=1.0,
        start=FromModel(tmp_path / "saved.keras"),
    )


@pytest.fixture
def pool(tmp_path):
    for i, value in enumerate((10, 60, 200, 250)):
        save(tmp_path / "pool" / f"{i}.png", np.full((32, 48, 3), value, np.uint8))
    return ImagesOnly(name="pool", root=tmp_path / "pool")


def weights(model):
    return model.get_layer("far").get_weights()


@pytest.mark.parametrize("steps", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_a_saved_depth_teacher_is_used_as_it_is_or_trained_on(tmp_path, saved, pool, steps):
    recipe = recipe_of(depth_teacher(tmp_path, steps), pool=pool)
    run = Run(recipe=recipe, path=tmp_path / "run")
    make("teacher", run)
    result = run.teacher("far").result()
    assert result.images_seen == 2 * steps and "delta1" in result.metrics
    model = keras.saving.load_model(run.teacher("far").model_path)
    same = [np.array_equal(a, b) for a, b in zip(weights(model), weights(saved), strict=True)]
    assert all(same) == (steps == 0)
    # Another file is another teacher.
    other = build_model(NETWORK, [FAR], seed=4, norm={"momentum": 0.9})
    other.save(tmp_path / "saved.keras")
    with pytest.raises(UserError, match="start.sha256"):
        check(run)


def test_no_steps_without_a_model_that_knows_the_task(tmp_path, saved):
    with pytest.raises(UserError, match="'far': steps=0 needs a start"):
        Teacher(
            name="far", task=FAR, sets=walls(), loss_weight=1.0,
            training=dataclasses.replace(TRAINING, steps=0),
        )  # fmt: skip


def test_no_steps_with_a_model_of_another_head(tmp_path, saved, pool):
    changed = dataclasses.replace(FAR, loss_stride=2 * FAR.loss_stride)
    item = dataclasses.replace(depth_teacher(tmp_path, 0), task=changed)
    with pytest.raises(UserError, match="has no head 'far' of the same kind and values"):
        make("teacher", Run(recipe=recipe_of(item, pool=pool), path=tmp_path / "run"))


def brightness(images):
    """A foreign model: how light a picture is."""
    # Padding is in the mean color: the corner is always picture.
    light = np.asarray(images)[:, :16, :16].mean((1, 2, 3)) > 127
    return np.stack([~light, light], axis=1).astype("float32")


def test_a_foreign_teacher_labels_and_the_student_learns_from_it(tmp_path, saved, pool, capsys):
    foreign = ExternalTeacher(
        name="light",
        task=KIND,
        model=ExternalModel(model=brightness, version="1", size=32, form="probabilities"),
        loss_weight=0.5,
    )
    recipe = recipe_of(depth_teacher(tmp_path, 0), foreign, pool=pool)
    run = Run(recipe=recipe, path=tmp_path / "run")
    make("teacher", run)
    assert run.teacher("light").result().metrics == {}
    make("label", run)
    reader = PseudoLabelReader(run.labels("light", "pool").folder, pool, KIND)
    most = [reader.read(i)["classes"][0] for i in range(4)]
    assert most == [0, 0, 1, 1]
    assert run.labels("light", "pool").result().class_counts == {"dark": 2, "light": 2}
    # It has no set of its own, so it labels the other teacher's too.
    assert (run.labels("light", "walls").folder / "ledger.json").is_file()
    weight = recipe.loss_weights()["kind"]
    assert (weight.value, weight.source) == (0.5, "given")
    make("student", run)
    found = run.student.result()
    assert found.tasks["kind"] == Scored(metrics={}, trivial={})
    assert found.origins["pool"]["kind"].pseudo > 0
    assert found.origins["walls"]["far"].true > 0
    check(run)
    newer = dataclasses.replace(foreign, model=dataclasses.replace(foreign.model, version="2"))
    changed = dataclasses.replace(recipe, teachers=(recipe.teachers[0], newer))
    with pytest.raises(UserError, match=r"teachers/light was made before the model .* changed"):
        check(dataclasses.replace(run, recipe=changed))
