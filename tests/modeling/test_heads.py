import keras
import numpy as np
import pytest

from must_keras.modeling.heads import ImageHead, PixelHead

NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
WHOLE = [0.0, 0.0, 64.0, 64.0]


def reload(layer: keras.Layer) -> keras.Layer:
    return keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))


def pixel_features(channels: int = 5) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "P2": random.normal(size=(2, 16, 16, channels)).astype("float32"),
        "area": np.array([WHOLE, WHOLE], "float32"),
    }


def test_a_pixel_head_works_at_the_resolution_of_its_features():
    head = PixelHead(7, channels=4, num_convs=2, norm=NORM, name="map")
    values = head(pixel_features())["values"]
    assert values.shape == (2, 16, 16, 7) and head.name == "map"
    # Two convolutions without bias and their norms, one with bias.
    assert head.count_params() == 9 * 5 * 4 + 9 * 4 * 4 + 2 * 4 * 4 + 4 * 7 + 7


@pytest.mark.parametrize("num_convs", [0, 1, 3])
def test_a_pixel_head_starts_at_its_bias(num_convs):
    head = PixelHead(1, channels=4, num_convs=num_convs, norm=NORM, bias=1.5)
    features = pixel_features()
    features["P2"] = np.zeros_like(features["P2"])
    np.testing.assert_allclose(head(features)["values"], 1.5, atol=1e-6)


def test_a_pixel_heads_norms_follow_the_mode_and_the_recipe():
    head = PixelHead(1, channels=4, num_convs=1, norm=NORM)
    features = pixel_features()
    inference = head(features, training=False)["values"]
    training = head(features, training=True)["values"]
    assert np.abs(np.asarray(inference) - training).max() > 1e-3
    assert head.hidden[0][1].momentum == 0.9 and head.hidden[0][1].epsilon == 1e-4
    # 0.9 x 0 + 0.1 x the batch's mean.
    assert np.abs(head.hidden[0][1].moving_mean).max() > 0


def test_a_pixel_heads_weights_survive_saving(tmp_path):
    inputs = {"P2": keras.Input((16, 16, 5), name="P2"), "area": keras.Input((4,), name="area")}
    head = PixelHead(3, channels=4, num_convs=2, norm=NORM, bias=0.5, name="map")
    model = keras.Model(inputs, head(inputs))
    model.save(tmp_path / "m.keras")
    other = keras.saving.load_model(tmp_path / "m.keras")
    assert other.get_layer("map").get_config() == head.get_config()
    features = pixel_features()
    np.testing.assert_array_equal(other(features)["values"], model(features)["values"])


def image_features(area: list[float]) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    c5 = random.normal(size=(1, 2, 2, 3)).astype("float32")
    return {"C5": c5, "area": np.array([area], "float32")}


@pytest.mark.parametrize(
    ("area", "rows", "columns"),
    [
        (WHOLE, (1 / 2, 1 / 2), (1 / 2, 1 / 2)),
        ([0, 0, 32, 64], (1, 0), (1 / 2, 1 / 2)),
        ([0, 0, 48, 64], (2 / 3, 1 / 3), (1 / 2, 1 / 2)),
        ([20, 16, 64, 64], (12 / 44, 32 / 44), (1 / 3, 2 / 3)),
        ([0, 0, 10, 64], (1, 0), (1 / 2, 1 / 2)),  # thinner than half a cell
        ([30, 0, 34, 1], (1 / 2, 1 / 2), (1, 0)),
        ([0, 0, 0, 0], (0, 0), (0, 0)),  # no picture: the bias
    ],
)
def test_an_image_head_pools_the_picture_alone(area, rows, columns):
    head = ImageHead(4, size=(64, 64))
    features = image_features(area)
    pooled = np.einsum("h,w,hwc->c", rows, columns, features["C5"][0])
    logits = head(features)["logits"]
    kernel, bias = head.get_weights()
    np.testing.assert_allclose(logits[0], pooled @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_a_picture_without_padding_has_the_mean_of_all_cells():
    c5 = np.random.default_rng(0).normal(size=(1, 3, 5, 4)).astype("float32")
    head = ImageHead(4, size=(96, 160))
    logits = head({"C5": c5, "area": np.array([[0, 0, 96, 160]], "float32")})["logits"]
    kernel, bias = head.get_weights()
    np.testing.assert_allclose(logits, c5.mean((1, 2)) @ kernel + bias, rtol=1e-5, atol=1e-6)


def test_padding_does_not_matter_to_an_image_head():
    head = ImageHead(4, size=(64, 64))
    one = image_features([0, 0, 32, 64])
    other = {key: value.copy() for key, value in one.items()}
    other["C5"][:, 1] = 100.0
    np.testing.assert_allclose(head(one)["logits"], head(other)["logits"], rtol=1e-6)


def test_an_image_head_keeps_float32_and_whole_pixels_in_half_precision():
    head = ImageHead(4, size=(1024, 1024), dtype="mixed_bfloat16")
    c5 = np.zeros((1, 1024, 1, 1), "float32")
    c5[0, 511] = 1024.0
    # In bfloat16, 511 would be 512 and row 511 inside.
    one = head({"C5": c5, "area": np.array([[0, 0, 511, 1024]], "float32")})["logits"]
    bias = head.get_weights()[1]
    np.testing.assert_allclose(one[0], bias, atol=1e-6)
    assert keras.backend.standardize_dtype(one.dtype) == "float32"


@pytest.mark.parametrize(
    "head",
    [
        PixelHead(3, channels=4, num_convs=2, norm=NORM, bias=0.5, name="map"),
        ImageHead(4, size=(64, 32), name="class"),
    ],
    ids=["pixel", "image"],
)
def test_configs_go_there_and_back(head):
    assert reload(head).get_config() == head.get_config()
