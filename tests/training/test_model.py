"""The multi-task network: losses over a batch, gradients, saving, starting from another run."""

import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from must_keras.data.augmentation import Augmentation
from must_keras.data.pipeline import training_batches
from must_keras.errors import UserError
from must_keras.models.backbone import ResNet
from must_keras.tasks import Classification, Depth, Detection, Normals, Segmentation
from must_keras.training.model import Network, build_model
from must_keras.training.optimizers import SGD
from must_keras.training.serving import serve
from must_keras.training.summaries import Summaries
from must_keras.training.trainer import (
    NonFiniteLossError,
    Training,
    check_batch,
    compile_model,
    fit,
)

ROOT = pathlib.Path(__file__).resolve().parents[2]
NETWORK = Network(backbone=ResNet.small(), size=64, channels=16)
NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
CLASSES = ("a", "b", "c")
PIXELS = {"channels": 8, "num_convs": 1}
KIND = Classification(name="kind", classes=CLASSES)
PARTS = Segmentation(name="parts", classes=CLASSES, **PIXELS)
THINGS = Detection(
    name="things", classes=CLASSES, max_boxes=4, rpn_channels=8, num_sampled_anchors=16,
    num_candidates=32, num_proposals=8, num_regions=8, box_region=3, box_channels=8, box_units=8,
    box_convs=1, mask_region=4, mask_channels=8, mask_convs=1, num_mask_regions=4,
    max_detections=4,
)  # fmt: skip
ALL = (
    KIND, THINGS, PARTS, Depth(name="far", **PIXELS), Normals(name="facing", **PIXELS),
)  # fmt: skip


class Painted:
    """Random pictures; image i is labelled for task t where (i + t) % 3, so all are partly."""

    def __init__(self, tasks=ALL, count: int = 12):
        self._tasks, self._count = tasks, count

    def __len__(self):
        return self._count

    def load(self, index):
        random = np.random.default_rng(index)
        image = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        return image, {
            t.name: self._label(t, random) if (index + i) % 3 else t.missing()
            for i, t in enumerate(self._tasks)
        }

    def _label(self, task, random):
        if isinstance(task, Classification):
            return {
                "probabilities": random.dirichlet(np.ones(3)).astype(np.float32),
                "labelled": np.ones((), np.float32),
            }
        if isinstance(task, Detection):
            corners = random.uniform(0, 0.5, (2, 2))
            return {
                "boxes": np.concatenate([corners, corners + 0.4], axis=1).astype(np.float32),
                "classes": random.integers(0, 3, 2).astype(np.int32),
                "masks": np.ones((2, 28, 28), np.uint8),
                "has_mask": np.array([True, False]),
                "ignore": np.zeros(2, bool),
                "labelled": np.ones((), np.float32),
            }
        if isinstance(task, Segmentation):
            return {"map": random.choice([0, 1, 2, 255], (64, 64)).astype(np.uint8)}
        if isinstance(task, Depth):
            return {"depth": random.uniform(-1, 5, (64, 64)).astype(np.float32)}
        return {"normals": random.normal(size=(64, 64, 3)).astype(np.float32)}


def one_batch(tasks=ALL, batch: int = 6):
    return next(
        iter(
            training_batches(
                Painted(tasks), tasks, size=64, batch=batch, seed=1,
                augmentation=Augmentation(), steps=range(1),
            )
        )
    )  # fmt: skip


def training(steps: int, **changes) -> Training:
    values = {
        "steps": steps, "batch": 4, "learning_rate": 0.05, "optimizer": SGD(), "log_every": 2,
    }  # fmt: skip
    return Training(**(values | changes))


def train(model, folder, run: Training, seed: int = 5, tasks=(KIND, PARTS)):
    summaries = Summaries(folder)
    batches = run.batches(Painted(tasks), list(tasks), size=model.size[0], seed=seed)
    fit(model, batches, run, title="test", folder=folder, summaries=summaries)
    summaries.close()


@pytest.fixture(scope="module")
def five():
    return build_model(NETWORK, ALL, seed=0, norm=NORM, loss_weights={"far": 0.5})


