import keras
import numpy as np
import pytest

import programs
from must_keras.errors import UserError
from must_keras.modeling.backbone import _DEVIATION, _MEAN, ResNet, scaled

NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}


@pytest.fixture(scope="module")
def small() -> keras.Model:
    return ResNet.small().build((64, 96), NORM)


def features_of_keras_cv(backbone: ResNet, image):
    from keras_cv.models import ResNetBackbone

    inputs = scaled(image, mean=_MEAN, deviation=_DEVIATION)
    network = ResNetBackbone(
        stackwise_filters=list(backbone.filters), stackwise_blocks=list(backbone.blocks),
        stackwise_strides=[1, 2, 2, 2], include_rescaling=False, block_type=backbone.block_type,
        input_shape=tuple(inputs.shape[1:]), input_tensor=inputs,
    )  # fmt: skip
    names = network.pyramid_level_inputs
    return {f"C{level}": network.get_layer(names[f"P{level}"]).output for level in range(2, 6)}


def layers_of(model: keras.Model) -> list[keras.Layer]:
    return list(model._flatten_layers(include_self=False))


def test_resnet50_is_the_published_network():
    model = ResNet().build(None, NORM)
    # keras.applications.ResNet50(include_top=False) has 23,587,712: with a bias in each of its 53
    # convolutions, 26,560 more, which BatchNormalization makes useless.
    assert model.count_params() == 23_561_152
    assert ResNet.of_depth(50) == ResNet()
    convs = [layer for layer in layers_of(model) if isinstance(layer, keras.layers.Conv2D)]
    assert len(convs) == 53


@pytest.mark.parametrize(("depth", "num_convs"), [(18, 20), (34, 36), (101, 104), (152, 155)])
def test_depth_counts_layers(depth, num_convs):
    """One stem, the blocks' own and the four (basic: three) shortcuts; one more is the top."""
    backbone = ResNet.of_depth(depth)
    inside = 2 if backbone.block_type == "basic_block" else 3
    shortcuts = 3 if backbone.block_type == "basic_block" else 4
    assert 1 + inside * sum(backbone.blocks) + shortcuts == num_convs
    assert 1 + inside * sum(backbone.blocks) + 1 == depth


def test_levels_have_their_strides(small):
    shapes = {level: tuple(feature.shape) for level, feature in small.output.items()}
    assert shapes == {
        "C2": (None, 16, 24, 64),
        "C3": (None, 8, 12, 128),
        "C4": (None, 4, 6, 256),
        "C5": (None, 2, 3, 512),
    }
    assert small.input.name == "image" and small.name == "backbone"


def test_any_size_can_be_asked_for():
    model = ResNet.small().build(None, NORM)
    assert model(np.zeros((1, 32, 64, 3), "float32"))["C5"].shape == (1, 1, 2, 512)


@pytest.mark.parametrize("size", [(60, 64), (64, 33), (0, 32)])
def test_a_size_that_is_no_multiple_of_32_is_an_error(size):
    with pytest.raises(ValueError, match="multiples of 32"):
        ResNet.small().build(size, NORM)


def test_the_stride_stands_in_the_1x1_convolution(small):
    convs = [layer for layer in layers_of(small) if isinstance(layer, keras.layers.Conv2D)]
    assert {c.kernel_size for c in convs if c.strides == (2, 2)} == {(7, 7), (1, 1)}


def test_every_batch_normalization_has_the_recipes_values(small):
    norms = [x for x in layers_of(small) if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 1 + 4 * 4
    for norm in norms:
        assert (norm.momentum, norm.epsilon, norm.synchronized) == (0.9, 1e-4, False)
    model = ResNet.small().build((32, 32), NORM | {"synchronized": True})
    norms = [x for x in layers_of(model) if isinstance(x, keras.layers.BatchNormalization)]
    assert all(norm.synchronized for norm in norms)


def test_the_image_is_normalised_inside(small):
    statistics = small.get_layer("imagenet_statistics")
    mean = np.array([123.675, 116.28, 103.53], "float32")
    deviation = np.array([58.395, 57.12, 57.375], "float32")
    image = np.stack([mean, mean + deviation])[None]
    np.testing.assert_allclose(statistics(image[None])[0, 0], [[0, 0, 0], [1, 1, 1]], atol=1e-4)


def test_two_builds_have_equal_names(small):
    other = ResNet.small().build((64, 96), NORM)
    names = [variable.path for variable in small.variables]
    assert names == [variable.path for variable in other.variables]
    assert len(set(names)) == len(names)
    other.set_weights(small.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    for level, feature in small(image).items():
        np.testing.assert_array_equal(feature, other(image)[level])


def test_saved_it_needs_plain_keras_alone(small, tmp_path):
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    small.save(tmp_path / "backbone.keras")
    np.savez(tmp_path / "expected.npz", image=image, **small(image))
    code = """
import sys, keras, numpy as np
expected = dict(np.load("expected.npz"))
model = keras.saving.load_model("backbone.keras")
found = model(expected.pop("image"))
assert set(found) == set(expected) == {"C2", "C3", "C4", "C5"}
for level, feature in expected.items():
    np.testing.assert_allclose(found[level], feature, rtol=1e-4, atol=1e-4)
assert not any(name.startswith(("keras_cv", "must_keras")) for name in sys.modules)
"""
    programs.run(["-c", code], cwd=tmp_path, check=True)


@pytest.mark.parametrize(
    "backbone", [ResNet.small(), ResNet.of_depth(18)], ids=["block", "basic_block"]
)
def test_keras_cv_has_the_same_network(backbone, monkeypatch):
    """The same layers with the same arguments, and from the same seed the same weights."""
    keras.utils.set_random_seed(5)
    own = backbone.build(None, NORM)
    monkeypatch.setattr(ResNet, "_features", features_of_keras_cv)
    keras.utils.set_random_seed(5)
    of_keras_cv = backbone.build(None, NORM)
    assert own.get_config() == of_keras_cv.get_config()
    assert [v.path for v in own.weights] == [v.path for v in of_keras_cv.weights]
    for a, b in zip(own.get_weights(), of_keras_cv.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_depth_that_nobody_published_is_an_error():
    with pytest.raises(UserError, match="18, 34, 50, 101, 152 layers, received 20"):
        ResNet.of_depth(20)


@pytest.mark.slow
def test_resnet152_is_the_published_network():
    """torchvision's ResNet-152 has 60,192,808 weights, 2,049,000 of them in the classifier."""
    model = ResNet.of_depth(152).build((64, 64), {"epsilon": 1e-4})
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    assert trainable == 60_192_808 - 2_049_000
    features = model(np.zeros((1, 64, 64, 3), "float32"))
    assert [tuple(features[f"C{i}"].shape) for i in range(2, 6)] == [
        (1, 16, 16, 256), (1, 8, 8, 512), (1, 4, 4, 1024), (1, 2, 2, 2048),
    ]  # fmt: skip
