"""The classifiers of keras.applications: their levels, their pixels, their weights."""

import contextlib
import sys

import keras
import numpy as np
import pytest

import programs
from fakes.random_examples import KIND, train, training
from must_keras.errors import UserError
from must_keras.inference.model import backbone_of
from must_keras.modeling.loading import load_model
from must_keras.modeling.pretrained import _ADDRESSES, Pretrained
from must_keras.runs.fingerprint import describe
from must_keras.training.building import build_model
from must_keras.training.initialization import FromCheckpoint
from must_keras.training.layer_calls import StochasticDepth
from must_keras.training.network import BACKBONE, Network
from must_keras.training.strategy import make_strategy

NORM = {"momentum": 0.8, "epsilon": 1e-4, "synchronized": True}
# Where keras.applications finds what downloads.
FILE_UTILS = sys.modules[keras.utils.get_file.__module__]
# The smallest of each family: {name: (function, last layers of C2 to C4)}; C5 is the output.
FAMILIES = {
    "mobilenet_v3_small": (
        "MobileNetV3Small",
        ("expanded_conv_project_bn", "expanded_conv_2_add", "expanded_conv_7_add"),
    ),
    "mobilenet_v2": ("MobileNetV2", ("block_2_add", "block_5_add", "block_12_add")),
    "mobilenet": ("MobileNet", ("conv_pw_3_relu", "conv_pw_5_relu", "conv_pw_11_relu")),
    "mobilenet_v3_large": (
        "MobileNetV3Large",
        ("expanded_conv_2_add", "expanded_conv_5_add", "expanded_conv_11_add"),
    ),
    "resnet50": ("ResNet50", ("conv2_block3_out", "conv3_block4_out", "conv4_block6_out")),
    "resnet50_v2": ("ResNet50V2", ("conv2_block2_out", "conv3_block3_out", "conv4_block5_out")),
    "densenet121": ("DenseNet121", ("pool2_relu", "pool3_relu", "pool4_relu")),
    "efficientnet_b0": ("EfficientNetB0", ("block2b_add", "block3b_add", "block5c_add")),
    "efficientnet_v2_b0": ("EfficientNetV2B0", ("block2b_add", "block3b_add", "block5e_add")),
    "efficientnet_v2_s": ("EfficientNetV2S", ("block2d_add", "block3d_add", "block5i_add")),
    "convnext_tiny": (
        "ConvNeXtTiny",
        tuple(f"convnext_tiny_downsampling_block_{i}" for i in range(3)),
    ),
}
FAST = ("mobilenet_v3_small", "mobilenet_v2", "mobilenet")


def slow_but(fast, cases):
    """Parameters of a test; all but the `fast` ones are slow."""
    values = [(one, one if isinstance(one, tuple) else (one,)) for one in cases]
    slow = pytest.mark.slow
    return [pytest.param(*v, marks=[] if one in fast else slow) for one, v in values]


def randomized(function, size=(64, 96), **arguments):
    """A classifier without its top, with statistics and biases that no fresh one has."""
    model = getattr(keras.applications, function)(
        include_top=False, weights=None, input_shape=(*size, 3), **arguments
    )
    rng = np.random.default_rng(4)
    model.set_weights(
        [
            w if w.ndim > 1 else rng.uniform(0.5, 1.5, w.shape).astype(w.dtype)
            for w in model.get_weights()
        ]
    )
    return model


def expected_of(model, name, images):
    function, ends = FAMILIES[name]
    module = sys.modules[getattr(keras.applications, function).__module__]
    tensors = []
    for end in ends:
        layer = model.get_layer(end)
        # What ConvNeXt adds has no layer: it is what the next stage receives.
        is_next = isinstance(layer, keras.Sequential)
        tensors.append(layer._inbound_nodes[-1].input_tensors[0] if is_next else layer.output)
    levels = dict(zip(("C2", "C3", "C4", "C5"), [*tensors, model.output], strict=True))
    return keras.Model(model.input, levels)(module.preprocess_input(images.copy()))


