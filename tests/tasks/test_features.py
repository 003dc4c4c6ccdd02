"""The loss of features: a frozen network's, standardized, without padding."""

import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.modeling.backbone import EfficientNetLite0, ResNet
from must_keras.modeling.feature_head import FeatureHead
from must_keras.modeling.keras_backbone import KerasBackbone
from must_keras.tasks.features import Features, FrozenTeacher, RecordedFeatures, distance

RANDOM = np.random.default_rng(0)
CHANNELS = {"C3": 3, "C4": 5, "C5": 7}
# All of the image; its upper half; the upper fifth, that a row of 8 pixels has in part; nothing.
AREA = np.float32([[0, 0, 64, 64], [0, 0, 32, 64], [0, 0, 12, 64], [0, 0, 0, 0]])


def slow_distance(one, other) -> float:
    cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
    d = np.abs(one - other)
    smooth = np.where(d < 1, d**2 / 2, d - 0.5).mean()
    return 0.9 * (1 - cosine) + 0.1 * smooth


def test_the_distance_of_numbers_made_by_hand():
    """Of (3, 4) and (4, 3): cosine 0.96, smooth L1 0.5; of opposite (1, 0): 2, and (1.5 + 0) / 2."""
    one, other = np.float32([[3, 4], [1, 0], [2, 2]]), np.float32([[4, 3], [-1, 0], [2, 2]])
    expected = [0.9 * 0.04 + 0.1 * 0.5, 0.9 * 2 + 0.1 * 0.75, 0.0]
    np.testing.assert_allclose(distance(one, other), expected, rtol=1e-5, atol=1e-6)
    one, other = RANDOM.normal(0, 2, (2, 6, 9)).astype("float32")
    slow = [slow_distance(a, b) for a, b in zip(one, other, strict=True)]
    np.testing.assert_allclose(distance(one, other), slow, rtol=1e-4)


def values(scale=1.0):
    shapes = {"C3": (4, 8, 8, 3), "C4": (4, 4, 4, 5), "C5": (4, 7)}
    return {k: RANDOM.normal(0, scale, s).astype("float32") for k, s in shapes.items()}


@pytest.fixture(scope="module")
def head():
    statistics = {k: (np.full(n, 0.5), np.full(n, 2.0)) for k, n in CHANNELS.items()}
    layer = FeatureHead(CHANNELS, statistics, size=(64, 64), name="features")
    zeros = {
        "P3": np.zeros((1, 8, 8, 4)),
        "P4": np.zeros((1, 4, 4, 4)),
        "C5": np.zeros((1, 2, 2, 4)),
    }
    layer(zeros | {"area": AREA[:1]})
    return layer


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "backbone.keras"
    path.write_bytes(b"any")
    return Features(name="features", backbone=KerasBackbone(path=path))


def test_the_loss_is_the_mean_over_levels_of_the_mean_over_cells_in_the_area(task, head):
    label, prediction = values(2.0) | {"area": AREA}, values()
    found = task.head.loss(label, prediction, head, None).numpy()
    # Rows of cells that the area contains; of 12 pixels, half of the second row of P3.
    rows = {
        "C3": [[1] * 8, [1] * 4 + [0] * 4, [1, 0.5] + [0] * 6],
        "C4": [[1] * 4, [1, 1, 0, 0], [1, 0, 0, 0]],
    }
    for i in range(3):
        terms = []
        for level, weights in rows.items():
            target = (label[level][i] - 0.5) / 2
            cells = [
                (w, slow_distance(prediction[level][i, r, c], target[r, c]))
                for r, w in enumerate(weights[i])
                for c in range(len(weights[i]))
            ]
            terms.append(sum(w * d for w, d in cells) / sum(w for w, _ in cells))
        terms.append(slow_distance(prediction["C5"][i], (label["C5"][i] - 0.5) / 2))
        assert found[i] == pytest.approx(np.mean(terms), rel=1e-4)
    assert found[3] == 0.0
    np.testing.assert_array_equal(task.labels.weight(label), [1, 1, 1, 0])


def test_padding_has_no_effect_and_no_gradient(task, head):
    label, prediction = values(2.0) | {"area": AREA}, values()
    prediction = {level: tf.constant(v) for level, v in prediction.items()}
    with tf.GradientTape() as tape:
        tape.watch(prediction)
        loss = task.head.loss(label, prediction, head, None)
    gradients = tape.gradient(loss, prediction)
    gradient = gradients["C3"].numpy()
    assert (gradient[1, :4] != 0).all() and (gradient[1, 4:] == 0).all()
    assert all(
        np.isfinite(g).all() and (g[3] == 0).all() for g in map(np.asarray, gradients.values())
    )
    label["C3"][1, 4:] = 1e6
    np.testing.assert_array_equal(task.head.loss(label, prediction, head, None), loss)


def test_perfect_predictions_have_no_loss_and_zeros_a_finite_gradient(task, head):
    label = values() | {"area": AREA}
    perfect = {level: head.standardize(level, label[level]) for level in CHANNELS}
    np.testing.assert_allclose(task.head.loss(label, perfect, head, None), 0.0, atol=1e-6)
    zeros = {level: tf.zeros_like(v) for level, v in perfect.items()}
    with tf.GradientTape() as tape:
        tape.watch(zeros)
        loss = task.head.loss(label, zeros, head, None)
    assert all(np.isfinite(g).all() for g in map(np.asarray, tape.gradient(loss, zeros).values()))


