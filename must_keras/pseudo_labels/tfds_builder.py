"""Images, ground truth and pseudo labels, joined into one TensorFlow data set."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from must_keras import naming
from must_keras.data.sources import Source
from must_keras.pseudo_labels.store import PseudoLabelReader
from must_keras.pseudo_labels.store.layout import feature_of
from must_keras.synthetic.examples import png
from must_keras.tasks.base import Task
from must_keras.tasks.parts import Spec

# Keys of a ledger that go into the metadata.
_LEDGER_KEYS = ("teacher_sha256", "task", "kind", "unit", "floor", "max_stored", "origin")


class PseudoLabeled(tfds.core.GeneratorBasedBuilder):
    """A pool's images with ground truth and pseudo labels, before any threshold.

    One split, "train", in the pool's order. Features:

        id                       the image's
        image                    [h, w, 3] uint8
        true/<head>/<part>       the stored label; the head's missing label where there is none
        true/<head>/known        whether this image has ground truth of this head
        pseudo/<teacher>/<part>  the record of the pseudo-label dataset, scores included
        pseudo/<teacher>/empty   whether the teacher could not read the image: then parts are zeros

    The meaning of a teacher's records (task, kind, unit, floor) is in the metadata, under
    "columns"/<teacher>. Once built, `tfds.builder_from_directory` reads it without this class.
    The configuration's name ends in a hash of the heads' names and the datasets' bytes.

    Args:
        source: the pool.
        tasks: the heads whose ground truth is stored.
        columns: {teacher: its pseudo labels of this pool}.
        data_dir: where TFDS keeps its data sets.

    Raises:
        UserError: a pseudo-label dataset does not belong to the pool, or a name cannot be that of
            a folder.

    Example:
        builder = PseudoLabeled(source=pool, tasks=[], columns={"boxes": column}, data_dir="data")
        builder.download_and_prepare()
        tfds.builder_from_directory(builder.data_dir).as_dataset(split="train")

    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First join."}  # noqa: RUF012

    def __init__(
        self,
        *,
        source: Source,
        tasks: Sequence[Task],
        columns: Mapping[str, PseudoLabelReader],
        data_dir: str,
    ):
        naming.check_name(source.name, "source")
        for names, what in (([task.name for task in tasks], "heads"), (columns, "teachers")):
            for name in names:
                naming.check_name(name, what.removesuffix("s"))
            naming.check_distinct(names, "pseudo labels", what)
        for column in columns.values():
            column.check(source)
        self._source = source
        self._tasks = tuple(tasks)
        self._columns = dict(columns)
        # TFDS takes what it finds under a name: other labels must have another.
        config = tfds.core.BuilderConfig(
            name=f"{source.name}-{self._digest()}", description="The pool and a hash of its labels."
        )
        super().__init__(config=config, data_dir=data_dir)

    def _digest(self) -> str:
        heads = [task.name for task in self._tasks]
        shards = {teacher: column.ledger["shards"] for teacher, column in self._columns.items()}
        text = json.dumps([heads, shards], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def _info(self) -> tfds.core.DatasetInfo:
        image = tfds.features.Image(shape=(None, None, 3), encoding_format="png")
        features: dict[str, Any] = {"id": tfds.features.Text(), "image": image}
        if self._tasks:
            specs = {task.name: task.labels.stored_spec() for task in self._tasks}
            features["true"] = {head: _features(s, "known") for head, s in specs.items()}
        if self._columns:
            columns = self._columns.items()
            features["pseudo"] = {name: _features(c.specs, "empty") for name, c in columns}
        meanings = {
            teacher: {key: column.ledger[key] for key in _LEDGER_KEYS if key in column.ledger}
            for teacher, column in self._columns.items()
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="A pool's images with ground-truth labels and what teachers say of them.",
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(columns=meanings),
        )

    def _split_generators(self, dl_manager) -> dict[str, Iterator]:
        return {"train": self._generate_examples()}  # Nothing is downloaded.

    def _generate_examples(self) -> Iterator[tuple[int, dict[str, Any]]]:
        for index in range(len(self._source)):
            yield index, self._example(index)

    def _example(self, index: int) -> dict[str, Any]:
        example: dict[str, Any] = {
            "id": self._source.image_id(index),
            "image": io.BytesIO(png(self._source.image(index))),
        }
        if self._tasks:
            labels = self._source.labels(index)
            example["true"] = {}
            for task in self._tasks:
                label = labels.get(task.name, task.labels.missing())
                example["true"][task.name] = {
                    part: np.asarray(label[part], spec.dtype)
                    for part, spec in task.labels.stored_spec().items()
                } | {"known": task.name in labels}
        if self._columns:
            example["pseudo"] = {
                teacher: column.read_or_blank(index) | {"empty": column.is_empty(index)}
                for teacher, column in self._columns.items()
            }
        return example


def _features(specs: Mapping[str, Spec], mark: str) -> dict[str, tfds.features.FeatureConnector]:
    """Return the features of a label's parts, and of a mark of the label."""
    parts = {part: _feature(spec) for part, spec in specs.items()}
    return parts | {mark: tfds.features.Scalar(np.bool_)}


def _feature(spec: Spec) -> tfds.features.Tensor:
    """Return a feature; maps and masks are compressed: plain integers take eight bytes a pixel."""
    is_map = spec.dtype != "bytes" and len(spec.shape) > 1
    return feature_of(spec, encoding="zlib" if is_map else "none")
