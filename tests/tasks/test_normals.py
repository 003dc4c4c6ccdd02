import numpy as np
import pytest
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.ops import maps
from must_keras.ops.letterboxing import letterbox
from must_keras.ops.views import View
from must_keras.tasks.normals import Normals

TASK = Normals(name="normals", loss_stride=1)


def normals(seed: int = 0, shape: tuple[int, ...] = (2, 16, 16)) -> np.ndarray:
    """Unit vectors towards the camera, a fifth of them unknown."""
    random = np.random.default_rng(seed)
    vectors = random.normal(size=(*shape, 3))
    vectors[..., 2] = -np.abs(vectors[..., 2])
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[random.uniform(size=shape) < 0.2] = 0.0
    return vectors.astype("float32")


def known(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors, axis=-1) > 0.5


def angle(a: np.ndarray, b: np.ndarray) -> float:
    cosine = a @ b / (np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def loss_and_gradient(task: Normals, label: np.ndarray, prediction: np.ndarray):
    variable = tf.Variable(prediction)
    with tf.GradientTape() as tape:
        loss = task.head.loss({"normals": label}, {"values": variable}, None, None)
    return np.asarray(loss), np.asarray(tape.gradient(loss, variable))


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_loss_is_one_minus_the_cosine(stride):
    task, label = Normals(name="normals", loss_stride=stride), normals()
    prediction = np.random.default_rng(1).normal(size=(2, 4, 4, 3)).astype("float32")
    seen = label[:, stride // 2 :: stride, stride // 2 :: stride]
    full = maps.resize(prediction, label.shape[1:3])
    resized = np.asarray(maps.at_stride(full, stride), np.float64)
    expected = np.zeros(2)
    for index in zip(*np.nonzero(known(seen)), strict=True):
        expected[index[0]] += 1 - np.cos(np.radians(angle(seen[index], resized[index])))
    loss, gradient = loss_and_gradient(task, label, prediction)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_array_equal(task.labels.weight({"normals": label}), known(seen).sum((1, 2)))
    assert np.isfinite(gradient).all()


def test_unknown_pixels_and_zero_predictions_have_finite_gradients():
    label = normals()
    label[0, 0, 0] = np.nan
    prediction = np.zeros((2, 16, 16, 3), "float32")
    loss, gradient = loss_and_gradient(TASK, label, prediction)
    assert np.isfinite(loss).all() and np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[~known(np.nan_to_num(label))], 0.0)
    assert not gradient[0, 0, 0].any()


def test_outputs_are_unit_vectors():
    prediction = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype("float32")
    predicted = TASK.predictions.decode({"values": prediction}, None, (16, 16))["normals"]
    np.testing.assert_allclose(np.linalg.norm(predicted, axis=-1), 1.0, atol=1e-3)


def test_a_mirror_negates_x():
    stored = normals()[0]
    mirror = View(matrix=tf.constant([[1 / 16, 0, 0], [0, -1 / 16, 1.0]]), size=(16, 16))
    seen = TASK.labels.warp({"normals": tf.constant(stored)}, mirror)["normals"]
    np.testing.assert_allclose(seen, stored[:, ::-1] * [-1, 1, 1], atol=1e-6)


def test_resizing_keeps_unit_vectors_and_padding_is_unknown():
    stored = 0.97 * normals(shape=(8, 16))
    view = letterbox(tf.constant([8, 16]), (32, 32))
    seen = np.asarray(TASK.labels.warp({"normals": tf.constant(stored)}, view)["normals"])
    assert seen.dtype == np.float32 and not seen[16:].any()
    expected = stored.repeat(2, axis=0).repeat(2, axis=1)
    np.testing.assert_allclose(seen[:16] * 0.97, expected, atol=1e-6)


def test_a_record_keeps_directions_to_half_a_degree():
    vectors = normals()[0]
    vectors[~known(vectors)] = [0, 0, -1]
    record = TASK.records.from_prediction({"normals": vectors}, np.array([0, 0, 24, 32]), (32, 32))
    decoded = TASK.records.to_label(record, None)["normals"]
    assert decoded.shape == (12, 16, 3) and decoded.dtype == np.float32
    worst = max(
        angle(a, b)
        for a, b in zip(decoded.reshape(-1, 3), vectors[:12].reshape(-1, 3), strict=True)
    )
    assert worst < 0.5
    np.testing.assert_allclose(np.linalg.norm(decoded, axis=-1), 1.0, atol=1e-6)


def test_unknown_pixels_stay_unknown_in_a_record():
    vectors = normals()[0]
    record = TASK.records.from_prediction({"normals": vectors}, np.array([0, 0, 16, 16]), (16, 16))
    np.testing.assert_array_equal(
        known(TASK.records.to_label(record, None)["normals"]), known(vectors)
    )
    with pytest.raises(UserError, match=r"normals: .* no threshold"):
        TASK.records.to_label(record, 0.5)


def turned(degrees: float) -> list[float]:
    return [0.0, np.sin(np.radians(degrees)), -np.cos(np.radians(degrees))]


def test_angles_by_hand():
    evaluator = TASK.metrics.evaluator()
    label = np.array([[[turned(0)] * 5, [turned(0)] * 4 + [[0, 0, 0]]]])
    degrees = [0, 5, 11.2, 11.3, 20, 23, 29.9, 31, 90, 0]
    predicted = np.array([[turned(d) for d in degrees]]).reshape(1, 2, 5, 3)
    evaluator.update({"normals": label}, {"normals": predicted})
    found = evaluator.result()
    assert list(found) == ["within_11", "within_22", "within_30", "mean_angle"]
    assert found["within_11"] == pytest.approx(3 / 9)
    assert found["within_22"] == pytest.approx(5 / 9)
    assert found["within_30"] == pytest.approx(7 / 9)
    assert found["mean_angle"] == pytest.approx(sum(degrees) / 9)
    assert np.isnan(list(TASK.metrics.evaluator().result().values())).all()


def test_the_trivial_answer_is_each_pixels_mean_direction():
    baseline = TASK.metrics.trivial_baseline()
    baseline.update({"normals": np.array([[[turned(10), [0, 0, 0]]], [[turned(30), [0, 0, 0]]]])})
    predicted = baseline.predict(3)["normals"]
    assert predicted.shape == (3, 1, 2, 3) and predicted.dtype == np.float32
    np.testing.assert_allclose(predicted[0, 0], [turned(20), [0, 0, -1]], atol=1e-6)


def test_a_picture_has_the_usual_colors():
    picture = TASK.visualization.visualize(
        np.zeros((1, 3, 3), np.uint8), {"normals": np.array([[[1, 0, 0], [0, 0, -1], [0, 0, 0]]])}
    )
    np.testing.assert_array_equal(picture, [[[255, 128, 128], [128, 128, 0], [0, 0, 0]]])


def test_what_is_no_direction_is_wrong_by_180_degrees():
    label = np.tile(np.array([0.0, 0.0, -1.0]), (1, 2, 2, 1))
    for bad in (np.nan, np.inf):
        predicted = label.copy()
        predicted[0, 0, 0], predicted[0, 0, 1] = bad, 0.0
        evaluator, quality = TASK.metrics.evaluator(), TASK.metrics.quality()
        for found in (evaluator, quality):
            found.update({"normals": label}, {"normals": predicted})
        assert evaluator.result()["mean_angle"] == 90.0 and evaluator.result()["within_11"] == 0.5
        assert quality.result()["mean_angle"] == 0.0


def test_a_stride_is_at_least_1_and_divides_the_size():
    with pytest.raises(UserError, match="normals: loss_stride .* received 0"):
        Normals(name="normals", loss_stride=0)
    with pytest.raises(UserError, match="divides 64 x 32 pixels, received 5"):
        Normals(name="normals", loss_stride=5).head.build((64, 32), {})
