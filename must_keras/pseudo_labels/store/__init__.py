"""Pseudo-label datasets on disk: one per teacher and source, one record per image.

They are written shard by shard, and read by position.
"""

import contextlib
import functools
import json
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from must_keras.data.io.records import FOOTER_BYTES, HEADER_BYTES, Records
from must_keras.data.sources import Source
from must_keras.errors import UserError
from must_keras.files import TEMPORARY, file_sha256, replacing, unshare
from must_keras.json_files import find_json, write_json
from must_keras.pseudo_labels.store import layout
from must_keras.runs.marks import STARTED, is_own_file
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Spec
from must_keras.versions import versions

# Between 2 MB (class probabilities) and 100 MB (maps) a shard; a whole number of usual batches.
RECORDS_PER_SHARD = 512


def num_bytes(image_id: str, parts: Mapping[str, Any] | None, task: Task) -> int:
    """Return the bytes of a record on the disk."""
    payload = layout.serialize(image_id, parts, task.records.spec())
    return HEADER_BYTES + len(payload) + FOOTER_BYTES + layout.INDEX_DTYPE.itemsize


def set_origin(folder: pathlib.Path, origin: Mapping[str, Any] | None) -> None:
    """Write the origin of the labels into the ledger of a complete dataset.

    Args:
        folder: of the dataset.
        origin: plain data about who made the labels; None for a teacher of this run.
    """
    ledger = layout.load_ledger(folder)
    if ledger is not None and ledger.get("origin") != origin:
        write_json(folder / layout.LEDGER, ledger | {"origin": origin})


class PseudoLabelReader:
    """The records of one teacher for every image of a source, record i of image i.

    Threads may read at the same time; no file stays open. 25 bytes a record are kept in memory.

    The task specifies what a record consists of: no class or module is looked up by a name in the
    folder, which may be a stranger's.

    Args:
        folder: of a complete dataset.
        source: the images that it must belong to.
        task: whose records they are.

    Attributes:
        folder: of the dataset.
        source: the images.
        ledger: content of ledger.json.

    Raises:
        UserError: the dataset is not complete, or belongs to other images.
        DataError: files are missing or damaged.

    Example:
        reader = PseudoLabelReader("runs/scenes/labels/boxes/pool", source, task)
        task.records.to_label(reader.read(int(reader.filled[0])), 0.5)
    """

    def __init__(self, folder: str | os.PathLike[str], source: Source, task: Task):
        self.folder, self.source = pathlib.Path(folder), source
        self.ledger = layout.load_ledger(self.folder)
        if self.ledger is None:
            raise UserError.at(
                self.folder, f'has no {layout.LEDGER}: run stage="label" until it is finished'
            )
        self._specs = dict(task.records.spec())
        entries, count = [], self.ledger["shards"][0]["count"]
        shards = layout.shards_of(self.folder, self.ledger["records"], count)
        for shard in shards:
            index = shard.load_index()
            if index is None:
                raise layout.damaged(shard.index_path, "it is missing or not whole")
            entries.append(index)
        self._records = Records([shard.path for shard in shards], entries)
        self.check(source)

    def __len__(self) -> int:
        return len(self._records)

    def is_empty(self, index: int) -> bool:
        """Return whether an image has no record: it could not be read, or was not labeled."""
        return bool(self._records.locate(index)[1]["empty"])

    @functools.cached_property
    def filled(self) -> np.ndarray:
        """Positions of the records that are not empty."""
        empty = np.concatenate([entries["empty"] for entries in self._records.entries])
        return np.flatnonzero(~empty)

    def read(self, index: int) -> dict[str, Any]:
        """Return a record: {part: array of its spec's shape and dtype}.

        A scalar of dtype "bytes" is `bytes`, an array of them has dtype object.

        Raises:
            ValueError: the record is empty.
            DataError: the shard is damaged.
        """
        path, entry = self._records.locate(index)
        if entry["empty"]:
            raise ValueError(f"record {index} of {self.folder} is empty")
        try:
            image_id, parts = layout.parse(self._records.read(index), self._specs)
        except Exception as error:
            raise layout.damaged(path, f"record {index} cannot be read ({error})") from error
        if layout.id_hash(image_id) != int(entry["id_hash"]) or parts is None:
            raise layout.damaged(path, f"record {index} is not the one that its index describes")
        return parts

    @functools.cached_property
    def specs(self) -> dict[str, Spec]:
        """{part: Spec} of a record, without optional parts that this dataset was written without.

        An empty dataset has all of them.
        """
        if not len(self.filled):
            return self._specs
        found = self.read(int(self.filled[0]))
        return {name: spec for name, spec in self._specs.items() if name in found}

    def read_or_blank(self, index: int) -> dict[str, Any]:
        """Return `read`, or zeros for an empty record, of length 0 along a variable axis."""
        return layout.blank(self.specs) if self.is_empty(index) else self.read(index)

    def check(self, source: Source) -> None:
        """Raise UserError unless the dataset belongs to exactly these images, in their order."""
        if len(source) != len(self):
            raise UserError(
                f"{self.folder} has labels of {len(self)} images, the source has {len(source)}: "
                "choose another `workdir`, or delete that folder to label again"
            )
        first = 0
        for entries in self._records.entries:
            index = layout.first_difference(entries, source, first)
            if index is not None:
                raise UserError(
                    f"{self.folder}: record {index} is not of image {source.image_id(index)!r}; "
                    "the source's images or their order changed: choose another `workdir`, or "
                    "delete that folder to label again"
                )
            first += len(entries)


