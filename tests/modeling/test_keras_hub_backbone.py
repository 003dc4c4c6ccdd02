"""Backbones of KerasHub: presets of few random weights, in an environment with it."""

import json
import sys

import keras
import numpy as np
import pytest

from must_keras.errors import UserError
from must_keras.modeling.keras_hub_backbone import KerasHub
from must_keras.modeling.loading import load_model
from must_keras.modeling.torch_resnet import TorchResNet, save_torch_resnet
from must_keras.runs.fingerprint import describe

NORM = {"momentum": 0.8, "epsilon": 1e-4, "synchronized": True}
MEAN, DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
IMAGENET = {"scale": [1 / d for d in DEVIATION],
            "offset": [-m / d for m, d in zip(MEAN, DEVIATION, strict=True)]}  # fmt: skip


def test_a_preset_is_identified_without_keras_hub(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    (tmp_path / "config.json").write_text("{}")
    folder = KerasHub(tmp_path)
    assert describe(KerasHub("resnet_50_imagenet")) == {
        "type": "KerasHub", "preset": "resnet_50_imagenet",
    }  # fmt: skip
    before = describe(folder), folder.checkpoint_sha256()
    (tmp_path / "model.weights.h5").write_bytes(b"other weights")
    assert describe(folder) == before[0] and folder.checkpoint_sha256() != before[1]
    assert folder.has_checkpoint
    for use in (folder.checkpoint, lambda: folder.build(None, NORM)):
        with pytest.raises(
            UserError, match=r"pip install keras-hub, or the extra must-keras\[hub\]"
        ):
            use()
    with pytest.raises(UserError, match="preset is a float"):
        KerasHub(0.5)


@pytest.fixture(scope="module")
def hub():
    return pytest.importorskip("keras_hub")


def saved(backbone, converter, path):
    """A preset with statistics and biases that no fresh network has."""
    random = np.random.default_rng(0)
    backbone.set_weights(
        [w + random.uniform(0.01, 0.1, w.shape).astype(w.dtype) for w in backbone.get_weights()]
    )
    backbone.save_to_preset(str(path))
    converter.save_to_preset(str(path))
    return path


def check(preset, backbone, inputs, tmp_path, sides=(64, 96)):
    """The levels of KerasHub's own network, for a preset, and in a file for plain Keras."""
    model = KerasHub(preset).build(None, NORM)
    images = np.random.default_rng(1).uniform(0, 255, (2, *sides, 3)).astype("float32")
    model.set_weights(KerasHub(preset).checkpoint())
    expected = keras.Model(backbone.inputs, backbone.pyramid_outputs)(inputs(images))
    found = model(images)
    assert list(found) == ["C2", "C3", "C4", "C5"]
    for level, stride in zip(found, (4, 8, 16, 32), strict=True):
        value, other = (
            keras.ops.convert_to_numpy(v) for v in (found[level], expected[f"P{level[1]}"])
        )
        assert value.shape[1:3] == tuple(side // stride for side in sides)
        assert np.abs(value - other).max() < 1e-3 * np.abs(other).max()
    model.save(tmp_path / "backbone.keras")
    again = load_model(tmp_path / "backbone.keras", remedy="")(images)
    np.testing.assert_allclose(again["C5"], found["C5"], rtol=1e-5)


def normalized(images):
    return (images - np.float32(MEAN)) / np.float32(DEVIATION)


@pytest.mark.slow
def test_a_resnet(hub, tmp_path):
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[8], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 2, 1, 1], stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block", image_shape=(None, None, 3),
    )  # fmt: skip
    converter = hub.layers.ResNetImageConverter(image_size=(96, 96), **IMAGENET)
    check(saved(backbone, converter, tmp_path / "preset"), backbone, normalized, tmp_path)


@pytest.mark.slow
def test_a_resnet_with_activations_before_the_convolutions(hub, tmp_path):
    backbone = hub.models.ResNetBackbone(
        input_conv_filters=[8], input_conv_kernel_sizes=[7], stackwise_num_filters=[64, 8, 8, 8],
        stackwise_num_blocks=[1, 1, 1, 1], stackwise_num_strides=[1, 2, 2, 2],
        block_type="bottleneck_block", use_pre_activation=True, image_shape=(None, None, 3),
    )  # fmt: skip
    converter = hub.layers.ResNetImageConverter(image_size=(96, 96), scale=1 / 127.5, offset=-1.0)
    path = saved(backbone, converter, tmp_path / "preset")
    check(path, backbone, lambda images: images / 127.5 - 1, tmp_path)


