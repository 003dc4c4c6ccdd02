"""The multi-task network: losses over a batch, gradients, saving, Keras' own fit and evaluate."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fakes.random_examples import ALL, KIND, NETWORK, NORM, PARTS, RandomExamples, train, training
from must_keras.data.augmentation import Augmentation
from must_keras.data.pipeline import one_view, training_batches
from must_keras.inference.model import serve
from must_keras.training.building import build_model
from must_keras.training.loggers import read_metrics


def look(tasks):
    return one_view(tasks, size=64, augmentation=Augmentation())


def of_examples(examples, tasks, batch, steps=1):
    return training_batches(
        examples, tasks, make_views=look(tasks), batch=batch, seed=1, steps=range(steps)
    )


@pytest.fixture(scope="module")
def batch():
    """(x, y) of six images with labels of every task, each task partly labeled."""
    return next(iter(of_examples(RandomExamples(), ALL, 6)))


@pytest.fixture(scope="module")
def five():
    return build_model(NETWORK, ALL, seed=0, norm=NORM, loss_weights={"far": 0.5})


def test_the_loss_is_the_weighted_sum_of_means_over_valid_elements(five, batch):
    x, y = batch
    predictions = five(x, training=False)
    found = five.losses_by_task(y, predictions)
    expected = 0.0
    for task in ALL:
        label = y["labels"][task.name]
        sums = task.head.loss(label, predictions[task.name], five.get_layer(task.name), y["keys"])
        weights = task.labels.weight(label).numpy()
        assert (weights == 0).any() and (weights > 0).any()
        mean = sums.numpy().sum() / weights.sum()
        assert float(found[task.name]) == pytest.approx(mean, rel=1e-5)
        expected += mean * (0.5 if task.name == "far" else 1.0)
    assert float(five.compute_loss(x, y, predictions)) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_any_label_has_loss_zero_and_finite_gradients(five, batch):
    nothing = RandomExamples(count=6)
    labels = {t.name: t.labels.missing() for t in ALL}
    nothing.load = lambda index: (np.zeros((64, 64, 3), np.uint8), labels)
    empty = next(iter(of_examples(nothing, ALL, 2)))
    for x, y in (empty, batch):
        with tf.GradientTape() as tape:
            loss = five.compute_loss(x, y, five(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in five.trainable_weights])
        assert all(np.isfinite(tf.convert_to_tensor(g)).all() for g in gradients if g is not None)
        assert np.isfinite(loss)
    assert float(five.compute_loss(*empty, five(empty[0]))) == 0.0


def test_a_saved_model_predicts_the_same(five, tmp_path):
    five.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.tasks == five.tasks and again.task_weights == five.task_weights
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    one, other = five.predict(images, verbose=0), again.predict_step(images)
    tf.nest.map_structure(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), one, other)
    assert set(one) == {t.name for t in ALL}


def test_batches_are_of_bytes_and_the_input_layer_makes_floats_of_them(five, batch):
    x, _ = batch
    assert x["image"].dtype == tf.uint8
    floats = x | {"image": tf.cast(x["image"], tf.float32)}
    whole, real = five(x, training=False), five(floats, training=False)
    tf.nest.map_structure(np.testing.assert_array_equal, whole, real)


def test_serving_takes_images_of_any_size(five):
    images = np.random.default_rng(0).integers(0, 256, (2, 48, 96, 3), dtype=np.uint8)
    out = serve(five, tf.constant(images))
    assert out["parts.map"].shape == (2, 48, 96) and out["far.depth"].shape == (2, 48, 96)
    assert out["facing.normals"].shape == (2, 48, 96, 3)
    boxes = out["things.boxes"].numpy()
    assert boxes[..., 2].max() <= 48 + 1e-3 and boxes[..., 3].max() <= 96 + 1e-3
    square = np.random.default_rng(1).integers(0, 256, (2, 64, 64, 3)).astype("float32")
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
    training(3).compile(shared)
    train(shared, tmp_path / "a", training(3), seed=7)
    traced = shared.train_function
    shared.set_weights(build(2).get_weights())
    train(shared, tmp_path / "b", second, seed=8)
    assert shared.train_function is traced
    fresh = build(2)
    second.compile(fresh)
    train(fresh, tmp_path / "c", second, seed=8)
    for a, b in zip(shared.get_weights(), fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    rows = read_metrics(tmp_path / "c")
    assert [row.step for row in rows] == [2, 4]
    names = {"loss", "kind_loss", "parts_loss", "learning_rate", "images_per_second"}
    assert names <= set(rows[0].values)


def batches_of(count: int, tasks=(KIND, PARTS)):
    return of_examples(RandomExamples(tasks), tasks, 4, count)


def test_keras_own_fit_and_evaluate_give_means_over_batches(tmp_path):
    model = build_model(NETWORK, [KIND, PARTS], seed=1, norm=NORM, loss_weights={"parts": 0.5})
    training(3).compile(model)
    alone = [model.evaluate(b, verbose=0, return_dict=True) for b in split(batches_of(3))]
    together = model.evaluate(batches_of(3), verbose=0, return_dict=True)
    assert set(together) == {"loss", "kind_loss", "parts_loss"}
    for key, value in together.items():
        each = [row[key] for row in alone]
        assert len(set(each)) == 3
        assert value == pytest.approx(np.mean(each), rel=1e-5)
    as_list = model.evaluate(batches_of(3), verbose=0)
    assert as_list == pytest.approx([together[k] for k in ("loss", "kind_loss", "parts_loss")])

    steps = []
    log = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda _, logs: steps.append(dict(logs))
    )
    history = model.fit(
        batches_of(3), epochs=2, steps_per_epoch=3, validation_data=batches_of(2), verbose=0,
        callbacks=[log], shuffle=False,
    ).history  # fmt: skip
    assert set(history) == set(steps[0]) | {f"val_{key}" for key in together}
    for key in steps[0]:
        rows = [float(row[key]) for row in steps]
        assert len(set(rows[:3])) == 3, "a step returns the numbers of its own batch"
        assert history[key] == pytest.approx([np.mean(rows[:3]), np.mean(rows[3:])], rel=1e-5)
    after = model.evaluate(batches_of(2), verbose=0, return_dict=True)
    for key, value in after.items():
        assert history[f"val_{key}"][-1] == pytest.approx(value, rel=1e-4)


def split(batches):
    return [batches.skip(i).take(1) for i in range(len(batches))]


def test_a_compiled_model_and_its_clean_copy_can_be_saved(tmp_path):
    model = build_model(NETWORK, [KIND], seed=1, norm=NORM)
    bare = len(model.variables)
    training(3).compile(model)
    training(3).compile(model)
    assert [m.name for m in model.metrics] == ["loss", "kind_loss", "gradient_norm"]
    model.evaluate(batches_of(1, (KIND,)), verbose=0)
    copy = model.clean_copy()
    assert not copy.metrics and len(copy.variables) == bare
    images = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    wanted = model.predict_step(images)["kind"]["probabilities"]
    for name, saved in {"compiled": model, "copy": copy}.items():
        saved.save(tmp_path / f"{name}.keras")
        again = keras.saving.load_model(tmp_path / f"{name}.keras")
        found = again.predict_step(images)["kind"]["probabilities"]
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        assert again.compiled == (name == "compiled")
        if again.compiled:
            again.train_step(next(iter(batches_of(1, (KIND,)))))
