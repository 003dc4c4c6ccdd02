import dataclasses
import io
import pathlib
import types

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import programs
from must_keras.errors import UserError
from must_keras.pseudo_labels.store import PseudoLabelReader, PseudoLabelWriter
from must_keras.pseudo_labels.tfds_builder import PseudoLabeled
from must_keras.tasks.parts import Spec

NUM_IMAGES, EMPTY = 6, 2


@dataclasses.dataclass(frozen=True)
class FakeTask:
    name: str
    stored: dict[str, Spec]
    record: dict[str, Spec]
    kind: str = "boxes"
    unit: str = "fractions"
    max_stored: int = 100

    def meaning(self):
        return {"kind": self.kind, "unit": self.unit, "classes": []}

    @property
    def labels(self):
        missing = {
            name: np.zeros([0 if size is None else size for size in spec.shape], spec.dtype)
            for name, spec in self.stored.items()
        }
        return types.SimpleNamespace(stored_spec=lambda: self.stored, missing=lambda: missing)

    @property
    def records(self):
        return types.SimpleNamespace(spec=lambda: self.record, floor=0.05)


BOXES = FakeTask(
    name="objects",
    stored={
        "boxes": Spec((None, 4), "float32"),
        "classes": Spec((None,), "int32"),
        "masks": Spec((None, None, None), "uint8"),
        "has_mask": Spec((None,), "bool"),
        "labelled": Spec((), "float32"),
    },
    record={
        "boxes": Spec((None, 4), "float32"),
        "scores": Spec((None,), "float32"),
        "masks": Spec((None,), "bytes"),
        "truncated": Spec((), "bool"),
    },
)
DEPTH = FakeTask(
    name="depth",
    stored={"depth": Spec((None, None), "float32")},
    record={"depth": Spec((), "bytes"), "scale": Spec((), "float32")},
    kind="metric",
    unit="meters",
)


class Pool:
    """Image i is i + 4 by 7; images 0 and 3 have no true boxes, 1 has no object."""

    name = "pool"

    def __len__(self):
        return NUM_IMAGES

    def image_id(self, index):
        return f"image {index}"

    def image(self, index):
        shape = (index + 4, 7, 3)
        return np.random.default_rng(index).integers(0, 256, shape).astype(np.uint8)

    def labels(self, index):
        random, number = np.random.default_rng(index), index - 1
        labels = {"depth": {"depth": random.random((index + 4, 7), np.float32)}}
        if index % 3:
            labels["objects"] = {
                "boxes": random.random((number, 4), np.float32),
                "classes": np.arange(number, dtype=np.int32),
                "masks": random.integers(0, 2, (number, 5, 5)).astype(np.uint8),
                "has_mask": np.arange(number) % 2 == 0,
                "labelled": np.float32(1),
            }
        return labels


def said(task, index):
    random = np.random.default_rng(100 + index)
    if task is DEPTH:
        return {"depth": random.bytes(20) + b"\0", "scale": np.float32(index)}
    return {
        "boxes": random.random((index, 4), np.float32),
        "scores": random.random(index, np.float32),
        "masks": [random.bytes(5) + b"\0" for _ in range(index)],
        "truncated": np.bool_(index == 5),
    }