def imagenet_statistics(model):
    """Give EfficientNet's Normalization what its published file has: deviations as variances."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization) and layer.weights:
            layer.set_weights(
                [*np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]), np.array(0)]
            )
    return model


def with_published_statistics(model, monkeypatch, tmp_path):
    """The same network as Keras makes it when it downloads the file itself."""
    model.save(tmp_path / "whole.h5")
    monkeypatch.setattr(FILE_UTILS, "get_file", lambda *_, **__: tmp_path / "whole.h5")
    return keras.applications.EfficientNetB0(
        include_top=False, weights="imagenet", input_shape=model.input.shape[1:]
    )


@pytest.mark.parametrize("name", slow_but(FAST, FAMILIES))
def test_features_are_those_of_the_classifier(name, tmp_path, monkeypatch):
    model = imagenet_statistics(randomized(FAMILIES[name][0]))
    model.save_weights(tmp_path / "notop.weights.h5")
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    original = model
    if name == "efficientnet_b0":
        original = with_published_statistics(model, monkeypatch, tmp_path)
    expected = expected_of(original, name, images)
    backbone = Pretrained(name, weights=tmp_path / "notop.weights.h5")
    ours = backbone.build((64, 96), NORM)
    ours.set_weights(backbone.checkpoint())
    for level, value in ours(images).items():
        scale = float(np.abs(expected[level]).max())
        np.testing.assert_allclose(value, expected[level], rtol=1e-4, atol=1e-4 * scale)


@contextlib.contextmanager
def no_weights():
    """Networks of which only shapes are asked: their weights are never made."""
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        keras.utils.clear_session()


@pytest.mark.slow
@pytest.mark.parametrize("name", _ADDRESSES)
def test_every_name_has_its_strides(name):
    """Of other sizes too: an odd side is halved upwards, as the pyramid expects it."""
    with no_weights():
        model = Pretrained(name).build(None, NORM)
        for height, width in ((64, 96), (101, 67), (33, 129)):
            shapes = model.compute_output_shape((1, height, width, 3))
            for level, stride in zip(("C2", "C3", "C4", "C5"), (4, 8, 16, 32), strict=True):
                assert shapes[level][1:3] == (-(-height // stride), -(-width // stride)), level
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, keras.layers.BatchNormalization):
            assert (layer.momentum, layer.synchronized) == (0.8, True)
            assert layer.epsilon != NORM["epsilon"]
        assert not isinstance(layer, keras.layers.Dropout)


@pytest.mark.slow
@pytest.mark.parametrize("name", _ADDRESSES)
def test_the_file_is_the_one_that_keras_downloads(name, monkeypatch):
    asked = []

    def get_file(fname, origin, **_):
        asked.append((fname, origin))
        raise FileNotFoundError

    monkeypatch.setattr(FILE_UTILS, "get_file", get_file)
    with no_weights(), pytest.raises(FileNotFoundError):
        Pretrained(name)._function(include_top=False, input_shape=(224, 224, 3))
    assert asked == [(_ADDRESSES[name].rpartition("/")[2], _ADDRESSES[name])]


@pytest.mark.parametrize("name", ["vgg16", "xception", "resnet5", "resnet50v2"])
def test_a_name_that_does_not_fit(name):
    with pytest.raises(
        UserError, match=f"keras.applications has no {name!r} with feature maps"
    ) as e:
        Pretrained(name)
    assert e.value.key == "name" and e.value.allowed == tuple(_ADDRESSES)


def test_without_a_network(monkeypatch, tmp_path):
    def get_file(*, origin, **_):
        raise Exception(f"URL fetch failure on {origin}: None -- Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    for backbone, problem in (
        (Pretrained("mobilenet"), "cannot be downloaded: None -- Name or service not known; "),
        (Pretrained("mobilenet", weights=tmp_path / "gone.h5"), "there is no file .*gone.h5; "),
    ):
        with pytest.raises(UserError, match=problem) as error:
            backbone.checkpoint_sha256()
        assert error.value.remedy == (
            "fetch https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/"
            "mobilenet_1_0_224_tf_no_top.h5 where there is a network, and give "
            "Pretrained('mobilenet', weights=path)"
        )


def test_it_is_known_by_its_name():
    assert describe(Pretrained("mobilenet", weights="x.h5")) == {
        "type": "Pretrained", "name": "mobilenet",
    }  # fmt: skip


@pytest.fixture(scope="module")
def small():
    return Pretrained("mobilenet_v3_small").build((64, 96), NORM)


def test_two_builds_have_equal_names(small):
    other = Pretrained("mobilenet_v3_small").build((64, 96), NORM)
    names = [variable.path for variable in small.variables]
    assert names == [variable.path for variable in other.variables]
    assert len(set(names)) == len(names)


def test_saved_it_needs_plain_keras_alone(small, tmp_path):
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    small.save(tmp_path / "backbone.keras")
    np.savez(tmp_path / "expected.npz", image=image, **small(image))
    programs.run(["-c", PLAIN], cwd=tmp_path, check=True)
    assert load_model(tmp_path / "backbone.keras", remedy="").count_params()


PLAIN = """
import sys, keras, numpy as np
expected = dict(np.load("expected.npz"))
model = keras.saving.load_model("backbone.keras")
found = model(expected.pop("image"))
assert set(found) == set(expected) == {"C2", "C3", "C4", "C5"}
for level, feature in expected.items():
    np.testing.assert_allclose(found[level], feature, rtol=1e-4, atol=1e-4)
