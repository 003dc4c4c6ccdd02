"""The head that predicts features, and the statistics of the features."""

import keras
import numpy as np
import pytest

from must_keras.modeling.feature_head import ChannelStatistics, FeatureHead, teacher_features

RANDOM = np.random.default_rng(0)
# Of 64 x 64 pixels: all; the upper half, of which C4's third row of 16 pixels is padding; nothing.
AREA = np.float32([[0, 0, 64, 64], [0, 0, 32, 64], [0, 0, 0, 0]])
CHANNELS = {"C3": 3, "C4": 5, "C5": 7}
STUDENT = {
    "P3": RANDOM.normal(size=(3, 8, 8, 4)).astype("float32"),
    "P4": RANDOM.normal(size=(3, 4, 4, 4)).astype("float32"),
    "C5": RANDOM.normal(size=(3, 2, 2, 6)).astype("float32"),
}


def test_statistics_are_those_of_the_shown_cells():
    """Image by image: the mean over its cells without padding, then over the images."""
    maps, vectors = RANDOM.normal(2.0, 3.0, (3, 4, 4, 5)), RANDOM.normal(size=(3, 7))
    maps, vectors = np.float32(maps), np.float32(vectors)
    statistics = ChannelStatistics()
    for part in (slice(0, 1), slice(1, 3)):
        features = {"C4": maps[part], "C5": vectors[part]}
        statistics.add(features, AREA[part], size=(64, 64))
    found = statistics.result()
    cells = np.concatenate([maps[0].reshape(-1, 5), *[maps[1, :2].reshape(-1, 5)] * 2])
    for level, values in (("C4", cells), ("C5", vectors[:2])):
        mean, deviation = found[level]
        np.testing.assert_allclose(mean, values.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(deviation, values.std(0), rtol=1e-4)


def test_a_silent_channel_has_a_hundredth_of_the_deviation_of_its_level():
    statistics = ChannelStatistics()
    values = np.float32([[0.0, 1.0], [0.0, -1.0]])
    statistics.add({"C5": values}, AREA[:2], size=(64, 64))
    mean, deviation = statistics.result()["C5"]
    np.testing.assert_allclose(mean, 0.0)
    np.testing.assert_allclose(deviation, [0.01 / np.sqrt(2), 1.0], rtol=1e-6)
    nothing = ChannelStatistics()
    nothing.add({"C5": np.zeros((2, 2))}, AREA[:2], size=(64, 64))
    assert (nothing.result()["C5"][1] > 0).all()


def test_each_level_is_projected_cell_by_cell():
    statistics = {k: (np.arange(n, dtype="float32"), np.full(n, 2.0)) for k, n in CHANNELS.items()}
    head = FeatureHead(CHANNELS, statistics, size=(64, 64), name="features")
    found = head(STUDENT | {"area": AREA})
    assert {k: tuple(v.shape) for k, v in found.items()} == {
        "C3": (3, 8, 8, 3), "C4": (3, 4, 4, 5), "C5": (3, 7)
    }  # fmt: skip
    inner, outer = head.hidden["C3"].get_weights(), head.last["C3"].get_weights()
    slow = np.maximum(STUDENT["P3"] @ inner[0] + inner[1], 0) @ outer[0] + outer[1]
    np.testing.assert_allclose(found["C3"], slow, rtol=1e-4, atol=1e-5)
    inner, outer = head.hidden["C5"].get_weights(), head.last["C5"].get_weights()
    pooled = np.stack([STUDENT["C5"][0].mean((0, 1)), STUDENT["C5"][1, :1].mean((0, 1))])
    slow = np.maximum(pooled @ inner[0] + inner[1], 0) @ outer[0] + outer[1]
    np.testing.assert_allclose(found["C5"][:2], slow, rtol=1e-4, atol=1e-5)
    standard = head.standardize("C4", np.float32([0.0, 1.0, 2.0, 5.0, 0.0]))
    np.testing.assert_allclose(standard, [0.0, 0.0, 0.0, 1.0, -2.0])
    assert len(head.non_trainable_weights) == 6 and len(head.trainable_weights) == 12


def test_weights_carry_the_statistics():
    """As a checkpoint does: the head that is built again has none."""
    statistics = {k: (np.full(n, 3.0), np.full(n, 4.0)) for k, n in CHANNELS.items()}
    one = FeatureHead(CHANNELS, statistics, size=(64, 64), name="features")
    other = FeatureHead.from_config(one.get_config())
    for head in (one, other):
        head(STUDENT | {"area": AREA})
    other.set_weights(one.get_weights())
    np.testing.assert_array_equal(other.standardize("C5", np.full(7, 11.0, "float32")), 2.0)


def test_a_teachers_last_level_is_averaged_over_the_area():
    image = keras.Input((64, 64, 3))
    levels = {f"C{i}": keras.layers.AveragePooling2D(2**i)(image) for i in range(2, 6)}
    images = RANDOM.uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    found = teacher_features(keras.Model(image, levels), images, AREA[:2])
    assert set(found) == {"C3", "C4", "C5"} and found["C3"].shape == (2, 8, 8, 3)
    whole, half = images[0].mean((0, 1)), images[1, :32].mean((0, 1))
    np.testing.assert_allclose(found["C5"], [whole, half], rtol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_predictions_are_in_full_precision(policy):
    head = FeatureHead(CHANNELS, size=(64, 64), name="features", dtype=policy)
    found = head(STUDENT | {"area": AREA})
    assert {v.dtype.name for v in found.values()} == {"float32"}
