"""The files of a pseudo-label dataset, and the bytes of its records.

labels-train.tfrecord-00000-of-00003   TFRecord shards of fixed index ranges
index-00000-of-00003.npy               beside each shard: where its records are
started.json                           what the labels depend on
features.json, dataset_info.json       make a TFDS data set of it
ledger.json                            written last: hashes, units, versions

A record is a tf.train.Example that TFDS can read too. Besides its task's parts it has "id", the
image's, and "empty": 1 where the image could not be read; there the parts are zeros, of length 0
along an axis of variable length.
"""

import hashlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from must_keras import arrays, errors
from must_keras.data.io.records import FOOTER_BYTES, HEADER_BYTES, Records, scan
from must_keras.data.sources import Source
from must_keras.errors import DataError, UserError
from must_keras.files import file_sha256
from must_keras.json_files import find_json
from must_keras.tasks.parts import Spec

LEDGER = "ledger.json"
SPLIT = "train"
# One entry a record: the payload's position in its shard in bytes, the first 8 bytes of the SHA-256
# of the image's id (so that a dataset is compared with a source without reading the shards), and
# whether the record is empty.
INDEX_DTYPE = np.dtype([("offset", "<i8"), ("length", "<i8"), ("id_hash", "<u8"), ("empty", "?")])


ID = "id"
EMPTY = "empty"
# The list of a tf.train.Feature for each dtype that it holds exactly, and its type.
_INTEGERS = ("int64_list", tf.train.Int64List)
_LISTS = {
    "float32": ("float_list", tf.train.FloatList),
    **dict.fromkeys(("bool", "uint8", "int8", "uint16", "int16", "int32", "int64"), _INTEGERS),
    "bytes": ("bytes_list", tf.train.BytesList),
}


class _LedgerShard(TypedDict):
    name: str
    first: int
    count: int
    sha256: str


class _Ledger(TypedDict):
    """What is read of ledger.json."""

    records: int
    empty: int
    shards: list[_LedgerShard]
    teacher_sha256: str


class Shard(NamedTuple):
    """A shard, its index, and its range of records, [first, first + count).

    Example:
        shards_of(folder, 600, 512)[1].first  # 512
    """

    path: pathlib.Path
    index_path: pathlib.Path
    first: int
    count: int

    def entry(self) -> dict[str, Any]:
        """Return the shard as the ledger has it, without its hash."""
        return {"name": self.path.name, "first": self.first, "count": self.count}

    def load_index(self) -> np.ndarray | None:
        """Return the index, [count] of INDEX_DTYPE, or None without a whole one."""
        remedy = relabel(self.path.parent)
        try:
            index = arrays.read_array(self.index_path, INDEX_DTYPE, (self.count,), remedy=remedy)
        except (DataError, UserError):
            return None
        offsets, lengths = index["offset"], index["length"]
        # Records lie one behind the other: no other place is read, nor more bytes than there are.
        follow = offsets[1:] == offsets[:-1] + lengths[:-1] + FOOTER_BYTES + HEADER_BYTES
        right = offsets[0] == HEADER_BYTES and lengths.min() >= 0 and follow.all()
        return index if right else None

    def is_whole(self) -> bool:
        """Return whether the shard is there, with the number of bytes that its index expects."""
        index = self.load_index()
        try:
            size = self.path.stat().st_size
        except OSError:
            return False
        if index is None:
            return False
        return size == index["offset"][-1] + index["length"][-1] + FOOTER_BYTES

    def problem(self, sha256: str) -> str | None:
        """Return what is wrong with the shard or its index; None where both are as written."""
        if not self.path.is_file():
            return f"{self.path.name} is missing"
        if file_sha256(self.path) != sha256:
            return f"{self.path.name}: its bytes are not those that were written"
        index, entries = self.load_index(), scan(self.path)
        records = Records([self.path], [entries])
        expected = np.zeros(len(entries), INDEX_DTYPE)
        for i, (offset, length) in enumerate(entries.tolist()):
            image_id, parts = parse(records.read(i), {})
            expected[i] = (offset, length, id_hash(image_id), parts is None)
        if index is None or not np.array_equal(index, expected):
            return f"{self.index_path.name} does not describe {self.path.name}"
        return None