def test_the_loss_is_the_weighted_sum_of_means_over_valid_elements(five):
    x, y = one_batch()
    predictions = five(x, training=False)
    found = five.losses_by_task(y, predictions)
    expected = 0.0
    for task in ALL:
        label = y["labels"][task.name]
        sums = task.loss(label, predictions[task.name], five.get_layer(task.name), y["keys"])
        weights = task.label_weight(label).numpy()
        assert (weights == 0).any() and (weights > 0).any()
        mean = sums.numpy().sum() / weights.sum()
        assert float(found[task.name]) == pytest.approx(mean, rel=1e-5)
        expected += mean * (0.5 if task.name == "far" else 1.0)
    assert float(five.compute_loss(x, y, predictions)) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_any_label_has_loss_zero_and_finite_gradients(five):
    x, y = one_batch()
    empty = {t.name: t.missing() for t in ALL}
    nothing = Painted(count=6)
    nothing.load = lambda index: (np.zeros((64, 64, 3), np.uint8), empty)
    batch = next(
        iter(
            training_batches(
                nothing, ALL, size=64, batch=2, seed=1, augmentation=Augmentation(), steps=range(1)
            )
        )
    )
    for x, y in (batch, one_batch()):
        with tf.GradientTape() as tape:
            loss = five.compute_loss(x, y, five(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in five.trainable_weights])
        assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients if g is not None)
        assert np.isfinite(loss)
    assert float(five.compute_loss(*batch, five(batch[0]))) == 0.0


def test_a_saved_model_predicts_the_same(five, tmp_path):
    five.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.tasks == five.tasks and again.task_weights == five.task_weights
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    one, other = (m.predict(images, verbose=0) for m in (five, again))
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)
    assert set(one) == {t.name for t in ALL}


def test_serving_takes_images_of_any_size(five):
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 96, 3), dtype=np.uint8)
    out = serve(five, tf.constant(images))
    assert out["parts.map"].shape == (2, 48, 96) and out["far.depth"].shape == (2, 48, 96)
    assert out["facing.normals"].shape == (2, 48, 96, 3)
    boxes = out["things.boxes"].numpy()
    assert boxes[..., 2].max() <= 48 + 1e-3 and boxes[..., 3].max() <= 96 + 1e-3
    square = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3)).astype("float32")
    direct = five.predict(square, verbose=0)
    served = serve(five, tf.constant(square))
    np.testing.assert_allclose(served["far.depth"], direct["far"]["depth"], rtol=1e-4)
    np.testing.assert_array_equal(served["parts.map"], direct["parts"]["map"])


def test_the_same_seed_builds_the_same_weights():
    a, b, c = (build_model(NETWORK, [KIND], seed=s, norm=NORM) for s in (4, 4, 5))
    same = [np.array_equal(x, y) for x, y in zip(a.weights, b.weights, strict=True)]
    assert all(same)
    assert not all(np.array_equal(x, y) for x, y in zip(a.weights, c.weights, strict=True))