def test_what_cannot_be_a_teacher_is_named():
    file = KerasBackbone(path="nowhere.keras")
    with pytest.raises(UserError, match="'lite0': a ResNet has no checkpoint, and random features"):
        Features(name="lite0", backbone=ResNet.small())
    with pytest.raises(UserError, match="'lite0': backbone is a str, expected a Backbone"):
        Features(name="lite0", backbone="resnet")
    with pytest.raises(UserError, match="'lite0': num_images=1: at least 2 are needed"):
        Features(name="lite0", backbone=file, num_images=1)
    with pytest.raises(UserError, match=r"there is no file nowhere\.keras"):
        Features(name="lite0", backbone=file).describe()


def test_the_description_identifies_the_weights(task, tmp_path):
    ours = task.describe()
    assert "teacher" not in ours and ours["num_images"] == 512 and len(ours["sha256"]) == 64
    (tmp_path / "other.keras").write_bytes(b"other")
    other = Features(name="features", backbone=KerasBackbone(path=tmp_path / "other.keras"))
    assert other.describe()["sha256"] != ours["sha256"]
    lite0 = Features(name="features", backbone=EfficientNetLite0(weights=tmp_path / "other.keras"))
    assert lite0.describe()["sha256"] == other.describe()["sha256"]


def test_a_prepared_task_is_the_same_task(task):
    teacher = types.SimpleNamespace()
    prepared = Features(name="features", backbone=task.backbone, teacher=teacher)
    assert prepared == task and prepared.describe() == task.describe()


@pytest.fixture
def prepared(task):
    """The task with statistics, and the input's size alone of its network."""
    statistics = {k: (np.full(n, 0.5), np.full(n, 2.0)) for k, n in CHANNELS.items()}
    network = types.SimpleNamespace(input_shape=(None, 64, 64, 3))
    return dataclasses.replace(task, teacher=FrozenTeacher(network, statistics))


def cosine(one, other) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def slow_similarity(label, prediction, image) -> float:
    """Of whole images: the mean over levels of the mean over cells."""
    found = []
    for level, channels in CHANNELS.items():
        targets = ((label[level][image] - 0.5) / 2).reshape(-1, channels)
        cells = np.broadcast_to(prediction[level], label[level].shape)[image].reshape(-1, channels)
        found.append(np.mean([cosine(a, b) for a, b in zip(targets, cells, strict=True)]))
    return float(np.mean(found))


WHOLE = np.tile(AREA[:1], (4, 1))


def similarity(task, label, prediction) -> float:
    evaluator = task.metrics.evaluator()
    evaluator.update(label, prediction)
    return evaluator.result()["cosine_similarity"]


def test_the_metric_is_the_mean_cosine_over_images(prepared):
    label, prediction = values(2.0) | {"area": WHOLE}, values()
    wanted = np.mean([slow_similarity(label, prediction, i) for i in range(4)])
    assert similarity(prepared, label, prediction) == pytest.approx(wanted, rel=1e-4)
    perfect = {level: (label[level] - 0.5) / 2 for level in CHANNELS}
    assert similarity(prepared, label, perfect) == pytest.approx(1.0)
    opposite = {level: -3 * v for level, v in perfect.items()}
    assert similarity(prepared, label, opposite) == pytest.approx(-1.0)
    # In batches, the images count the same; nothing that is shown counts nothing.
    evaluator = prepared.metrics.evaluator()
    for images in (slice(0, 1), slice(1, 4)):
        some = ({k: v[images] for k, v in side.items()} for side in (label, prediction))
        evaluator.update(*some)
    assert evaluator.result()["cosine_similarity"] == pytest.approx(wanted, rel=1e-4)
    assert np.isnan(similarity(prepared, label | {"area": np.zeros((4, 4))}, prediction))


def test_padding_has_no_effect_on_the_metric(prepared):
    label, prediction = values(2.0) | {"area": AREA}, values()
    before = similarity(prepared, label, prediction)
    label["C3"][1, 4:] = 7.0
    label["C5"][3] = 7.0
    assert similarity(prepared, label, prediction) == before
    label["C3"][1, :4] = 7.0
    assert similarity(prepared, label, prediction) != before


def test_the_trivial_baseline_is_the_best_constant_prediction(prepared):
    """Of its own training images; zeros have a cosine of 0."""
    label = values(2.0) | {"area": WHOLE}
    baseline = prepared.metrics.trivial_baseline()
    for images in (slice(0, 1), slice(1, 4)):
        baseline.update({level: v[images] for level, v in label.items()})
    best = similarity(prepared, label, baseline.predict(4))
    assert 0.0 < best < 1.0
    for _ in range(20):
        changed = {k: v + RANDOM.normal(0, 0.1, v.shape) for k, v in baseline.prediction().items()}
        constant = {k: np.broadcast_to(v, (4, *v.shape)) for k, v in changed.items()}
        assert similarity(prepared, label, constant) < best
    zeros = {level: np.zeros_like(label[level]) for level in CHANNELS}
    assert similarity(prepared, label, zeros) == 0.0


def test_a_recorded_loss_is_that_of_the_task(prepared, head):
    label, prediction = values(2.0) | {"area": AREA}, values()
    recorded = prepared.recorded()
    config = recorded.get_config()
    assert recorded == RecordedFeatures(**config) and config == {"name": "features"}
    np.testing.assert_array_equal(
        recorded.head.loss(label, prediction, head, None),
        prepared.head.loss(label, prediction, head, None),
    )