def shards_of(folder: pathlib.Path, num_records: int, records_per_shard: int) -> list[Shard]:
    """Return all shards of a dataset, in order; the last may be smaller."""
    total = -(-num_records // records_per_shard)
    return [
        Shard(
            folder / f"labels-{SPLIT}.tfrecord-{i:05d}-of-{total:05d}",
            folder / f"index-{i:05d}-of-{total:05d}.npy",
            i * records_per_shard,
            min(records_per_shard, num_records - i * records_per_shard),
        )
        for i in range(total)
    ]


def id_hash(image_id: str) -> int:
    """Return the first 8 bytes of the SHA-256 of an image's id, little-endian."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "little")


def first_difference(index: np.ndarray, source: Source, first: int) -> int | None:
    """Return the first record of a shard whose id is not that of its image, or None.

    Args:
        index: of the shard.
        source: the images.
        first: the number of the shard's first record.
    """
    for number, expected in enumerate(index["id_hash"].tolist(), first):
        if id_hash(source.image_id(number)) != expected:
            return number
    return None


def load_ledger(folder: pathlib.Path) -> dict[str, Any] | None:
    """Return the content of ledger.json, or None while the dataset is not complete.

    Raises:
        DataError: its content contradicts itself.
    """
    path = folder / LEDGER
    ledger = find_json(path, _Ledger, remedy=relabel(folder))
    if ledger is None:
        return None
    records, shards = ledger["records"], ledger["shards"]
    count = shards[0]["count"] if shards else 0
    # Their number first: a list of all shards of 10^18 records would fill the memory.
    is_whole = (
        count > 0
        and -(-records // count) == len(shards)
        and [(shard["name"], shard["first"], shard["count"]) for shard in shards]
        == [(s.path.name, s.first, s.count) for s in shards_of(folder, records, count)]
    )
    if not is_whole:
        raise damaged(path, "its shards are not those of its records")
    return ledger


def damaged(path: pathlib.Path, what: str) -> DataError:
    """Return the error for a damaged file of a dataset."""
    return errors.damaged(path, what, remedy=relabel(path.parent))


def relabel(folder: pathlib.Path) -> str:
    """Return the remedy for a damaged dataset."""
    return f"delete {folder} to label again"


def verify(folder: str | os.PathLike[str], source: Source) -> list[str]:
    """Read all of a dataset and return what is wrong with it, a line each; [] if all is well.

    Compares every shard with the ledger's checksum, its index with the shard, the ids with the
    source's and the counts with the ledger's. `PseudoLabelWriter` writes a damaged shard again.
    """
    folder = pathlib.Path(folder)
    try:
        ledger = load_ledger(folder)
    except DataError as error:
        return [str(error)]
    if ledger is None:
        return [f"{folder} has no {LEDGER}: it is not finished"]
    problems, empty = [], 0
    if len(source) != ledger["records"]:
        problems.append(f"{ledger['records']} records, the source has {len(source)} images")
    shards = shards_of(folder, ledger["records"], ledger["shards"][0]["count"])
    for shard, entry in zip(shards, ledger["shards"], strict=True):
        problem = shard.problem(entry["sha256"])
        if problem is not None:
            problems.append(problem)
            continue
        index = shard.load_index()
        empty += int(index["empty"].sum())
        common = index[: max(0, len(source) - shard.first)]
        number = first_difference(common, source, shard.first)
        if number is not None:
            problems.append(
                f"{shard.path.name}: record {number} is not of image {source.image_id(number)!r}"
            )
    if not problems and empty != ledger["empty"]:
        problems.append(f"{empty} empty records, the ledger has {ledger['empty']}")
    return problems


# ---- records -------------------------------------------------------------------------------------


def features_of(specs: Mapping[str, Spec]) -> tfds.features.FeaturesDict:
    """Return the TFDS features of a dataset whose records have these parts.

    Raises:
        ValueError: a part's name, dtype or shape cannot be stored.
    """
    for name, spec in specs.items():
        if name in (ID, EMPTY) or "/" in name:
            raise ValueError(f"a record's part cannot be named {name!r}")
        if spec.dtype not in _LISTS:
            raise ValueError(f"part {name!r} is {spec.dtype}; allowed are {', '.join(_LISTS)}")
        if spec.shape.count(None) > 1:
            raise ValueError(f"part {name!r} has shape {spec.shape}; allowed is one None at most")
    parts = {name: feature_of(spec) for name, spec in specs.items()}
    return tfds.features.FeaturesDict(
        {ID: tfds.features.Text(), EMPTY: tfds.features.Scalar(np.bool_), **parts}
    )


def feature_of(spec: Spec, *, encoding: str = "none") -> tfds.features.Tensor:
    """Return the TFDS feature of a part, with a TFDS encoding of its numbers."""
    dtype = np.dtype(object if spec.dtype == "bytes" else spec.dtype)
    return tfds.features.Tensor(shape=spec.shape, dtype=dtype, encoding=encoding)


def blank(specs: Mapping[str, Spec]) -> dict[str, Any]:
    """Return the parts of an empty record: zeros, of length 0 along a variable axis."""
    parts = {}
    for name, spec in specs.items():
        shape = tuple(0 if size is None else size for size in spec.shape)
        if spec.dtype == "bytes":
            parts[name] = np.full(shape, b"", object) if shape else b""
        else:
            parts[name] = np.zeros(shape, spec.dtype)
    return parts


def serialize(image_id: str, record: Mapping[str, Any] | None, specs: Mapping[str, Spec]) -> bytes:
    """Return the bytes of a record; the same record gives the same bytes.

    Args:
        image_id: of the record's image, not "".
        record: every part in `specs` and nothing else; None where the image is unreadable.
        specs: of the dataset's parts.

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
    feature = {ID: _list([image_id.encode()], "bytes"), EMPTY: _list([int(record is None)], "bool")}
    for name, spec in specs.items():
        try:
            feature[name] = _feature(parts[name], spec)
        except (TypeError, ValueError) as error:
            raise ValueError(f"part {name!r} of the record of {image_id!r}: {error}") from None
    example = tf.train.Example(features=tf.train.Features(feature=feature))
    return example.SerializeToString(deterministic=True)


def parse(payload: bytes, specs: Mapping[str, Spec]) -> tuple[str, dict[str, Any] | None]:
    """Return (image id, record): arrays of the specs' shapes and dtypes, None if it is empty.

    A part of dtype "bytes" is `bytes` where its shape is (), else an array of them (object). An
    optional part that the record was written without is left out.

    Raises:
        ValueError: a part is missing.
    """
    feature = tf.train.Example.FromString(payload).features.feature
    image_id = feature[ID].bytes_list.value[0].decode()
    if feature[EMPTY].int64_list.value[0]:
        return image_id, None
    record = {}
    for name, spec in specs.items():
        if name not in feature:
            if spec.optional:
                continue
            raise ValueError(f"it has no part {name!r}")
        values = list(getattr(feature[name], _LISTS[spec.dtype][0]).value)
        if spec.dtype == "bytes" and not spec.shape:
            record[name] = values[0]
            continue
        array = np.array(values, object if spec.dtype == "bytes" else spec.dtype)
        record[name] = array.reshape([-1 if size is None else size for size in spec.shape])
    return image_id, record


def _feature(value: Any, spec: Spec) -> tf.train.Feature:
    array = _bytes_array(value, spec) if spec.dtype == "bytes" else np.asarray(value)
    fits = array.ndim == len(spec.shape) and all(
        size in (None, received) for size, received in zip(spec.shape, array.shape, strict=True)
    )
    if not fits:
        raise ValueError(f"shape {array.shape}, expected {spec.shape}")
    if spec.dtype != "bytes":
        array = _cast(array, spec.dtype)
    if spec.dtype == "bool":
        array = array.astype(np.int64)
    return _list(array.ravel().tolist(), spec.dtype)


def _list(values: list[Any], dtype: str) -> tf.train.Feature:
    field, kind = _LISTS[dtype]
    return tf.train.Feature(**{field: kind(value=values)})


def _bytes_array(value: Any, spec: Spec) -> np.ndarray:
    """Return bytes as an object array: numpy's own bytes dtype would lose zeros at the end."""
    values = list(value) if spec.shape else [value]
    for one in values:
        if not isinstance(one, bytes):
            raise TypeError(f"bytes expected, received {type(one).__name__}")
    return np.array(values if spec.shape else value, object)


def _cast(array: np.ndarray, dtype: str) -> np.ndarray:
    """Return an array in another dtype: floats may be rounded, integers must be exact."""
    if not array.size:
        return array.astype(dtype)  # An empty list has no dtype of its own.
    is_float = dtype == "float32"
    if array.dtype.kind not in ("fiub" if is_float else "iub"):
        raise TypeError(f"{dtype} expected, received {array.dtype}")
    cast = array.astype(dtype)
    if not is_float and not np.array_equal(cast, array):
        raise ValueError(f"values do not fit into {dtype}")
    return cast