def write_column(folder, task):
    writer = PseudoLabelWriter(
        folder, task, NUM_IMAGES, teacher_sha256="abc", recipe={}, records_per_shard=4
    )
    for first, count in writer.pending_ranges():
        parts = range(first, first + count)
        writer.write_shard(
            first, ((Pool().image_id(i), None if i == EMPTY else said(task, i)) for i in parts)
        )
    writer.finish()
    return PseudoLabelReader(folder, Pool(), task)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(folder of the joined set, folder of one column)."""
    tfds.disable_progress_bar()
    folder = tmp_path_factory.mktemp("joined")
    builder = PseudoLabeled(
        source=Pool(),
        tasks=[BOXES, DEPTH],
        columns={
            "detector": write_column(folder / "labels" / "detector", BOXES),
            "depth teacher": write_column(folder / "labels" / "depth", DEPTH),
        },
        data_dir=str(folder / "data"),
    )
    builder.download_and_prepare()
    return builder.data_dir, folder / "labels" / "detector"


def test_everything_is_joined_in_the_pools_order(built):
    builder = tfds.builder_from_directory(built[0])
    examples = list(tfds.as_numpy(builder.as_dataset(split="train")))
    assert [e["id"].decode() for e in examples] == [Pool().image_id(i) for i in range(NUM_IMAGES)]
    for i, example in enumerate(examples):
        np.testing.assert_array_equal(example["image"], Pool().image(i))
        assert set(example["true"]) == {"objects", "depth"}
        true = Pool().labels(i)
        assert example["true"]["objects"]["known"] == ("objects" in true)
        assert example["true"]["depth"]["known"]
        true.setdefault("objects", BOXES.labels.missing())
        for head, label in true.items():
            for part, value in label.items():
                found = example["true"][head][part]
                np.testing.assert_array_equal(found, value)
                assert found.dtype == value.dtype


def test_pseudo_labels_come_with_their_scores(built):
    builder = tfds.builder_from_directory(built[0])
    for i, example in enumerate(tfds.as_numpy(builder.as_dataset(split="train"))):
        assert set(example["pseudo"]) == {"detector", "depth teacher"}
        boxes, depth = example["pseudo"]["detector"], example["pseudo"]["depth teacher"]
        assert boxes["empty"] == depth["empty"] == (i == EMPTY)
        if i == EMPTY:
            assert boxes["boxes"].shape == (0, 4)
            assert depth["depth"] == b""
            continue
        expected = said(BOXES, i)
        np.testing.assert_array_equal(boxes["boxes"], expected["boxes"])
        np.testing.assert_array_equal(boxes["scores"], expected["scores"])
        assert list(boxes["masks"]) == expected["masks"]
        assert boxes["truncated"] == expected["truncated"]
        assert depth["depth"] == said(DEPTH, i)["depth"]
        assert depth["scale"] == i


PLAIN = """
import json, sys
import tensorflow_datasets as tfds
joined, column = (tfds.builder_from_directory(folder) for folder in sys.argv[1:])
for example in tfds.as_numpy(joined.as_dataset(split="train")):
    assert example["image"].shape[1:] == (7, 3)
    boxes = example["pseudo"]["detector"]
    assert boxes["scores"].shape == boxes["masks"].shape
assert joined.info.metadata["columns"]["depth teacher"]["unit"] == "meters"
assert sum(1 for _ in column.as_dataset(split="train")) == 6
assert not [name for name in sys.modules if name.startswith("must_keras")]
print("loaded")
"""


def test_plain_tfds_reads_it_without_must_keras(built, tmp_path):
    # In a folder from which must_keras cannot be imported.
    done = programs.run(["-c", PLAIN, *map(str, built)], cwd=tmp_path, env={"HOME": str(tmp_path)})
    assert done.stdout == "loaded\n", done.stderr


def test_it_is_stored_as_tfrecord_with_pictures_as_png(built):
    assert list(pathlib.Path(built[0]).glob("pseudo_labeled-train.tfrecord-*"))
    builder = tfds.builder_from_directory(built[0])
    raw = builder.as_dataset(split="train", decoders={"image": tfds.decode.SkipDecoding()})
    first = next(iter(tfds.as_numpy(raw)))
    np.testing.assert_array_equal(Image.open(io.BytesIO(first["image"])), Pool().image(0))


def test_a_pool_without_labels_or_without_columns(tmp_path):
    builder = PseudoLabeled(source=Pool(), tasks=[], columns={}, data_dir=str(tmp_path))
    builder.download_and_prepare()
    assert set(builder.info.features) == {"id", "image"}
    assert builder.info.splits["train"].num_examples == NUM_IMAGES


def test_other_labels_are_another_data_set(built, tmp_path):
    same = write_column(tmp_path / "same", BOXES)
    other = write_column(tmp_path / "other", DEPTH)
    folders = {
        PseudoLabeled(source=Pool(), tasks=tasks, columns=columns, data_dir=str(tmp_path)).data_dir
        for tasks, columns in (
            ([], {"a": same}),
            ([], {"a": other}),
            ([], {"b": same}),
            ([DEPTH], {"a": same}),
            ([], {"a": PseudoLabelReader(built[1], Pool(), BOXES)}),  # the same bytes as `same`
        )
    }
    assert len(folders) == 4


def test_a_column_of_another_pool_is_an_error(tmp_path):
    class Other(Pool):
        def image_id(self, index):
            return f"other {index}"

    column = write_column(tmp_path / "labels", DEPTH)
    with pytest.raises(UserError, match="record 0 is not of image 'other 0'"):
        PseudoLabeled(source=Other(), tasks=[], columns={"a": column}, data_dir=str(tmp_path))