class PseudoLabelWriter:
    """Writes the records of one teacher for one source, record i for image i, before thresholds.

    The bytes depend on the ids and the records alone. Several processes may write shards of one
    dataset; where two write the same one, either's is the whole.

    Args:
        folder: the dataset's own; made if absent. Whole shards stay.
        task: specifies a record's parts, and their kind and unit.
        num_records: the source's length, 1 and up.
        teacher_sha256: of the teacher's weights.
        recipe: plain data that the labels depend on.
        origin: plain data about who made the labels; None for a teacher of this run.
        records_per_shard: how many records are lost when the writing is interrupted.

    Raises:
        UserError: the folder contains labels that depend on other values.

    Example:
        writer = PseudoLabelWriter(folder, task, len(source), teacher_sha256=sha256, recipe={})
        writer.clear()
        for first, count in writer.pending_ranges():
            writer.write_shard(first, label(range(first, first + count)))
        writer.finish()

    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        task: Task,
        num_records: int,
        *,
        teacher_sha256: str,
        recipe: Mapping[str, Any],
        origin: Mapping[str, Any] | None = None,
        records_per_shard: int = RECORDS_PER_SHARD,
    ):
        if num_records < 1 or records_per_shard < 1:
            raise ValueError(
                "num_records and records_per_shard must be 1 or more, "
                f"received {num_records} and {records_per_shard}"
            )
        self._folder = pathlib.Path(folder)
        self._task = task
        self._specs = task.records.spec()
        self._features = layout.features_of(self._specs)
        self._num_records = num_records
        self._origin = origin
        self._shards = layout.shards_of(self._folder, num_records, records_per_shard)
        self._inputs = {
            "teacher_sha256": teacher_sha256,
            "task": task.name,
            "recipe": dict(recipe),
            "parts": {k: [list(s.shape), s.dtype] for k, s in sorted(self._specs.items())},
            "records": num_records,
            "records_per_shard": records_per_shard,
        }
        self._folder.mkdir(parents=True, exist_ok=True)
        self._check_inputs()

    def clear(self) -> None:
        """Remove unfinished files of an interrupted process; nobody else may write meanwhile."""
        for leftover in self._folder.glob("*" + TEMPORARY):
            if is_own_file(leftover.name):
                leftover.unlink()

    def pending_ranges(self) -> list[tuple[int, int]]:
        """Return (first, count) of every shard that is to be written, in order.

        In a complete dataset they are the damaged ones, as `layout.verify` finds them.
        """
        ledger = layout.load_ledger(self._folder)
        hashes = {s["name"]: s["sha256"] for s in ledger["shards"]} if ledger else {}
        return [
            (shard.first, shard.count)
            for shard in self._shards
            if not shard.is_whole()
            or (shard.path.name in hashes and shard.problem(hashes[shard.path.name]) is not None)
        ]

    def bytes_per_record(self) -> float:
        """Return the mean bytes of a record in the shards that are there; 0 without any."""
        whole = [shard for shard in self._shards if shard.is_whole()]
        size = sum(p.stat().st_size for shard in whole for p in (shard.path, shard.index_path))
        return size / max(sum(shard.count for shard in whole), 1)

    def empty(self) -> list[int]:
        """Return the indices of the empty records in the shards that are there."""
        found: list[int] = []
        for shard in self._shards:
            if shard.is_whole():
                places = np.flatnonzero(shard.load_index()["empty"])
                found += (shard.first + places).tolist()
        return found

    def write_shard(
        self, first: int, records: Iterable[tuple[str, Mapping[str, Any] | None]]
    ) -> None:
        """Write one shard; it appears when it is whole.

        Args:
            first: the index of its first record, from `pending_ranges`.
            records: (image id, record) of each image in order, None for an unreadable one; read
                one by one.

        Raises:
            ValueError: see `shard`.
        """
        with self.shard(first) as add:
            for image_id, parts in records:
                add(image_id, parts)

    @contextlib.contextmanager
    def shard(self, first: int) -> Iterator[Callable[[str, Mapping[str, Any] | None], None]]:
        """Write one shard record by record: a context that returns the function to add one.

        Raises:
            ValueError: `first` starts no shard, there are more or fewer records than the shard
                has, or one does not fit the task's `record_spec`.
        """
        shard = next((s for s in self._shards if s.first == first), None)
        if shard is None:
            raise ValueError(f"no shard starts at record {first}")
        name, entries = shard.path.name, []
        with replacing(shard.path, shared=True) as temporary:
            with tf.io.TFRecordWriter(os.fspath(temporary)) as file:

                def add(image_id: str, parts: Mapping[str, Any] | None) -> None:
                    if len(entries) == shard.count:
                        raise ValueError(f"more than {shard.count} records for {name}")
                    payload = layout.serialize(image_id, parts, self._specs)
                    file.write(payload)
                    place = HEADER_BYTES
                    if entries:
                        offset, length, *_ = entries[-1]
                        place += offset + length + FOOTER_BYTES
                    digest = layout.id_hash(image_id)
                    entries.append((place, len(payload), digest, parts is None))

                yield add
            if len(entries) != shard.count:
                raise ValueError(f"{len(entries)} records for {name}, expected {shard.count}")
            # The index is in place before its shard is: a shard that is there can be read.
            with replacing(shard.index_path, shared=True) as path, path.open("wb") as index:
                np.save(index, np.array(entries, layout.INDEX_DTYPE))

    def finish(self) -> None:
        """Make a TFDS data set of the shards and write the ledger, last.

        Raises:
            ValueError: a shard is not written yet.
        """
        missing = [s.path.name for s in self._shards if not s.is_whole()]
        if missing:
            raise ValueError(f"not written yet: {', '.join(missing)}")
        self.clear()
        self._write_metadata()
        ledger = {
            "teacher_sha256": self._inputs["teacher_sha256"],
            "recipe": self._inputs["recipe"],
            "versions": versions(),
            "task": self._task.name,
            **self._task.meaning(),
            "floor": self._task.records.floor,
            "max_stored": getattr(self._task, "max_stored", None),
            "records": self._num_records,
            "empty": len(self.empty()),
            "shards": [s.entry() | {"sha256": file_sha256(s.path)} for s in self._shards],
        }
        if self._origin is not None:
            ledger["origin"] = self._origin
        write_json(self._folder / layout.LEDGER, ledger)

    def _check_inputs(self) -> None:
        """Raise UserError where the folder was begun for another teacher or recipe."""
        path = self._folder / STARTED
        inputs = json.loads(json.dumps(self._inputs, allow_nan=False))
        was = find_json(path, dict, remedy=layout.relabel(self._folder))
        if was is None:
            write_json(path, inputs)
            return
        for field in sorted(was.keys() | inputs.keys()):
            if was.get(field) != inputs.get(field):
                raise UserError(
                    f"{self._folder} was begun with another {field}: choose another `workdir`, "
                    "or delete that folder to label again"
                )

    def _write_metadata(self) -> None:
        template = tfds.core.ShardedFileTemplate(
            data_dir=self._folder,
            dataset_name="labels",
            split=layout.SPLIT,
            filetype_suffix="tfrecord",
        )
        split = tfds.core.SplitInfo(
            name=layout.SPLIT,
            shard_lengths=[s.count for s in self._shards],
            num_bytes=sum(s.path.stat().st_size for s in self._shards),
            filename_template=template,
        )
        # TFDS writes into the files that are there, which may be another run's too.
        for name in ("features.json", "dataset_info.json"):
            unshare(self._folder / name)
        # Shuffling is disabled so that TFDS, too, gives the records in the source's order.
        tfds.folder_dataset.write_metadata(
            data_dir=self._folder,
            features=self._features,
            split_infos=[split],
            description=f"Pseudo labels of every image: {self._task.name}.",
            disable_shuffling=True,
            check_data=False,
        )
