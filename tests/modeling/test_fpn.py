import keras
import numpy as np
import pytest

import programs
from must_keras.modeling.fpn import any_size, build_neck

NORM = {"momentum": 0.9, "epsilon": 1e-4, "synchronized": False}
LEVELS = ("P3", "P4", "P5", "P6", "P7")


def inputs(height: int, width: int, channels: int = 6) -> dict[str, keras.KerasTensor]:
    return {
        level: keras.Input((height // stride, width // stride, channels), name=level)
        for level, stride in (("C3", 8), ("C4", 16), ("C5", 32))
    }


@pytest.fixture(scope="module")
def neck() -> keras.Model:
    return build_neck(inputs(64, 96), channels=4, norm=NORM)


def features(model: keras.Model, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        level: random.normal(size=(2, *tensor.shape[1:])).astype("float32")
        for level, tensor in model.input.items()
    }


def test_levels_have_their_strides(neck):
    assert {level: tuple(x.shape[1:]) for level, x in neck.output.items()} == {
        "P2": (16, 24, 4),
        "P3": (8, 12, 4),
        "P4": (4, 6, 4),
        "P5": (2, 3, 4),
        "P6": (1, 2, 4),
        "P7": (1, 1, 4),
    }


def convolve(x: np.ndarray, layer: keras.layers.Conv2D) -> np.ndarray:
    """The obvious loop over output cells; zeros around, "same" as TensorFlow pads."""
    kernel, bias = (np.asarray(w, np.float64) for w in layer.get_weights())
    size, stride = kernel.shape[0], layer.strides[0]
    out_shape = [-(-side // stride) for side in x.shape[1:3]]
    padding = [
        max((out - 1) * stride + size - side, 0)
        for out, side in zip(out_shape, x.shape[1:3], strict=True)
    ]
    before = [p // 2 for p in padding]
    widths = [(0, 0), *((b, p - b) for b, p in zip(before, padding, strict=True)), (0, 0)]
    padded = np.pad(np.asarray(x, np.float64), widths)
    out = np.zeros((len(x), *out_shape, kernel.shape[-1]))
    for row in range(out_shape[0]):
        for column in range(out_shape[1]):
            top, left = row * stride, column * stride
            patch = padded[:, top : top + size, left : left + size]
            out[:, row, column] = np.einsum("bijc,ijco->bo", patch, kernel) + bias
    return out


def test_every_level_is_what_the_description_says(neck):
    x = features(neck)
    layer = neck.get_layer
    normal = 1.0 / np.sqrt(1.0 + NORM["epsilon"])
    p5 = convolve(x["C5"], layer("lateral_5"))
    p4 = convolve(x["C4"], layer("lateral_4")) + p5.repeat(2, axis=1).repeat(2, axis=2)
    p3 = convolve(x["C3"], layer("lateral_3")) + p4.repeat(2, axis=1).repeat(2, axis=2)
    expected = {
        "P3": convolve(p3, layer("output_3")),
        "P4": convolve(p4, layer("output_4")),
        "P5": convolve(p5, layer("output_5")),
    }
    expected["P6"] = convolve(expected["P5"], layer("output_6"))
    expected["P7"] = convolve(np.maximum(expected["P6"], 0), layer("output_7"))
    found = neck(x, training=False)
    for level in LEVELS:
        np.testing.assert_allclose(found[level], normal * expected[level], rtol=1e-4, atol=1e-4)


def bilinear(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Half-pixel centers, edges repeated; one output pixel after the other."""
    out = np.zeros((len(x), *size, x.shape[-1]))
    for row in range(size[0]):
        for column in range(size[1]):
            y = np.clip((row + 0.5) * x.shape[1] / size[0] - 0.5, 0, x.shape[1] - 1)
            z = np.clip((column + 0.5) * x.shape[2] / size[1] - 0.5, 0, x.shape[2] - 1)
            for i in {int(np.floor(y)), int(np.ceil(y))}:
                for j in {int(np.floor(z)), int(np.ceil(z))}:
                    weight = (1 - abs(y - i)) * (1 - abs(z - j))
                    out[:, row, column] += weight * x[:, i, j]
    return out


def test_the_fused_level_is_the_sum_of_all(neck):
    found = neck(features(neck, seed=1), training=False)
    expected = sum(bilinear(np.asarray(found[level]), (16, 24)) for level in LEVELS)
    np.testing.assert_allclose(found["P2"], expected, rtol=1e-4, atol=1e-4)


def test_batch_normalization_is_each_levels_own_and_as_the_recipe_says(neck):
    norms = [x for x in neck.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert len(norms) == 5
    assert all((norm.momentum, norm.epsilon) == (0.9, 1e-4) for norm in norms)
    # No ReLU after it: both signs come out.
    found = neck(features(neck), training=True)
    assert all(np.min(found[level]) < 0 < np.max(found[level]) for level in LEVELS)


@pytest.mark.parametrize(("height", "width"), [(72, 64), (64, 112), (None, None)])
def test_a_size_that_does_not_halve_is_an_error(height, width):
    def level(stride: int):
        shape = [None if side is None else -(-side // stride) for side in (height, width)]
        return keras.Input((*shape, 6))

    odd = {"C3": level(8), "C4": level(16), "C5": level(32)}
    with pytest.raises(ValueError, match="multiples of 32"):
        build_neck(odd, channels=4, norm=NORM)


def test_two_builds_have_equal_names(neck):
    other = build_neck(inputs(64, 96), channels=4, norm=NORM)
    names = [variable.path for variable in neck.variables]
    assert names == [variable.path for variable in other.variables]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("size", [(64, 96), (32, 32), (96, 224), (256, 128)])
def test_a_neck_of_any_size_equals_one_of_that_size(neck, size):
    """The weights do not depend on the size for which a neck was built."""
    other = build_neck(inputs(*size), channels=4, norm=NORM)
    other.set_weights(neck.get_weights())
    x = features(other, seed=2)
    expected, found = other(x, training=False), any_size(neck)(x, training=False)
    assert set(found) == set(expected)
    for level, feature in expected.items():
        np.testing.assert_allclose(found[level], feature, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(100, 75), (33, 31), (1, 129), (200, 8)])
def test_a_neck_of_any_size_takes_sides_that_do_not_halve(neck, size):
    x = {
        level: np.ones((2, *(-(-side // stride) for side in size), 6), np.float32)
        for level, stride in (("C3", 8), ("C4", 16), ("C5", 32))
    }
    found = any_size(neck)(x, training=False)
    for level, feature in found.items():
        cells = [-(-side // 2 ** int(level[1])) for side in size]
        if level == "P2":
            cells = [2 * side for side in x["C3"].shape[1:3]]
        assert feature.shape == (2, *cells, 4) and np.isfinite(feature).all()


def test_a_neck_of_any_size_has_copies_of_the_weights(neck):
    before = neck.get_weights()
    anywhere = any_size(neck)
    for variable in anywhere.variables:
        variable.assign(variable * 0.0)
    for one, other in zip(before, neck.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_saved_it_needs_plain_keras_alone(neck, tmp_path):
    x = features(neck)
    neck.save(tmp_path / "neck.keras")
    any_size(neck).save(tmp_path / "any_size.keras")
    np.savez(tmp_path / "expected.npz", **x, **neck(x, training=False))
    code = """
import sys, keras, numpy as np
data = dict(np.load("expected.npz"))
for name in ("neck.keras", "any_size.keras"):
    model = keras.saving.load_model(name)
    found = model({key: value for key, value in data.items() if key[0] == "C"})
    assert set(found) == {"P2", "P3", "P4", "P5", "P6", "P7"}
    for level, feature in found.items():
        np.testing.assert_allclose(feature, data[level], rtol=1e-4, atol=1e-4)
assert model.input["C3"].shape == (None, None, None, 6)
assert not any(name.startswith(("keras_cv", "must_keras")) for name in sys.modules)
"""
    programs.run(["-c", code], cwd=tmp_path, check=True)