@pytest.mark.slow
def test_a_densenet_of_pixels_from_0_to_1(hub, tmp_path):
    backbone = hub.models.DenseNetBackbone(
        stackwise_num_repeats=[1, 2, 1, 1], compression_ratio=0.5, growth_rate=8
    )
    converter = hub.layers.DenseNetImageConverter(image_size=(96, 96), scale=1 / 255)
    path = saved(backbone, converter, tmp_path / "preset")
    check(path, backbone, lambda images: images / 255, tmp_path)


@pytest.mark.slow
def test_weights_of_timm(hub, tmp_path):
    """A folder as hf://timm/resnet18.a1_in1k: config.json and model.safetensors."""
    pytest.importorskip("safetensors")
    ours = TorchResNet(18).build(None, NORM)
    random = np.random.default_rng(0)
    ours.set_weights(
        [w + random.uniform(0.01, 0.1, w.shape).astype(w.dtype) for w in ours.get_weights()]
    )
    folder = tmp_path / "timm"
    folder.mkdir()
    save_torch_resnet(ours, folder / "model.safetensors")
    statistics = {
        "mean": [m / 255 for m in MEAN], "std": [d / 255 for d in DEVIATION],
        "input_size": [3, 224, 224], "interpolation": "bicubic",
    }  # fmt: skip
    config = {"architecture": "resnet18", "num_classes": 1000, "pretrained_cfg": statistics}
    (folder / "config.json").write_text(json.dumps(config))
    model = KerasHub(folder).build(None, NORM)
    model.set_weights(KerasHub(folder).checkpoint())
    for sides in ((64, 96), (70, 51)):
        images = random.uniform(0, 255, (1, *sides, 3)).astype("float32")
        for level, value in ours(images).items():
            value = keras.ops.convert_to_numpy(value)
            found = keras.ops.convert_to_numpy(model(images)[level])
            assert np.abs(found - value).max() < 1e-3 * np.abs(value).max()


@pytest.mark.slow
def test_presets_that_are_no_backbones(hub, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="the preset .* cannot be loaded: .*Unrecognized format"):
        KerasHub(tmp_path).build(None, NORM)
    own = hub.models.EfficientNetBackbone(
        stackwise_width_coefficients=[1.0] * 6, stackwise_depth_coefficients=[1.0] * 6,
        stackwise_kernel_sizes=[3] * 6, stackwise_num_repeats=[1] * 6,
        stackwise_input_filters=[8] * 6, stackwise_output_filters=[8] * 6,
        stackwise_expansion_ratios=[1, 4, 4, 4, 6, 6], stackwise_strides=[1, 2, 2, 2, 1, 2],
        stackwise_squeeze_and_excite_ratios=[0, 0, 0, 0.25, 0.25, 0.25],
        stackwise_block_types=["fused"] * 3 + ["unfused"] * 3,
        stackwise_force_input_filters=[0] * 6, stackwise_nores_option=[False] * 6,
        input_shape=(None, None, 3), num_features=8,
    )  # fmt: skip
    vit = hub.models.MiTBackbone(
        layerwise_num_heads=[1] * 4, layerwise_sr_ratios=[8, 4, 2, 1], layerwise_depths=[1] * 4,
        layerwise_patch_sizes=[7, 3, 3, 3], layerwise_strides=[4, 2, 2, 2], num_layers=4,
        hidden_dims=[8, 16, 24, 32], max_drop_path_rate=0.1, image_shape=(64, 64, 3),
    )  # fmt: skip
    converter = hub.layers.EfficientNetImageConverter(image_size=(64, 64), **IMAGENET)
    for model, problem in (
        (own, "has layers that Keras has not: .*MBConvBlock"),
        (vit, "has no feature maps of the strides of C5"),
    ):
        path = saved(model, converter, tmp_path / model.name)
        with pytest.raises(UserError, match=problem):
            KerasHub(path).build(None, NORM)
