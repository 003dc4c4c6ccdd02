import numpy as np
import pytest

from must_keras.errors import UserError
from must_keras.tasks.classification import Classification

CLASSES = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu")


def task(**kwargs) -> Classification:
    return Classification(name="animal", classes=CLASSES[:4], **kwargs)


def label(probabilities, labeled=None) -> dict[str, np.ndarray]:
    probabilities = np.asarray(probabilities, np.float32)
    ones = np.ones(len(probabilities)) if labeled is None else labeled
    return {"probabilities": probabilities, "labelled": np.asarray(ones, np.float32)}


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> float:
    likelihood = np.exp(logits) / np.exp(logits).sum()
    return -sum(t * np.log(p) for t, p in zip(target, likelihood, strict=True))


def test_the_loss_is_the_cross_entropy_with_hard_and_soft_labels():
    logits = np.random.default_rng(0).normal(size=(3, 4)).astype("float32")
    y = label([[0, 1, 0, 0], [0.1, 0.2, 0.3, 0.4], [0, 0, 0, 0]], [1, 1, 0])
    loss = task().head.loss(y, {"logits": logits}, None, np.zeros(3, np.int32))
    expected = [cross_entropy(logits[i], y["probabilities"][i]) for i in range(2)]
    np.testing.assert_allclose(loss, [*expected, 0.0], rtol=1e-5)
    np.testing.assert_array_equal(task().labels.weight(y), [1, 1, 0])


def test_label_smoothing_moves_a_share_to_all_classes():
    logits = np.array([[0.3, -0.2, 1.0, 0.0]], "float32")
    loss = task(label_smoothing=0.2).head.loss(
        label([[0, 1, 0, 0]]), {"logits": logits}, None, None
    )
    expected = cross_entropy(logits[0], np.array([0.05, 0.85, 0.05, 0.05]))
    np.testing.assert_allclose(loss[0], expected, rtol=1e-5)


def test_a_soft_label_is_not_smoothed_again():
    """Nor is its part of the fingerprint there where nothing is smoothed."""
    logits = np.array([[0.3, -0.2, 1.0, 0.0]] * 2, "float32")
    soft = [0.1, 0.7, 0.15, 0.05]
    loss = task(label_smoothing=0.2).head.loss(
        label([soft, [0, 0, 0, 1]]), {"logits": logits}, None, None
    )
    wanted = [cross_entropy(logits[0], np.array(p)) for p in (soft, [0.05, 0.05, 0.05, 0.85])]
    np.testing.assert_allclose(loss, wanted, rtol=1e-5)
    assert task(label_smoothing=0.2).describe()["smoothed"] == "one-hot"
    assert "smoothed" not in task().describe()


def test_a_record_keeps_the_whole_vector():
    predicted = {"probabilities": np.array([0.1, 0.6, 0.05, 0.25], "float32")}
    record = task().records.from_prediction(predicted, np.array([0, 0, 64, 64]), (64, 64))
    np.testing.assert_array_equal(record["classes"], [1, 3, 0, 2])
    decoded = task().records.to_label(record, None)
    np.testing.assert_allclose(decoded["probabilities"], predicted["probabilities"], rtol=1e-6)
    assert decoded["labelled"] == 1.0


def test_the_mass_beyond_top_k_is_spread_evenly():
    top2 = task(top_k=2)
    predicted = {"probabilities": np.array([0.1, 0.6, 0.05, 0.25], "float32")}
    record = top2.records.from_prediction(predicted, np.array([0, 0, 64, 64]), (64, 64))
    assert len(record["classes"]) == 2
    np.testing.assert_allclose(
        top2.records.to_label(record, None)["probabilities"], [0.075, 0.6, 0.075, 0.25], rtol=1e-5
    )


def test_hard_takes_the_most_likely_class():
    hard = task(hard=True)
    predicted = {"probabilities": np.array([0.1, 0.3, 0.35, 0.25], "float32")}
    record = hard.records.from_prediction(predicted, np.array([0, 0, 64, 64]), (64, 64))
    np.testing.assert_array_equal(
        hard.records.to_label(record, None)["probabilities"], [0, 0, 1, 0]
    )


def test_a_threshold_is_an_error():
    record = {"classes": np.array([0]), "probabilities": np.array([1.0], "float32")}
    with pytest.raises(UserError, match=r"animal: .* no threshold"):
        task().records.to_label(record, 0.5)


@pytest.mark.parametrize(
    "fields", [{"label_smoothing": 1.0}, {"label_smoothing": -0.1}, {"top_k": 0}]
)
def test_impossible_values_are_errors(fields):
    with pytest.raises(UserError, match=next(iter(fields))):
        task(**fields)
    with pytest.raises(UserError, match="distinct"):
        Classification(name="x", classes=("a", "a"))


def test_top1_counts_labeled_images():
    evaluator = task().metrics.evaluator()
    y = label([[0, 1, 0, 0], [0.1, 0.2, 0.6, 0.1], [1, 0, 0, 0], [1, 0, 0, 0]], [1, 1, 1, 0])
    predicted = {"probabilities": np.eye(4, dtype="float32")[[1, 2, 3, 0]]}
    evaluator.update(y, predicted)
    assert evaluator.result() == {"top1": pytest.approx(2 / 3)}
    assert np.isnan(task().metrics.evaluator().result()["top1"])


def test_top5_comes_with_more_than_five_classes():
    many = Classification(name="animal", classes=CLASSES)
    evaluator = many.metrics.evaluator()
    order = np.array([[0.3, 0.2, 0.15, 0.12, 0.1, 0.08, 0.05]], "float32")
    for true in (0, 4, 5):
        evaluator.update(label(np.eye(7)[[true]]), {"probabilities": order})
    found = evaluator.result()
    assert list(found) == ["top1", "top5"]
    assert found == {"top1": pytest.approx(1 / 3), "top5": pytest.approx(2 / 3)}


def test_quality_leaves_out_images_without_a_pseudo_label():
    quality = task().metrics.quality()
    true = label(np.eye(4)[[0, 1]])
    quality.update(true, label([[0.9, 0.1, 0, 0], [0, 0, 0, 0]], [1, 0]))
    assert quality.result()["top1"] == 1.0


def test_the_trivial_baseline_is_the_most_frequent_class():
    baseline = task().metrics.trivial_baseline()
    baseline.update(label(np.eye(4)[[2, 2, 1, 0]], [1, 1, 1, 0]))
    baseline.update(label(np.eye(4)[[1, 2]]))
    predicted = baseline.predict(3)["probabilities"]
    assert predicted.shape == (3, 4) and predicted.dtype == np.float32
    np.testing.assert_allclose(predicted[0], [0, 0.4, 0.6, 0])


def test_a_picture_is_large_enough_to_read():
    image = np.full((32, 32, 3), 200, np.uint8)
    picture = task().visualization.visualize(
        image, {"probabilities": np.array([0.7, 0.2, 0.1, 0.0])}
    )
    assert picture.dtype == np.uint8 and min(picture.shape[:2]) >= 128
    empty = task().visualization.visualize(
        image, {"probabilities": np.zeros(4), "labelled": np.zeros(())}
    )
    assert (picture != empty).any()
