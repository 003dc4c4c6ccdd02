"""Tags: unknown ones count nowhere; metrics against slow versions and numbers made by hand."""

import math

import numpy as np
import pytest

from must_keras.errors import UserError
from must_keras.tasks.tags import TagFrequency, Tags, TagScores, average_precision
from must_keras.tasks.thresholds import DROPPED, AtPrecision, PredictionCounts

TASK = Tags(name="scene", classes=("beach", "night", "people"))


def test_the_loss_is_the_mean_over_the_known_tags():
    logits = np.float32([[1.0, -2.0, 0.5], [3.0, 0.0, 80.0], [0.0, 0.0, 0.0]])
    tags = np.float32([[1, 0, -1], [0.25, -1, 0], [-1, -1, -1]])
    loss = TASK.head.loss({"tags": tags}, {"logits": logits}, None, np.zeros(3, np.int32))

    def entropy(logit, target):
        p = 1.0 / (1.0 + math.exp(-logit))
        return -target * math.log(p) - (1.0 - target) * math.log1p(-p)

    first = (entropy(1.0, 1) + entropy(-2.0, 0)) / 2
    # 80 - 0 for a tag that is not there: no logarithm of zero.
    second = (entropy(3.0, 0.25) + 80.0) / 2
    np.testing.assert_allclose(loss, [first, second, 0.0], rtol=1e-5)
    np.testing.assert_array_equal(TASK.labels.weight({"tags": tags}), [1, 1, 0])


def test_an_unknown_tag_has_no_gradient():
    import tensorflow as tf

    logits = tf.Variable([[1.0, -2.0, 0.5]])
    with tf.GradientTape() as tape:
        label = {"tags": tf.constant([[1.0, 0.0, -1.0]])}
        loss = tf.reduce_sum(TASK.head.loss(label, {"logits": logits}, None, None))
    gradient = tape.gradient(loss, logits).numpy()[0]
    sigmoid = 1 / (1 + np.exp(-np.float64([1.0, -2.0])))
    np.testing.assert_allclose(gradient, [*(sigmoid - [1, 0]) / 2, 0.0], rtol=1e-5)


def test_what_a_record_becomes():
    record = {"tags": np.float32([0.2, 0.5, 0.9])}
    to_label = TASK.records.to_label
    np.testing.assert_array_equal(to_label(record, None)["tags"], record["tags"])
    # 0.8 and more: yes; less than 0.2: no. 0.2 itself is neither.
    np.testing.assert_array_equal(to_label(record, 0.8)["tags"], [-1, -1, 1])
    np.testing.assert_array_equal(to_label(record, 0.7)["tags"], [0, -1, 1])
    # Below 0.5 there is no room between.
    np.testing.assert_array_equal(to_label(record, 0.3)["tags"], [0, 1, 1])
    np.testing.assert_array_equal(to_label(record, (0.7, DROPPED, 0.95))["tags"], [0, -1, -1])
    with pytest.raises(UserError, match="not within"):
        to_label(record, 1.5)


def slow_average_precision(true, scores):
    """The mean over the images that have the tag of the precision at their score."""
    of_each = [
        sum(t for t, s in zip(true, scores, strict=True) if s >= own)
        / sum(1 for s in scores if s >= own)
        for has, own in zip(true, scores, strict=True)
        if has
    ]
    return sum(of_each) / len(of_each)


def test_average_precision():
    # Ranks 1 and 3 are right: (1/1 + 2/3) / 2.
    found = average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.1]))
    assert found == pytest.approx(5 / 6)
    # Equal scores: the share of the images that have the tag.
    assert average_precision(np.arange(10) < 3, np.full(10, 0.4)) == pytest.approx(0.3)
    assert math.isnan(average_precision(np.zeros(3, bool), np.ones(3)))
    random = np.random.default_rng(0)
    for _ in range(20):
        true, scores = random.random(30) < 0.4, random.integers(0, 8, 30) / 8
        true[0] = True
        expected = slow_average_precision(true.tolist(), scores.tolist())
        assert average_precision(true, scores) == pytest.approx(expected)


