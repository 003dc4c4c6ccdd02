"""PyTorch's weight files as arrays, without PyTorch; nothing in a file is executed."""

import collections
import io
import math
import os
import pathlib
import pickle
import types
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from must_keras.arrays import check_expansion
from must_keras.errors import UserError, reason
from must_keras.files import replacing

_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
# The first of the pickles in a file that torch.save wrote before 1.6.
_MAGIC = 0x1950A86A20F9469CFC6C


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """An unpickler of dictionaries of tensors, which refuses everything else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if module == "torch" and name in _DTYPES:
            return np.dtype(_DTYPES[name])
        raise pickle.UnpicklingError(f"it names {module}.{name}, which weights do not need")

    def persistent_load(self, pid: Any) -> _Storage:
        kind, dtype, key, *_ = pid
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"it refers to {kind!r}, which is no storage of numbers")
        return _Storage(str(key), dtype)


def _tensor(storage: _Storage, offset: int, size: Any, stride: Any, *_: Any) -> _Tensor:
    return _Tensor(storage, int(offset), tuple(map(int, size)), tuple(map(int, stride)))


def read_state_dict(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Return {name: array} of a file of PyTorch weights.

    Args:
        path: of a .safetensors file, or of one of `torch.save(model.state_dict(), path)`, of both
            formats that torch.save has had.

    Raises:
        UserError: there is no such file, it contains anything but a dictionary of dense tensors,
            or the package for .safetensors is not installed.

    Example:
        read_state_dict("efficientnet_lite0.pth")["_fc.bias"].shape  # (1000,)

    """
    is_safetensors = pathlib.Path(path).suffix == ".safetensors"
    library = _safetensors() if is_safetensors else None
    try:
        if library is not None:
            return library.load_file(path)
        with open(path, "rb") as file:
            tensors, storages = _zipped(file) if zipfile.is_zipfile(file) else _legacy(file)
        return {str(name): _array(tensor, storages) for name, tensor in tensors.items()}
    except FileNotFoundError:
        raise UserError(f"there is no file {path}", path=path) from None
    # The errors of damaged archives and pickles are no closed list.
    except Exception as error:
        problem = f"cannot be read as a file of PyTorch weights: {reason(error)}"
        raise UserError.at(path, problem) from error


def write_state_dict(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write {name: array} as a .safetensors file, which PyTorch's loaders read.

    Raises:
        UserError: the path has another suffix, or the package is not installed.
    """
    path = pathlib.Path(path)
    if path.suffix != ".safetensors":
        raise UserError.at(path, "does not end in .safetensors; give such a path")
    # Its writer takes the bytes as they lie in memory, transposed ones too.
    dense = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    library = _safetensors()
    with replacing(path) as temporary:
        library.save_file(dense, temporary, metadata={"format": "pt"})


def _safetensors() -> types.ModuleType:
    try:
        import safetensors.numpy
    except ModuleNotFoundError:
        problem = "the package safetensors is not installed"
        remedy = "python -m pip install -r requirements-checkpoints.txt"
        raise UserError(f"{problem}: {remedy}", remedy=remedy) from None
    return safetensors.numpy


def _zipped(file: BinaryIO) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read an archive of data.pkl and data/<key>, in one folder."""
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(names) != 1:
            raise ValueError("it has no data.pkl")
        root = names[0].removesuffix("data.pkl")
        order = root + "byteorder"
        if order in archive.namelist() and archive.read(order) != b"little":
            raise ValueError("its numbers are big-endian")
        tensors = _Unpickler(io.BytesIO(archive.read(names[0]))).load()
        keys = {t.storage.key for t in tensors.values() if isinstance(t, _Tensor)}
        names = {key: f"{root}data/{key}" for key in keys}
        for name in names.values():
            check_expansion(archive.getinfo(name), f"its {name}")
        return tensors, {key: archive.read(name) for key, name in names.items()}


def _legacy(file: BinaryIO) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read consecutive pickles, then the length and the numbers of every storage."""
    file.seek(0)
    if _Unpickler(file).load() != _MAGIC:
        raise ValueError("it does not begin as one")
    _Unpickler(file).load()  # The version of the protocol.
    if not _Unpickler(file).load().get("little_endian"):
        raise ValueError("its numbers are big-endian")
    tensors = _Unpickler(file).load()
    keys = _Unpickler(file).load()
    widths = {
        t.storage.key: t.storage.dtype.itemsize for t in tensors.values() if isinstance(t, _Tensor)
    }
    storages, end = {}, os.fstat(file.fileno()).st_size
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        size, left = count * widths[key], end - file.tell()
        if size > left:
            raise ValueError(f"a storage would have {size} bytes, {left} are left")
        storages[key] = file.read(size)
    return tensors, storages


def _array(tensor: Any, storages: dict[str, bytes]) -> np.ndarray:
    if not isinstance(tensor, _Tensor):
        raise ValueError(f"it contains a {type(tensor).__name__}, expected only tensors")
    numbers = np.frombuffer(storages[tensor.storage.key], tensor.storage.dtype)
    steps = zip(tensor.size, tensor.stride, strict=True)
    last = tensor.offset + sum((n - 1) * step for n, step in steps)
    count = math.prod(tensor.size)
    # Strides of 0 repeat numbers: no weights do, and a few bytes would fill the memory.
    if (count and not 0 <= last < len(numbers)) or count > len(numbers):
        raise ValueError(f"a tensor of shape {tensor.size} has only {len(numbers)} numbers")
    if min((tensor.offset, *tensor.size, *tensor.stride)) < 0:
        raise ValueError("a tensor has a negative offset, size or stride")
    strides = [step * numbers.itemsize for step in tensor.stride]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.size, strides)
    return view.copy()