assert not any(name.startswith("must_keras") for name in sys.modules)
"""


@pytest.mark.parametrize(
    ("name", "blocks"),
    slow_but((("mobilenet_v3_small", 6),), [("mobilenet_v3_small", 6), ("convnext_tiny", 18)]),
)
def test_residual_branches_can_be_dropped(name, blocks, tmp_path):
    """ConvNeXt's too, whose sums are no layers in keras.applications."""
    model = Pretrained(name).build((64, 64), NORM)
    StochasticDepth(model, 0.5)
    adds = [layer for layer in model.layers if isinstance(layer, keras.layers.Add)]
    branches = [one.call.keywords["branch"] for one in adds if "call" in vars(one)]
    assert len(branches) == blocks
    for add, branch in zip(adds, branches, strict=True):
        below = add.input[branch]._keras_history.operation
        assert "project_bn" in below.name or "identity" in below.name, "not the block's input"


@pytest.mark.slow
def test_the_file_of_a_whole_classifier(tmp_path):
    """Of a published one, in the older of the two formats."""
    whole = keras.applications.MobileNetV2(weights=None)
    whole.save(tmp_path / "whole.h5")
    found = Pretrained("mobilenet_v2", weights=tmp_path / "whole.h5").checkpoint()
    for ours, theirs in zip(found, whole.get_weights()[:-2], strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_an_efficientnet_that_normalizes_otherwise(tmp_path):
    """Its features would be those of other pixels."""
    randomized("EfficientNetB0").save_weights(tmp_path / "own.weights.h5")
    with pytest.raises(UserError, match="own.weights.h5 normalizes by .* expected ") as error:
        Pretrained("efficientnet_b0", weights=tmp_path / "own.weights.h5").checkpoint()
    assert error.value.key == "weights"


def test_the_file_of_another_classifier(tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    other.save(tmp_path / "other.h5")
    with pytest.raises(UserError, match="other.h5 does not fit mobilenet_v3_small: ") as error:
        Pretrained("mobilenet_v3_small", weights=tmp_path / "other.h5").checkpoint()
    assert "\n" not in str(error.value) and error.value.key == "weights"


@pytest.mark.slow
def test_a_student_is_trained_from_it(tmp_path):
    """With every option that changes what layers compute, and with a frozen backbone."""
    randomized("MobileNetV3Small").save_weights(tmp_path / "own.weights.h5")
    backbone = Pretrained("mobilenet_v3_small", weights=tmp_path / "own.weights.h5")
    network = Network(backbone=backbone, size=64, channels=32)
    run = training(2, batch=4, learning_rate=0.01, stochastic_depth=0.5, recompute=True)
    with make_strategy("one").scope():
        model = build_model(network, [KIND], seed=3, **(run.of_model() | {"norm": NORM}))
        assert FromCheckpoint().apply(model, network) == [BACKBONE]
        run.compile(model)
        before = model.get_layer(BACKBONE).get_weights()
        train(model, tmp_path / "run", run, tasks=(KIND,))
    for a, b in zip(before, backbone.checkpoint(), strict=True):
        np.testing.assert_array_equal(a, b)
    exported = backbone_of(model)
    found = exported(np.full((1, 101, 67, 3), 99.0, "float32"))
    assert [found[f"C{i}"].shape[1:3] for i in range(2, 6)] == [(26, 17), (13, 9), (7, 5), (4, 3)]
    image = np.random.default_rng(0).uniform(0, 255, (1, 64, 64, 3)).astype("float32")
    own = model.get_layer(BACKBONE)(image)["C5"]
    np.testing.assert_allclose(exported(image)["C5"], own, rtol=1e-3, atol=1e-3)
    after = model.get_layer(BACKBONE).get_weights()
    assert all(np.isfinite(w).all() for w in after)
    assert sum(not np.array_equal(a, b) for a, b in zip(before, after, strict=True)) > 200
