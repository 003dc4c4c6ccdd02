"""Arrays in files that must_keras wrote: numbers alone, of at most the size of the file."""

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from must_keras.errors import damaged, reason
from must_keras.files import is_regular, unreadable

# Deflated zeros shrink to a thousandth, and Keras and PyTorch do not compress: a larger member that
# shrinks by more is no array of ours, and belongs to no model.
_MAX_EXPANSION = 100
_ALWAYS_READ = 2**28  # bytes
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


def read_arrays(path: str | os.PathLike[str], *, remedy: str) -> dict[str, np.ndarray]:
    """Return {name: array} of an .npz file; Python objects in it are refused.

    Args:
        path: of the file.
        remedy: what the user can do where the file is damaged, an imperative without full stop.

    Raises:
        DataError: it is missing or damaged, or an array in it is larger than the file allows.
        UserError: it cannot be opened.
    """
    with _read_errors(path, remedy), zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        return {info.filename.removesuffix(".npy"): _member(archive, info) for info in members}


def read_array(
    path: str | os.PathLike[str], dtype: np.dtype, shape: tuple[int, ...], *, remedy: str
) -> np.ndarray:
    """Return the array of an .npy file, whose dtype and shape are known beforehand.

    Raises:
        DataError: it is missing, damaged or another array.
        UserError: it cannot be opened.
    """
    with _read_errors(path, remedy), open(path, "rb") as file:
        found_shape, is_fortran, found = _header(file)
        if (found, found_shape) != (dtype, shape) or is_fortran:
            raise ValueError(f"it is {found} {found_shape}, expected {dtype} {shape}")
        array = np.fromfile(file, dtype, math.prod(shape))
        if array.size != math.prod(shape):
            raise ValueError("it ends too early")
        return array.reshape(shape)


def check_expansion(info: zipfile.ZipInfo, what: str) -> None:
    """Raise ValueError, about `what`, where a member of an archive shrinks as no numbers do."""
    if info.file_size > max(_ALWAYS_READ, _MAX_EXPANSION * info.compress_size):
        raise ValueError(f"{what} would have {info.file_size} bytes")


@contextlib.contextmanager
def _read_errors(path: str | os.PathLike[str], remedy: str) -> Iterator[None]:
    """Turn any error of reading a file into one line with its path and the remedy."""
    if not is_regular(path, remedy=remedy):
        raise damaged(path, "it is missing", remedy=remedy)
    try:
        yield
    except PermissionError as error:
        raise unreadable(path, error, remedy=remedy) from None
    # What a damaged archive raises is no closed list: zlib.error, RuntimeError, struct.error ...
    except Exception as error:
        raise damaged(path, reason(error), remedy=remedy) from None


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Return an array of an archive, after a comparison of its checksum."""
    check_expansion(info, info.filename)
    with archive.open(info) as file:
        shape, _, dtype = _header(file)
    if math.prod(shape) * dtype.itemsize > info.file_size:
        raise ValueError(f"{info.filename} is too short for the shape {shape}")
    with archive.open(info) as file:
        array = np.lib.format.read_array(file, allow_pickle=False)
        if file.read(1):
            raise ValueError(f"{info.filename} is longer than its shape {shape}")
        return array


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"it is of NumPy's format {version}")
    shape, is_fortran, dtype = _HEADERS[version](file)
    if dtype.hasobject:
        raise ValueError("it contains Python objects, expected numbers")
    if min(shape, default=0) < 0:
        raise ValueError(f"it has the shape {shape}")
    return shape, is_fortran, dtype
