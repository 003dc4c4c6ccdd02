"""PyTorch's ResNets: their arrangement, and their weights both ways."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

from must_keras.errors import UserError
from must_keras.modeling import torch_resnet
from must_keras.modeling.backbone import ResNet
from must_keras.modeling.residual import KERAS_CV, TORCH
from must_keras.modeling.state_dict import read_state_dict, write_state_dict
from must_keras.modeling.torch_resnet import TorchResNet, from_torch, save_torch_resnet, to_torch
from must_keras.runs.fingerprint import describe

PROGRAM = pathlib.Path(__file__).with_name("torch_features.py")
# An interpreter with torch, torchvision, timm and safetensors; this one where it has them.
TORCH_PYTHON = (
    sys.executable if importlib.util.find_spec("torchvision") else os.environ.get("TORCH_PYTHON")
)
NORM = {"momentum": 0.8, "epsilon": 1e-4, "synchronized": False}


@pytest.fixture(scope="module")
def resnet18() -> keras.Model:
    return TorchResNet(18).build((64, 96), NORM)


@pytest.fixture
def state(resnet18, monkeypatch, tmp_path):
    """A state dict of a ResNet-18, as the file that `TorchResNet(18, weights=path)` reads."""
    arrays, rng = {}, np.random.default_rng(2)
    for layer, variable, key in torch_resnet._places(resnet18):
        shape = to_torch(layer, np.empty(variable.shape)).shape
        arrays[key] = rng.uniform(0.5, 1.0, shape).astype("float32")
    arrays["bn1.num_batches_tracked"] = np.array(7)
    arrays |= {"fc.weight": np.zeros((1000, 512)), "fc.bias": np.zeros(1000)}
    monkeypatch.setattr(torch_resnet, "read_state_dict", lambda path: dict(arrays))
    (tmp_path / "resnet18.pth").write_bytes(b"")
    return arrays


def read(tmp_path):
    return TorchResNet(18, weights=tmp_path / "resnet18.pth").checkpoint()


def test_kernels_change_their_axes_and_nothing_else_does():
    kernel = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)  # [O, I, h, w]
    conv, norm = keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()
    ours = from_torch(conv, kernel)
    assert ours.shape == (4, 5, 3, 2)
    # Output 1, input 2, row 3, column 4: the last number; and one in between.
    assert ours[3, 4, 2, 1] == 119 and ours[1, 3, 0, 1] == 60 + 0 + 5 + 3
    np.testing.assert_array_equal(to_torch(conv, ours), kernel)
    np.testing.assert_array_equal(from_torch(norm, kernel[0, 0, 0]), [0, 1, 2, 3, 4])


def test_padding_is_equal_on_all_sides():
    """A kernel of ones over the numbers 0 to 15, at every second place of a 4x4 image."""
    x = keras.Input((4, 4, 1))
    sums = []
    for arrangement in (TORCH, KERAS_CV):
        model = keras.Model(x, arrangement.conv(x, 1, 3, ("a", "b"), stride=2))
        model.get_layer("a").set_weights([np.ones((3, 3, 1, 1))])
        found = model(np.arange(16.0).reshape(1, 4, 4, 1))
        sums.append(np.asarray(found)[0, :, :, 0])
    # PyTorch's padding=1: rows -1 to 1 and 1 to 3. TensorFlow's "same": rows 0 to 2 and 2 to 4.
    np.testing.assert_allclose(sums[0], [[10, 24], [51, 90]], rtol=1e-4)
    np.testing.assert_allclose(sums[1], [[45, 39], [66, 50]], rtol=1e-4)


def test_the_stride_stands_in_the_3x3_convolution():
    model = TorchResNet(50).build((64, 64), NORM)
    strides = {
        layer.name: (layer.kernel_size, layer.strides)
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.strides != (1, 1)
    }
    assert strides.pop("conv1") == ((7, 7), (2, 2))
    assert strides == {
        f"layer{stage}.0.{name}": (side, (2, 2))
        for stage in (2, 3, 4)
        for name, side in (("conv2", (3, 3)), ("downsample.0", (1, 1)))
    }
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_weights)
    assert trainable == 25_557_032 - 2_049_000, "torchvision's ResNet-50 without fc"
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {(n.momentum, n.epsilon) for n in norms} == {(0.8, 1e-5)}


def test_a_side_is_halved_upwards(resnet18):
    model = TorchResNet(18).build(None, NORM)
    shapes = model.compute_output_shape((1, 101, 67, 3))
    assert [shapes[f"C{i}"][1:3] for i in range(2, 6)] == [(26, 17), (13, 9), (7, 5), (4, 3)]
    assert {k: v.shape[1:] for k, v in resnet18.output.items()} == {
        "C2": (16, 24, 64), "C3": (8, 12, 128), "C4": (4, 6, 256), "C5": (2, 3, 512),
    }  # fmt: skip


def test_arrays_go_where_their_names_say(state, resnet18, tmp_path):
    resnet18.set_weights(read(tmp_path))
    for key, layer, place in (
        ("bn1.weight", "bn1", 0), ("bn1.bias", "bn1", 1), ("bn1.running_mean", "bn1", 2),
        ("layer4.1.bn2.running_var", "layer4.1.bn2", 3),
        ("layer2.0.downsample.1.bias", "layer2.0.downsample.1", 1),
    ):  # fmt: skip
        np.testing.assert_array_equal(resnet18.get_layer(layer).get_weights()[place], state[key])
    kernel = resnet18.get_layer("layer2.0.downsample.0").get_weights()[0]
    np.testing.assert_array_equal(kernel[0, 0], state["layer2.0.downsample.0.weight"][:, :, 0, 0].T)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"conv1.weight": None}, "has no conv1.weight; it contains bn1.weight, "),
        ({"layer1.0.conv1.weight": np.zeros((64, 64, 1, 1))},
         r"layer1.0.conv1.weight has the shape \(64, 64, 1, 1\), expected \(64, 64, 3, 3\); give the "
         "state dict of torchvision's or timm's resnet18"),
        ({"layer1.2.conv1.weight": np.zeros((64, 64, 3, 3))}, "has layer1.2.conv1.weight, which"),
    ],
)  # fmt: skip
def test_the_first_array_of_another_network_is_named(state, tmp_path, changes, message):
    for key, value in changes.items():
        state.pop(key, None)
        state |= {} if value is None else {key: value}
    with pytest.raises(UserError, match=message) as error:
        read(tmp_path)
    assert error.value.key == next(iter(changes)) and "\n" not in str(error.value)


def test_what_it_is_known_by(tmp_path):
    backbone = TorchResNet(18, weights=tmp_path / "gone.pth")
    assert describe(backbone) == {"type": "TorchResNet", "depth": 18}
    assert backbone.has_checkpoint and not TorchResNet(18).has_checkpoint
    with pytest.raises(UserError, match="there is no file .*gone.pth"):
        backbone.checkpoint_sha256()
    with pytest.raises(UserError, match=r"TorchResNet\(18\) has no weights: give weights="):
        TorchResNet(18).checkpoint()
    with pytest.raises(UserError, match="18, 34, 50, 101, 152 layers, received 20"):
        TorchResNet(20)


def test_a_student_is_written_as_it_was_read(state, resnet18, tmp_path):
    pytest.importorskip("safetensors")
    resnet18.set_weights(read(tmp_path))
    kernel, bias = np.arange(1024.0).reshape(512, 2), np.array([1.0, 2.0])
    save_torch_resnet(resnet18, tmp_path / "own.safetensors")
    save_torch_resnet(resnet18, tmp_path / "whole.safetensors", classifier=(kernel, bias))
    own, whole = (read_state_dict(tmp_path / f"{n}.safetensors") for n in ("own", "whole"))
    assert set(own) == {k for k in state if not k.startswith("fc.") and "num_batches" not in k}
    for key, value in own.items():
        np.testing.assert_array_equal(value, state[key], err_msg=key)
    assert set(whole) == set(own) | {"fc.weight", "fc.bias"}
    assert whole["fc.weight"][1, 3] == 7.0 and whole["fc.weight"].shape == (2, 512)


def test_what_cannot_be_written(resnet18, tmp_path):
    with pytest.raises(UserError, match="is no TorchResNet: torchvision has no network with its"):
        save_torch_resnet(ResNet.small().build((32, 32), NORM), tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="x.pth does not end in .safetensors"):
        write_state_dict(tmp_path / "x.pth", {})


def test_safetensors_without_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors", None)
    for use in (read_state_dict, lambda path: write_state_dict(path, {})):
        with pytest.raises(UserError, match="the package safetensors is not installed: ") as error:
            use(tmp_path / "x.safetensors")
        assert error.value.remedy == "python -m pip install -r requirements-checkpoints.txt"


def test_a_damaged_safetensors_file(tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "x.safetensors").write_bytes(b"no weights at all")
    with pytest.raises(
        UserError, match="x.safetensors cannot be read as a file of PyTorch weights"
    ):
        read_state_dict(tmp_path / "x.safetensors")
    with pytest.raises(UserError, match="there is no file .*gone.safetensors"):
        read_state_dict(tmp_path / "gone.safetensors")


def test_saved_it_needs_plain_keras_alone(resnet18, tmp_path):
    resnet18.save(tmp_path / "backbone.keras")
    again = keras.saving.load_model(tmp_path / "backbone.keras")
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype("float32")
    np.testing.assert_allclose(again(images)["C5"], resnet18(images)["C5"], rtol=1e-5, atol=1e-5)
    save = [layer.name for layer in again.layers if layer.weights]
    assert save == [layer.name for layer in resnet18.layers if layer.weights]


def in_torch(step, folder):
    command = [TORCH_PYTHON, str(PROGRAM), step, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.skipif(TORCH_PYTHON is None, reason="torch is neither here nor at TORCH_PYTHON")
def test_pytorch_computes_the_same_both_ways(tmp_path):
    pytest.importorskip("safetensors")
    in_torch("make", tmp_path)
    students, distances = {}, {}
    for path in sorted(tmp_path.glob("*.npz")):
        arrays, (library, depth) = dict(np.load(path)), path.stem.split("-")
        suffix = {"torchvision": "pth", "timm": "safetensors"}[library]
        backbone = TorchResNet(int(depth), weights=path.with_suffix(f".{suffix}"))
        model = backbone.build(None, NORM)
        model.set_weights(backbone.checkpoint())
        for number in range(2):
            for level, value in model(arrays[f"{number}/images"]).items():
                found = distance(value, arrays[f"{number}/{level}"])
                distances[path.stem] = max(found, distances.get(path.stem, 0.0))
        if library == "timm":  # Back to the other library.
            students[depth] = arrays
            width = model.output["C5"].shape[-1]
            top = (np.ones((width, 3)) * [0.1, 0.2, 0.3], np.arange(3.0))
            save_torch_resnet(
                model, tmp_path / f"student-{depth}.safetensors",
                classifier=top if depth == "18" else None,
            )  # fmt: skip
        del model
        keras.utils.clear_session()  # A gigabyte for each of the deep ones.
    print({name: f"{value:.1e}" for name, value in distances.items()})
    assert len(distances) == 10 and max(distances.values()) < 1e-4
    in_torch("load", tmp_path)
    assert set(students) == {"18", "34", "50", "101", "152"}
    for depth, expected in students.items():
        found = dict(np.load(tmp_path / f"student-{depth}.npz"))
        pooled = expected["0/C5"].mean((1, 2))
        for level in ("C2", "C3", "C4", "C5"):
            assert distance(found[level], expected[f"0/{level}"]) < 1e-5, (depth, level)
        classes = np.arange(3.0) + pooled.sum(1, keepdims=True) * [0.1, 0.2, 0.3]
        assert distance(found["top"], classes if depth == "18" else pooled) < 1e-4


def distance(found, expected) -> float:
    """The largest difference, as a share of the largest value."""
    assert np.shape(found) == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())
