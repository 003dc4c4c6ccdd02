"""One record of a label column: named parts, as a tf.train.Example that TFDS can read too.

Besides its task's parts every record has "id", the image's, and "empty": 1 where the image could
not be read; there the parts are zeros, of length 0 along an axis of variable length.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from must_keras.tasks.base import Spec

ID = "id"
EMPTY = "empty"
# What a tf.train.Example holds exactly: floats are float32 there, integers and bools are int64.
_FLOATS = ("float32",)
_INTEGERS = ("bool", "uint8", "int8", "uint16", "int16", "int32", "int64")


def features_of(specs: Mapping[str, Spec]) -> tfds.features.FeaturesDict:
    """The TFDS features of a column whose records have these parts.

    Raises:
        ValueError: a part's name, dtype or shape cannot be stored.
    """
    for name, spec in specs.items():
        if name in (ID, EMPTY) or "/" in name:
            raise ValueError(f"a record's part cannot be named {name!r}")
        if spec.dtype not in (*_FLOATS, *_INTEGERS, "bytes"):
            allowed = ", ".join((*_FLOATS, *_INTEGERS, "bytes"))
            raise ValueError(f"part {name!r} is {spec.dtype}; allowed are {allowed}")
        if spec.shape.count(None) > 1:
            raise ValueError(f"part {name!r} has shape {spec.shape}; allowed is one None at most")
    parts = {
        name: tfds.features.Tensor(
            shape=spec.shape, dtype=np.dtype(object if spec.dtype == "bytes" else spec.dtype)
        )
        for name, spec in specs.items()
    }
    return tfds.features.FeaturesDict(
        {ID: tfds.features.Text(), EMPTY: tfds.features.Scalar(np.bool_), **parts}
    )


def blank(specs: Mapping[str, Spec]) -> dict[str, Any]:
    """The parts of an empty record."""
    parts = {}
    for name, spec in specs.items():
        shape = tuple(0 if size is None else size for size in spec.shape)
        if spec.dtype == "bytes":
            parts[name] = np.full(shape, b"", object) if shape else b""
        else:
            parts[name] = np.zeros(shape, spec.dtype)
    return parts


def serialize(image_id: str, record: Mapping[str, Any] | None, specs: Mapping[str, Spec]) -> bytes:
    """The bytes of a record; the same record gives the same bytes.

    Args:
        image_id: of the record's image, not "".
        record: every part in `specs` and nothing else; None: the image could not be read.
        specs: the column's parts.

    Raises:
        ValueError: the record does not fit the specs.
    """
    if not isinstance(image_id, str) or not image_id:
        raise ValueError(f"an image's id must be a string that is not empty, received {image_id!r}")
    parts = blank(specs) if record is None else record
    if parts.keys() != specs.keys():
        raise ValueError(
            f"the record of {image_id!r} has parts {sorted(parts)}, expected {sorted(specs)}"
        )
    feature = {
        ID: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image_id.encode()])),
        EMPTY: tf.train.Feature(int64_list=tf.train.Int64List(value=[int(record is None)])),
    }
    for name, spec in specs.items():
        try:
            feature[name] = _feature(parts[name], spec)
        except (TypeError, ValueError) as error:
            raise ValueError(f"part {name!r} of the record of {image_id!r}: {error}") from None
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


def parse(payload: bytes, specs: Mapping[str, Spec]) -> tuple[str, dict[str, Any] | None]:
    """(image id, record): arrays of the specs' shapes and dtypes; None for an empty record.

    A part of dtype "bytes" is `bytes` where its shape is (), else an array of them (object). An
    optional part that the record was written without is left out.

    Raises:
        ValueError: a part is missing.
    """
    feature = tf.train.Example.FromString(payload).features.feature
    image_id, is_empty = _identity(feature)
    if is_empty:
        return image_id, None
    record = {}
    for name, spec in specs.items():
        if name not in feature:
            if spec.optional:
                continue
            raise ValueError(f"it has no part {name!r}")
        if spec.dtype == "bytes":
            values = feature[name].bytes_list.value
            if not spec.shape:
                record[name] = values[0]
                continue
            array = np.empty(len(values), object)
            array[:] = values
        elif spec.dtype in _FLOATS:
            array = np.array(feature[name].float_list.value, spec.dtype)
        else:
            array = np.array(feature[name].int64_list.value, spec.dtype)
        record[name] = array.reshape([-1 if size is None else size for size in spec.shape])
    return image_id, record


def identity(payload: bytes) -> tuple[str, bool]:
    """(image id, whether the record is empty)."""
    return _identity(tf.train.Example.FromString(payload).features.feature)


def _identity(feature: Mapping[str, tf.train.Feature]) -> tuple[str, bool]:
    return feature[ID].bytes_list.value[0].decode(), bool(feature[EMPTY].int64_list.value[0])


def _feature(value: Any, spec: Spec) -> tf.train.Feature:
    array = _bytes_array(value, spec) if spec.dtype == "bytes" else np.asarray(value)
    fits = array.ndim == len(spec.shape) and all(
        size in (None, received) for size, received in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"shape {array.shape}, expected {spec.shape}")
    if spec.dtype == "bytes":
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=array.ravel().tolist()))
    flat = _cast(array, spec.dtype).ravel()
    if spec.dtype in _FLOATS:
        return tf.train.Feature(float_list=tf.train.FloatList(value=flat.tolist()))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=flat.astype(np.int64).tolist()))


def _bytes_array(value: Any, spec: Spec) -> np.ndarray:
    """Bytes as an object array: numpy's own bytes dtype would lose zeros at the end."""
    values = [value] if not spec.shape else list(value)
    for one in values:
        if not isinstance(one, bytes):
            raise TypeError(f"bytes expected, received {type(one).__name__}")
    array = np.empty(len(values), object)
    array[:] = values
    return array if spec.shape else array.reshape(())


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    """The array in another dtype: floats may be rounded, integers must be exact."""
    if not array.size:
        return array.astype(dtype)  # An empty list has no dtype of its own.
    if array.dtype.kind not in ("fiub" if dtype in _FLOATS else "iub"):
        raise TypeError(f"{dtype} expected, received {array.dtype}")
    cast = array.astype(dtype)
    if dtype not in _FLOATS and not np.array_equal(cast, array):
        raise ValueError(f"values do not fit into {dtype}")
    return cast
