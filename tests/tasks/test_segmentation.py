import numpy as np
import pytest
import tensorflow as tf

from must_keras.errors import UserError
from must_keras.ops import maps
from must_keras.ops.letterboxing import letterbox
from must_keras.ops.views import View
from must_keras.tasks.segmentation import IGNORE, Segmentation

CLASSES = ("wall", "floor", "ball")


def task(**kwargs) -> Segmentation:
    return Segmentation(name="map", classes=CLASSES, **kwargs)


def random_map(seed: int = 0, shape: tuple[int, ...] = (2, 16, 16)) -> np.ndarray:
    classes = np.random.default_rng(seed).integers(0, 4, shape)
    return np.where(classes == 3, IGNORE, classes).astype(np.uint8)


def reference_loss(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """One pixel after the other."""
    sums = np.zeros(len(label))
    for (b, y, x), true in np.ndenumerate(label):
        if true != IGNORE:
            values = logits[b, y, x].astype(np.float64)
            sums[b] += np.log(np.exp(values).sum()) - values[true]
    return sums


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_loss_is_the_cross_entropy_of_pixels_with_a_class(stride):
    label = random_map()
    logits = np.random.default_rng(1).normal(size=(2, 4, 4, 3)).astype("float32")
    t = task(loss_stride=stride)
    seen = label[:, stride // 2 :: stride, stride // 2 :: stride]
    resized = np.asarray(maps.at_stride(maps.resize(logits, label.shape[1:]), stride))
    loss = t.head.loss({"map": label}, {"values": logits}, None, None)
    np.testing.assert_allclose(loss, reference_loss(resized, seen), rtol=1e-5)
    np.testing.assert_array_equal(t.labels.weight({"map": label}), (seen != IGNORE).sum((1, 2)))


def test_logits_are_resized_before_the_class_is_chosen():
    logits = np.zeros((1, 1, 2, 3), "float32")
    logits[0, 0, 0], logits[0, 0, 1] = [4, 0, 0], [0, 2, 0]
    predicted = task().predictions.decode({"values": logits}, None, (1, 8))
    # Half-pixel centers: the second half of class 0's excess over class 1 reaches further.
    position = np.clip((np.arange(8) + 0.5) / 4 - 0.5, 0, 1)
    first, second = 4 * (1 - position), 2 * position
    np.testing.assert_array_equal(predicted["map"][0, 0], np.where(first > second, 0, 1))
    total = np.exp(first) + np.exp(second) + 1
    expected = np.exp(np.maximum(first, second)) / total
    np.testing.assert_allclose(predicted["confidence"][0, 0], expected, rtol=1e-5)


def test_a_view_never_mixes_classes_and_ignores_padding():
    stored = random_map(shape=(20, 31))
    seen = task().labels.warp(
        {"map": tf.constant(stored)}, letterbox(tf.constant([40, 62]), (64, 64))
    )
    classes = np.asarray(seen["map"])
    assert classes.dtype == np.uint8 and set(np.unique(classes)) <= {0, 1, 2, IGNORE}
    visible = round(64 * 40 / 62)
    assert (classes[visible:] == IGNORE).all() and (classes[:visible] != IGNORE).any()


def test_a_mirror_turns_the_map_round():
    stored = random_map(shape=(16, 16))
    mirror = View(matrix=tf.constant([[1 / 16, 0, 0], [0, -1 / 16, 1.0]]), size=(16, 16))
    seen = task().labels.warp({"map": tf.constant(stored)}, mirror)["map"]
    np.testing.assert_array_equal(seen, stored[:, ::-1])


def record_of(confidence: np.ndarray, classes: np.ndarray) -> dict[str, bytes]:
    area = np.array([0, 0, *confidence.shape])
    return task().records.from_prediction(
        {"map": classes, "confidence": confidence}, area, confidence.shape
    )


def test_a_confidence_is_a_byte_rounded_down():
    confidence = np.array([[0.0, 0.4999, 0.5, 0.502, 0.9999, 1.0000001]], "float32")
    record = record_of(confidence, np.zeros((1, 6), np.uint8))
    np.testing.assert_array_equal(
        maps.decode_png(record["confidence"]), [[0, 127, 127, 128, 254, 255]]
    )


def test_pixels_under_the_threshold_are_ignored():
    confidence = np.array([[0.3, 0.4999, 0.5, 0.502, 0.9]], "float32")
    record = record_of(confidence, np.array([[0, 1, 2, 0, 1]], np.uint8))
    # ceil(255 x 0.5) = 128: of 0.5 itself a byte contains only "at least 127 / 255".
    np.testing.assert_array_equal(
        task().records.to_label(record, 0.5)["map"], [[IGNORE, IGNORE, IGNORE, 0, 1]]
    )
    np.testing.assert_array_equal(task().records.to_label(record, None)["map"], [[0, 1, 2, 0, 1]])
    np.testing.assert_array_equal(task().records.to_label(record, 0.0)["map"], [[0, 1, 2, 0, 1]])
    each = task().records.to_label(record, (0.2, 0.8, 0.4))["map"]
    np.testing.assert_array_equal(each, [[0, IGNORE, 2, 0, 1]])


def test_a_threshold_of_a_whole_byte_keeps_that_byte():
    for byte in range(256):
        confidence = np.full((1, 1), (byte + 0.01) / 255, "float32")
        record = record_of(np.minimum(confidence, 1.0), np.zeros((1, 1), np.uint8))
        assert task().records.to_label(record, byte / 255)["map"][0, 0] == 0


@pytest.mark.parametrize("threshold", [-0.1, 1.5, (0.5, 0.5)])
def test_an_impossible_threshold_is_an_error(threshold):
    record = record_of(np.ones((1, 1), "float32"), np.zeros((1, 1), np.uint8))
    with pytest.raises(UserError, match="map: .*threshold"):
        task().records.to_label(record, threshold)


def test_a_record_holds_the_picture_without_padding():
    classes = random_map(shape=(32, 32))
    outputs = {"map": classes, "confidence": np.ones((32, 32), "float32")}
    record = task().records.from_prediction(outputs, np.array([0, 0, 48, 64], "float32"), (64, 64))
    np.testing.assert_array_equal(task().records.to_label(record, 0.5)["map"], classes[:24])


def reference_miou(true: np.ndarray, predicted: np.ndarray) -> float:
    known = true != IGNORE
    values = []
    for k in range(len(CLASSES)):
        both = (known & (true == k) & (predicted == k)).sum()
        either = (known & ((true == k) | (predicted == k))).sum()
        if either:
            values.append(both / either)
    return float(np.mean(values))


def test_miou_is_over_the_summed_confusion():
    true, predicted = random_map(0), np.minimum(random_map(1), 2)
    evaluator = task().metrics.evaluator()
    for i in range(2):
        evaluator.update({"map": true[i : i + 1]}, {"map": predicted[i : i + 1]})
    found = evaluator.result()
    assert list(found) == ["miou", "pixel_accuracy"]
    known = true != IGNORE
    assert found["miou"] == pytest.approx(reference_miou(true, predicted))
    assert found["pixel_accuracy"] == pytest.approx((true == predicted)[known].mean())


def test_classes_in_neither_are_left_out():
    evaluator = task().metrics.evaluator()
    evaluator.update({"map": np.array([[[0, 0, 1, IGNORE]]])}, {"map": np.array([[[0, 1, 1, 2]]])})
    assert evaluator.result()["miou"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert np.isnan(task().metrics.evaluator().result()["miou"])


def test_quality_is_over_pixels_that_the_pseudo_label_names():
    quality = task().metrics.quality()
    true = np.array([[[0, 0, 1, 1, IGNORE]]], np.uint8)
    predicted = np.array([[[0, IGNORE, 1, IGNORE, 2]]], np.uint8)
    quality.update({"map": true}, {"map": predicted})
    assert quality.result() == {"miou": 1.0, "pixel_accuracy": 1.0, "labelled_share": 0.5}


def test_the_trivial_baseline_is_each_pixels_most_frequent_class():
    baseline = task().metrics.trivial_baseline()
    baseline.update({"map": np.array([[[0, 2]], [[0, 1]], [[1, IGNORE]]], np.uint8)})
    baseline.update({"map": np.array([[[1, 1]], [[1, IGNORE]]], np.uint8)})
    predicted = baseline.predict(4)
    np.testing.assert_array_equal(predicted["map"], [[[1, 1]]] * 4)
    np.testing.assert_allclose(predicted["confidence"][0], [[3 / 5, 2 / 3]])


@pytest.mark.parametrize("classes", [(), ("a", "a"), tuple(map(str, range(256)))])
def test_impossible_class_lists_are_errors(classes):
    with pytest.raises(UserError, match="classes"):
        Segmentation(name="map", classes=classes)


@pytest.mark.parametrize("stride", [0, -2])
def test_a_stride_is_at_least_1(stride):
    with pytest.raises(UserError, match="map: loss_stride"):
        task(loss_stride=stride)


def test_a_stride_divides_the_size():
    with pytest.raises(UserError, match="divides 64 x 64"):
        task(loss_stride=3).head.build((64, 64), {})


@pytest.mark.parametrize(
    "threshold", [("low", "high", "low"), "high", {"wall": None}, {"wall": "x"}]
)
def test_thresholds_that_are_no_numbers_are_one_line(threshold):
    with pytest.raises(UserError, match=r"^map: .*(expected a number|give one number)"):
        task().records.check_threshold(threshold)
