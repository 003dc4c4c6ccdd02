"""Backbones that somebody else made."""

import keras
import numpy as np
import pytest
from keras import layers

from must_keras.errors import UserError
from must_keras.modeling.keras_backbone import KerasBackbone
from must_keras.runs.fingerprint import describe

NORM = {"momentum": 0.8, "epsilon": 1e-4, "synchronized": True}
LEVELS = {f"C{i}": f"stage{i}" for i in range(2, 6)}


@pytest.fixture(scope="module")
def foreign():
    """A classifier of a fixed size whose stages have names."""
    image = x = keras.Input((96, 96, 3))
    x = layers.Conv2D(4, 3, strides=2, padding="same")(x)
    for level in range(2, 6):
        x = layers.Conv2D(4 * level, 3, strides=2, padding="same")(x)
        x = layers.BatchNormalization(epsilon=1e-2)(x)
        x = layers.Activation("relu", name=f"stage{level}")(x)
    top = layers.Dense(7)(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, top)


@pytest.fixture(scope="module")
def path(foreign, tmp_path_factory):
    path = tmp_path_factory.mktemp("foreign") / "classifier.keras"
    foreign.save(path)
    return path


def test_stages_are_taken_out_with_their_weights(foreign, path):
    backbone = KerasBackbone(
        path=path, levels=LEVELS, offset=(1.0, 2.0, 3.0), scale=(2.0, 2.0, 4.0), colors="bgr"
    )
    model = backbone.build((64, 128), NORM)
    assert model.name == "backbone"
    assert {k: v.shape[1:] for k, v in model.output.items()} == {
        "C2": (16, 32, 8), "C3": (8, 16, 12), "C4": (4, 8, 16), "C5": (2, 4, 20),
    }  # fmt: skip
    model.set_weights(backbone.checkpoint())
    stages = keras.Model(foreign.input, {k: foreign.get_layer(v).output for k, v in LEVELS.items()})
    same_size = backbone.build((96, 96), NORM)
    same_size.set_weights(backbone.checkpoint())
    images = np.random.default_rng(0).uniform(0, 255, (2, 96, 96, 3)).astype("float32")
    expected = stages((images[..., ::-1] - [1, 2, 3]) / [2, 2, 4])
    for level, value in same_size(images).items():
        np.testing.assert_allclose(value, expected[level], rtol=1e-4, atol=1e-4)


def test_weights_are_fresh_until_the_checkpoint_is_asked_for(path):
    backbone = KerasBackbone(path=path, levels=LEVELS)
    keras.utils.set_random_seed(3)
    kernels = [
        [w for w in weights if w.ndim == 4]
        for weights in (backbone.build((64, 64), NORM).get_weights(), backbone.checkpoint())
    ]
    assert not any(np.allclose(a, b) for a, b in zip(*kernels, strict=True))


def test_the_epsilon_is_the_one_it_was_trained_with(path):
    model = KerasBackbone(path=path, levels=LEVELS).build((64, 64), NORM)
    norms = [
        layer
        for layer in model._flatten_layers(include_self=False)
        if isinstance(layer, layers.BatchNormalization)
    ]
    assert len(norms) == 4
    assert {(n.momentum, n.epsilon, n.synchronized) for n in norms} == {(0.8, 1e-2, True)}


def test_it_is_known_by_its_bytes(path, tmp_path):
    (tmp_path / "copy.keras").write_bytes(path.read_bytes())
    one, other = (KerasBackbone(path=p, levels=LEVELS) for p in (path, tmp_path / "copy.keras"))
    assert describe(one) == describe(other)
    assert describe(one) != describe(KerasBackbone(path=path, levels=LEVELS, colors="bgr"))


@pytest.mark.parametrize(
    ("levels", "message"),
    [
        (None, "has no names of its stages.*C2, C3, C4, C5 are absent"),
        ({**LEVELS, "C4": "stage44"}, "has no layer C4='stage44'; did you mean 'stage4'"),
        ({**LEVELS, "C4": "stage3"}, "C4 has 8x8 cells .* expected 4x4: a stride of 16"),
    ],
)
def test_levels_that_do_not_fit(path, levels, message):
    with pytest.raises(UserError, match=message):
        KerasBackbone(path=path, levels=levels).build((64, 64), NORM)


def test_files_that_are_no_model(tmp_path):
    (tmp_path / "x.keras").write_text("no model")
    with pytest.raises(UserError, match=r"x.keras cannot be read as a model"):
        KerasBackbone(path=tmp_path / "x.keras").build((64, 64), NORM)
    with pytest.raises(UserError, match=r"there is no file .*gone.keras"):
        describe(KerasBackbone(path=tmp_path / "gone.keras"))