def test_a_shared_step_trains_as_a_fresh_one(tmp_path):
    """A second run (start, seed, rate, length) on a traced step gives bit-equal weights."""
    second = training(4, learning_rate=0.02)

    def build(seed):
        return build_model(NETWORK, [KIND, PARTS], seed=seed, norm=NORM, clip_norm=1.0)

    shared = build(1)
    compile_model(shared, training(3))
    train(shared, tmp_path / "a", training(3), seed=7)
    traced = shared.train_function
    shared.set_weights(build(2).get_weights())
    train(shared, tmp_path / "b", second, seed=8)
    assert shared.train_function is traced
    fresh = build(2)
    compile_model(fresh, second)
    train(fresh, tmp_path / "c", second, seed=8)
    for a, b in zip(shared.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = [json.loads(r) for r in (tmp_path / "c" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert {"loss", "kind_loss", "parts_loss", "learning_rate", "images_per_second"} <= set(rows[0])


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    model = build_model(NETWORK, [KIND], seed=1, norm=NORM)
    run = training(3)
    compile_model(model, run)
    weights = model.get_weights()
    weights[-1] = np.full_like(weights[-1], np.nan)
    model.set_weights(weights)
    wanted = (
        "^test: the loss of kind is not finite at step 1 of 3: try a lower learning rate than 0.05$"
    )
    with pytest.raises(NonFiniteLossError, match=wanted) as caught:
        train(model, tmp_path, run, tasks=(KIND,))
    assert isinstance(caught.value, UserError)


def batches_of(count: int, tasks=(KIND, PARTS), batch: int = 4):
    return training_batches(
        Painted(tasks), tasks, size=64, batch=batch, seed=1, augmentation=Augmentation(),
        steps=range(count),
    )  # fmt: skip


def test_keras_own_fit_and_evaluate_give_means_over_batches(tmp_path):
    model = build_model(NETWORK, [KIND, PARTS], seed=1, norm=NORM, loss_weights={"parts": 0.5})
    compile_model(model, training(3))
    alone = [model.evaluate(b, verbose=0, return_dict=True) for b in split(batches_of(3))]
    together = model.evaluate(batches_of(3), verbose=0, return_dict=True)
    assert set(together) == {"loss", "kind_loss", "parts_loss"}
    for key, value in together.items():
        each = [row[key] for row in alone]
        assert len(set(each)) == 3
        assert value == pytest.approx(np.mean(each), rel=1e-5)
    as_list = model.evaluate(batches_of(3), verbose=0)
    assert as_list == pytest.approx([together[k] for k in ("loss", "kind_loss", "parts_loss")])

    seen = []
    log = keras.callbacks.LambdaCallback(on_train_batch_end=lambda _, logs: seen.append(dict(logs)))
    history = model.fit(
        batches_of(3), epochs=2, steps_per_epoch=3, validation_data=batches_of(2), verbose=0,
        callbacks=[log], shuffle=False,
    ).history  # fmt: skip
    assert set(history) == set(seen[0]) | {f"val_{key}" for key in together}
    for key in seen[0]:
        rows = [float(row[key]) for row in seen]
        assert len(set(rows[:3])) == 3, "a step tells of its own batch"
        assert history[key] == pytest.approx([np.mean(rows[:3]), np.mean(rows[3:])], rel=1e-5)
    after = model.evaluate(batches_of(2), verbose=0, return_dict=True)
    for key, value in after.items():
        assert history[f"val_{key}"][-1] == pytest.approx(value, rel=1e-4)


def split(batches):
    return [batches.skip(i).take(1) for i in range(len(batches))]


def test_a_compiled_model_and_its_clean_copy_can_be_saved(tmp_path):
    model = build_model(NETWORK, [KIND], seed=1, norm=NORM)
    bare = len(model.variables)
    compile_model(model, training(3))
    compile_model(model, training(3))
    assert [m.name for m in model.metrics] == ["loss", "kind_loss", "gradient_norm"]
    model.evaluate(batches_of(1, (KIND,)), verbose=0)
    copy = model.clean_copy()
    assert not copy.metrics and len(copy.variables) == bare
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    wanted = model.predict(images, verbose=0)["kind"]["probabilities"]
    for name, saved in {"compiled": model, "copy": copy}.items():
        saved.save(tmp_path / f"{name}.keras")
        again = keras.saving.load_model(tmp_path / f"{name}.keras")
        found = again.predict(images, verbose=0)["kind"]["probabilities"]
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert again.compiled == (name == "compiled")
        if again.compiled:
            again.fit(batches_of(1, (KIND,)), verbose=0, shuffle=False)


def test_a_batch_that_the_replicas_do_not_divide_is_refused():
    check_batch(6, replicas=3)
    with pytest.raises(UserError, match="batch=32 cannot be split over 3 replicas.*multiple of 3"):
        check_batch(32, replicas=3)


REPLICAS = """
import sys, json, pathlib, tempfile
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 2)
sys.path.insert(0, {tests!r})
import test_model as t
import numpy as np
from must_keras.training.inference import Predictor
from must_keras.training.strategy import make_strategy
from must_keras.data.pipeline import evaluation_batches
found = {{}}
for name in ("one", "mirrored"):
    strategy = make_strategy(name)
    with strategy.scope():
        run = t.training(3, learning_rate=0.01, log_every=1)
        model = t.build_model(
            t.NETWORK, t.ALL[:3], seed=3, norm=run.norm() | {{"momentum": 0.9}}, clip_norm=1.0)
        t.compile_model(model, run)
        folder = pathlib.Path(tempfile.mkdtemp())
        t.train(model, folder, run, tasks=t.ALL[:3])
        rows = [json.loads(r) for r in (folder / "metrics.jsonl").read_text().splitlines()]
        batches = evaluation_batches(t.Painted(t.ALL[:3]), t.ALL[:3], size=64, batch=4, ranges=[range(6)])
        said = np.concatenate([
            p.outputs["kind"]["probabilities"] for p in Predictor(model)(batches)])
    found[name] = {{"replicas": strategy.num_replicas_in_sync, "images": len(said),
                   "said": said.tolist(),
                   "losses": [{{k: v for k, v in r.items() if "loss" in k}} for r in rows]}}
print(json.dumps(found))
"""


def test_two_replicas_train_as_one():
    """Labels missing unevenly, clipping on: the same losses over 3 steps."""
    code = REPLICAS.format(tests=str(pathlib.Path(__file__).parent))
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = json.loads(answer.stdout.splitlines()[-1])
    assert found["one"]["replicas"] == 1 and found["mirrored"]["replicas"] == 2
    assert found["one"]["images"] == found["mirrored"]["images"] == 6
    for one, two in zip(found["one"]["losses"], found["mirrored"]["losses"], strict=True):
        assert set(one) == set(two)
        for key, value in one.items():
            assert two[key] == pytest.approx(value, rel=1e-4, abs=1e-5), key
    np.testing.assert_allclose(found["one"]["said"], found["mirrored"]["said"], atol=1e-3)


THREE = """
import sys, json
import tensorflow as tf
cpus = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpus[0], [tf.config.LogicalDeviceConfiguration()] * 3)
sys.path.insert(0, {tests!r})
import test_model as t
import numpy as np
from must_keras.data.pipeline import evaluation_batches
from must_keras.training.inference import Predictor
from must_keras.training.strategy import make_strategy
found = {{}}
for name in ("one", "mirrored"):
    with make_strategy(name).scope():
        run = t.training(2, batch=6, learning_rate=0.01)
        norm = run.norm() | {{"momentum": 0.9}}
        model = t.build_model(t.NETWORK, [t.KIND], seed=3, norm=norm)
        batches = evaluation_batches(
            t.Painted([t.KIND]), [t.KIND], size=64, batch=4, ranges=[range(6)])
        said = np.concatenate([
            p.outputs["kind"]["probabilities"] for p in Predictor(model)(batches)]).tolist()
        t.compile_model(model, run)
        six = t.batches_of(2, [t.KIND], batch=6)
        means = model.evaluate(six, verbose=0, return_dict=True)
        steps = []
        log = t.keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda _, logs: steps.append(float(logs["loss"])))
        fitted = model.fit(six, steps_per_epoch=2, verbose=0, shuffle=False, callbacks=[log])
        found[name] = {{"said": said, "means": means, "steps": steps,
                       "epoch": fitted.history["loss"][0]}}
        try:
            t.compile_model(model, t.training(1, batch=4))
        except t.UserError as error:
            found["refused by " + name] = str(error)
print(json.dumps(found))
"""


def test_three_replicas_predict_and_evaluate_as_one():
    code = THREE.format(tests=str(pathlib.Path(__file__).parent))
    answer = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    found = json.loads(answer.stdout.splitlines()[-1])
    one, three = found["one"], found["mirrored"]
    assert np.shape(one["said"]) == (6, 3)
    np.testing.assert_allclose(one["said"], three["said"], atol=1e-5)
    assert three["means"] == pytest.approx(one["means"], rel=1e-4)
    assert three["steps"][0] == pytest.approx(one["steps"][0], rel=1e-4)
    for side in (one, three):
        assert side["epoch"] == pytest.approx(np.mean(side["steps"]), rel=1e-5)
    assert "batch=4 cannot be split over 3 replicas" in found["refused by mirrored"]
    assert "refused by one" not in found
