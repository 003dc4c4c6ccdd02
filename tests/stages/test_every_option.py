"""A student with every option at once: what it learns from, and what one step makes of it."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from fakes.few_layers import Pretrained
from fakes.random_examples import KIND, PARTS, RESIDUAL, THINGS, RandomExamples, training
from fakes.results import finish
from must_keras.config.domain_gate import DomainGate
from must_keras.config.recipe import Pool, Recipe, Student, Teacher
from must_keras.data.mixing import CopyPaste, CutMix, MixUp
from must_keras.data.sources import LabelSpace, Source
from must_keras.data.splits import Splits
from must_keras.data.strong_views import StrongViews
from must_keras.pseudo_labels import gates, training_set
from must_keras.pseudo_labels.store import PseudoLabelWriter
from must_keras.runs.run import Run
from must_keras.stages import student as student_stage
from must_keras.tasks.features import Features
from must_keras.training import diagnostics
from must_keras.training.loss_weights import Uncertainty
from must_keras.training.self_labeled import SelfLabeled

TASKS = (KIND, THINGS, PARTS)
COUNT, SIZE = 8, (64, 64)
AREA = np.float32([0, 0, *SIZE])
FAR = (1, 4)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known(Pretrained):
    """With a digest for its weights."""

    def checkpoint_sha256(self):
        return "a" * 64


class Painted(Source):
    """Random images, with ground truth of some heads."""

    def __init__(self, name, tasks=()):
        self.name, self._examples = name, RandomExamples(TASKS, COUNT)
        self.label_spaces = {task.name: LabelSpace.of(task) for task in tasks}

    def __len__(self):
        return COUNT

    def image_id(self, index):
        return str(index)

    def image(self, index):
        return self._examples.load(index)[0]

    def labels(self, index):
        found = self._examples.load(index)[1]
        return {name: found[name] for i, name in enumerate(self.label_spaces) if (index + i) % 3}

    def describe(self):
        return {"name": self.name}


def predictions(index: int) -> dict[str, dict[str, np.ndarray]]:
    """Return {head: a teacher's prediction of an image}: a box above the threshold, one below."""
    return {
        "kind": {"probabilities": np.float32([0.7, 0.2, 0.1])},
        "things": {
            "boxes": np.float32([[4, 4 + index, 30, 40], [30, 30, 60, 60]]),
            "scores": np.float32([0.9, 0.4]),
            "classes": np.int32([0, 1]),
            "masks": np.ones((2, 4, 4), np.float32),
        },
        "parts": {
            "map": np.full(SIZE, index % 3, np.uint8),
            "confidence": np.full(SIZE, 0.8, np.float32),
        },
    }


def every_option() -> Recipe:
    """Return a recipe of three teachers."""
    splits = ("train", "validation", "test")
    sets = Splits(**dict.fromkeys(splits, Painted("painted", TASKS)))
    weighted = {"threshold": 0.5, "weight_by_score": True}
    boxes = {"ignore_from": 0.3, "labels_of": ("pool",), "gate": DomainGate()}
    options = {KIND: {}, THINGS: weighted | boxes, PARTS: weighted}
    short = training(1, batch=8)
    ways = (
        CutMix(probability=0.4),
        MixUp(probability=0.2),
        CopyPaste(head="things", probability=0.4),
    )
    every = {
        "training": training(1, batch=8, mixing=ways, accumulate=2, stochastic_depth=0.2, ema=True),
        "weighting": Uncertainty(),
        "repeats": {"pool": 2},
        "strong_views": StrongViews(),
        "ground_truth_share": 0.25,
        "self_labeled": (
            SelfLabeled(
                task=Features(name="seen", backbone=Known(), num_images=8), loss_weight=1.0
            ),
        ),
        "drop_heads": 0.5,
    }
    return Recipe(
        name="every option",
        network=RESIDUAL,
        teachers=tuple(
            Teacher(task=task, sets=sets, training=short, **options[task]) for task in TASKS
        ),
        pools=(Pool(source=Painted("pool")),),
        student=Student(**every),
        starts=("random", "student"),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run with labels and distances that are written by hand, as by an earlier stage."""
    run = Run(recipe=every_option(), path=tmp_path_factory.mktemp("every") / "run")
    for teacher in run.recipe.teachers:
        for source, labels in run.label_sets(teacher):
            artifact, task = labels.declare(find_inputs=dict), teacher.task
            writer = PseudoLabelWriter(artifact.folder, task, COUNT, teacher_sha256="", recipe={})
            made = [predictions(i)[task.name] for i in range(COUNT)]
            rows = [task.records.from_prediction(one, AREA, SIZE) for one in made]
            writer.write_shard(0, [(source.image_id(i), row) for i, row in enumerate(rows)])
            writer.finish()
            finish(artifact, images=COUNT, labelled=COUNT)
    distances = np.where(np.isin(np.arange(COUNT), FAR), 9.0, 1.0)
    for artifact, values in (
        (run.calibration("things"), np.full(3, 2.0)),
        (run.distances("things", "pool"), distances),
    ):
        artifact = artifact.declare(find_inputs=dict)
        np.save(artifact.begin() / gates.DISTANCES, values.astype("<f4"))
        finish(artifact, images=len(values))
    return run


def test_labels_are_those_of_the_options(run):
    images = training_set.of_student(run)
    assert [part.source.name for part in images.parts] == ["painted", "pool", "pool"]
    pool = images.parts[1]
    origins = [pool.origins(i)["things"] for i in range(COUNT)]
    assert origins == ["missing" if i in FAR else "pseudo" for i in range(COUNT)]
    _, labels = pool.load(0)
    assert labels["things"]["ignore"].tolist() == [False, True]
    np.testing.assert_allclose(labels["things"]["weight"], [0.9, 0.4], atol=0.01)
    assert {origin["things"] for origin in map(images.parts[0].origins, range(COUNT))} == {
        "true", "missing"
    }  # fmt: skip
    assert [task.weighted for task in images.tasks] == [False, True, True]


class StoppedError(Exception):
    """Raised in place of a training."""


@pytest.fixture(scope="module")
def caught(run):
    """The student's model and input, as they come to the training."""
    caught = {}

    def fit(artifact, model, feed, training, *, title, origin, best):
        caught.update(model=model, feed=feed)
        raise StoppedError

    recipe, images = run.recipe, training_set.of_student(run)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(StoppedError):
        patch.setattr(student_stage, "fit", fit)
        patch.setattr(student_stage, "_NUM_COUNTED_EXAMPLES", 20)
        named = {"network": RESIDUAL, "teachers": recipe.teachers, "title": "student"}
        student_stage.fit_heads(run, run.student, images, recipe.student, **named)
    return caught["model"], caught["feed"]


@pytest.fixture(scope="module")
def batch(caught):
    return caught[1].batch_of(0)


def test_the_model_has_all_heads_and_the_input_the_share(caught):
    model, feed = caught
    assert list(model.heads) == ["kind", "things", "parts", "seen"]
    assert set(model.task_weights) == set(model.heads) and model.learned_weights is not None
    assert sum(name.startswith("painted/") for name in feed.ids_of(0)) == 2, "a quarter"


def test_batches_have_all_labels(run, batch):
    _, y = batch
    for task in training_set.of_student(run).tasks:
        label, spec = y["labels"][task.name], task.labels.spec(SIZE)
        assert {k: (v.shape, v.dtype.name) for k, v in label.items()} == {
            k: ((8, *one.shape), np.dtype(one.dtype).name) for k, one in spec.items()
        }


def test_a_step_is_finite_and_is_replayed_as_it_was(caught, batch, tmp_path):
    (model, feed), (x, y) = caught, batch
    targets = model.training_targets(x, y)
    with tf.GradientTape() as tape, model.sampling(y["keys"]):
        counts = model.valid_counts(targets)
        losses = model.losses_over(targets, model(x, training=True), counts)
        total = sum(model.weighted_losses(losses).values())
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    norm = tf.linalg.global_norm([g for g in gradients if g is not None])
    assert np.isfinite([float(norm), *map(float, losses.values())]).all() and float(total) > 0
    # What is kept is computed again with the same dropped heads, the features among them.
    kept = diagnostics.keep_step(
        tmp_path, model, (x, y), step=1, ids=feed.ids_of(0), bad=["things"]
    )
    replayed, num_dropped = diagnostics.replay(kept), 0.0
    assert list(replayed.losses) == ["kind", "things", "parts", "seen"]
    for i, (name, task) in enumerate(model.heads.items()):
        weights = replayed.weights[name]
        assert weights.sum() == pytest.approx(float(counts[i]))
        mean = replayed.losses[name].sum() / max(float(counts[i]), 1.0)
        assert mean == pytest.approx(float(losses[name]), rel=1e-4)
        num_dropped += np.sum(task.labels.weight(targets["labels"][name]) - weights)
    assert num_dropped > 0
