"""Levels, pixels and copies of small networks, of which all is known by hand."""

import keras
import numpy as np
import pytest
from keras import layers

from must_keras.modeling.feature_levels import copy_levels, find_levels, pixel_statistics
from must_keras.ops.precision import policy as policy_scope

MEAN, VARIANCE = (0.485, 0.456, 0.406), (0.229**2, 0.224**2, 0.225**2)


def bgr(x):
    return x[..., ::-1] - np.array([103.939, 116.779, 123.68])


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize(
    ("preprocess", "begin", "expected"),
    [
        (bgr, [], ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0), True)),
        (lambda x: x / 127.5 - 1, [], ((127.5,) * 3, (127.5,) * 3, False)),
        (lambda x: x, [("Rescaling", {"scale": 1 / 128, "offset": -1})],
         ((128.0,) * 3, (128.0,) * 3, False)),
        (lambda x: x, [("Rescaling", {"scale": 1 / 255}),
                       ("Normalization", {"mean": MEAN, "variance": VARIANCE})],
         ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375), False)),
        # Its statistics are weights, which `learned` stands for.
        (lambda x: x, [("Rescaling", {"scale": 1 / 255}), ("Normalization", {})],
         ((25.5, 51.0, 76.5), (127.5, 63.75, 51.0), False)),
    ],
)  # fmt: skip
def test_pixels_of_a_classifier(policy, preprocess, begin, expected):
    with policy_scope(policy):
        image = x = keras.Input((8, 8, 3))
        for name, arguments in begin:
            x = getattr(layers, name)(**arguments)(x)
        model = keras.Model(image, layers.Conv2D(1, 1)(x))
        found = pixel_statistics(model, preprocess, learned=((0.1, 0.2, 0.3), (0.5, 0.25, 0.2)))
    assert found == expected


def downsampled(x, channels, name):
    """A convolution of stride 2, padded as for even sides alone."""
    x = layers.ZeroPadding2D(((0, 1), (0, 1)))(x)
    return layers.Conv2D(channels, 3, strides=2, name=name)(x)


@pytest.fixture(scope="module")
def network():
    """Strides 2 to 32: narrow blocks with and without a sum, expansions before the strides."""
    image = keras.Input((64, 64, 3))
    x = downsampled(layers.Rescaling(1 / 255)(image), 4, "stem")
    x = block = downsampled(x, 4, "c2")  # No sum; widened to 8 for the next.
    x = layers.BatchNormalization(name="widened_bn")(layers.Conv2D(8, 1, name="widened")(x))
    x = downsampled(layers.ReLU()(x), 4, "c3_first")
    x = layers.Dropout(0.5)(layers.Conv2D(4, 1)(x)) + x  # A sum that is no layer.
    x = downsampled(x, 6, "c4_first")
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = layers.Multiply(name="c4")([x, layers.Conv2D(6, 1, activation="sigmoid")(gate)])
    x = keras.Sequential([layers.LayerNormalization(), layers.Conv2D(8, 2, 2, name="c5_conv")])(x)
    x = layers.Activation("relu", name="c5")(x)
    assert block.shape[1:] == (16, 16, 4)
    return keras.Model(image, x)


def test_levels_end_with_a_block(network):
    levels = find_levels(network)
    assert levels.pop("C3").startswith("add")
    assert levels == {"C2": "c2", "C4": "c4", "C5": "c5"}
    assert find_levels(keras.Model(network.input, network.get_layer("c2").output)) == {"C2": "c2"}


def test_a_copy_computes_the_same_and_rounds_up(network):
    image = keras.Input((None, None, 3))
    copy = keras.Model(image, copy_levels(network, image, find_levels(network)))
    copy.set_weights(network.get_weights())
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(copy(pixels / 255)["C5"], network(pixels), rtol=1e-4, atol=1e-4)
    shapes = copy.compute_output_shape((1, 67, 33, 3))
    assert [shapes[f"C{i}"][1:3] for i in range(2, 6)] == [(17, 9), (9, 5), (5, 3), (3, 2)]
    kinds = {type(layer) for layer in copy.layers}
    assert layers.Add in kinds
    assert not kinds & {layers.Dropout, layers.ZeroPadding2D, layers.Rescaling, keras.Sequential}