def test_scores_count_no_unknown_tag():
    scores = TagScores(num_classes=3)
    true = np.float32([[1, 0, -1], [0, 1, -1], [1, -1, -1], [1, 1, -1]])
    predicted = np.float32([[0.9, 0.6, 1], [0.8, 0.7, 1], [0.3, 1.0, 1], [0.6, 0.2, 1]])
    for rows in (slice(0, 1), slice(1, 4)):
        scores.update({"tags": true[rows]}, {"tags": predicted[rows]})
    found = scores.result()
    # beach: yes 0.9, no 0.8, yes 0.6, yes 0.3; night: yes 0.7, no 0.6, yes 0.2.
    beach, night = (1 + 2 / 3 + 3 / 4) / 3, (1 + 2 / 3) / 2
    assert found["tag_map"] == pytest.approx((beach + night) / 2)
    # At 0.5 beach is found 3 times, right 2 of 3; night is found 2 times, right 1 of 2.
    assert found["macro_f1"] == pytest.approx((2 * 2 / (3 + 3) + 2 * 1 / (2 + 2)) / 2)
    assert found["micro_f1"] == pytest.approx(2 * 3 / (5 + 5))
    nothing = TagScores(num_classes=2)
    nothing.update({"tags": np.float32([[-1, 0]])}, {"tags": np.float32([[0.5, 0.5]])})
    assert all(math.isnan(value) for value in nothing.result().values())


def test_a_tag_that_a_pseudo_label_leaves_open_is_no_error():
    scores = TagScores(num_classes=2)
    scores.update({"tags": np.float32([[1, 1]])}, {"tags": np.float32([[1, -1]])})
    assert scores.result() == {"tag_map": 1.0, "micro_f1": 1.0, "macro_f1": 1.0}


def test_the_trivial_baseline_is_each_tags_frequency():
    baseline = TagFrequency(num_classes=3)
    baseline.update({"tags": np.float32([[1, 0, -1], [1, -1, -1], [0, 1, -1]])})
    np.testing.assert_allclose(baseline.predict(2)["tags"], [[2 / 3, 0.5, 0]] * 2)


def test_thresholds_at_a_precision_are_of_each_tag():
    counts = PredictionCounts(3)
    true = np.float32([[1, 0, -1], [0, 1, -1], [1, 0, -1]])
    predicted = np.float32([[0.9, 0.2, 1], [0.6, 0.7, 1], [0.8, 0.5, 1]])
    counts.add(TASK.metrics.scored_predictions({"tags": true}, {"tags": predicted}))
    assert counts.at(0, 0.7) == (2, 2, 2) and counts.at(0, 0.5) == (3, 2, 2)
    assert counts.at(2, 0.0) == (0, 0, 0)
    choices = AtPrecision(1.0, minimum=1).choose(counts, lowest=0.0)
    assert [choice.threshold for choice in choices] == [0.8, 0.7, DROPPED]


def test_tags_of_another_list():
    table = np.array([2, -1, 0, 0])
    found = TASK.labels.relabel({"tags": np.float32([1, 1, 0, 1])}, table)
    np.testing.assert_array_equal(found["tags"], [1, -1, 1])
    assert TASK.labels.relabel({"tags": np.float32([-1, 1, -1, -1])}, table) is None


def test_answers_of_another_model():
    read = TASK.external.decode
    logits = np.float32([[0.0, 100.0, -100.0]])
    np.testing.assert_allclose(read(logits, "logits", (1, 1))["tags"], [[0.5, 1, 0]], atol=1e-6)
    with pytest.raises(UserError, match=r"lie in -100 to 100, expected 0 to 1: are they logits"):
        read(logits, "probabilities", (1, 1))
    with pytest.raises(UserError, match="shape"):
        read(logits[:, :2], "logits", (1, 1))
